"""What workers of one service know of each other's models: several shelves over one file, as in as many processes."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import pytest

from preprocess_service.deadline import Deadline
from preprocess_service.errors import Overloaded
from preprocess_service.loading import Loader
from preprocess_service.shelf import Shelf
from tests.unit.test_service_loading import KEPT, LONG_S, Triton


@pytest.fixture
def shelves() -> Iterator[tuple[Shelf, Shelf]]:
    first = Shelf()
    second = Shelf(first.file)
    yield first, second
    second.close()
    first.close()


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.CRITICAL)


def test_all_see_what_one_has_loaded_in_the_order_of_use(shelves):
    first, second = shelves
    first.arrived("cnn")
    second.arrived("lstm")
    second.touch("cnn")

    assert list(first.loaded()) == ["lstm", "cnn"]
    assert first.loaded() == second.loaded()


def test_a_newer_version_of_a_loaded_model_is_the_same_stay(shelves):
    first, second = shelves
    first.arrived("cnn")
    loaded_at = first.loaded_at("cnn")
    second.arrived("cnn")

    assert first.loaded_at("cnn") == loaded_at


def test_what_another_uses_is_not_unloaded(shelves):
    first, second = shelves
    first.arrived("cnn")
    assert second.hold("cnn")

    with first.unloading("cnn") as is_free:
        assert not is_free
    second.release("cnn")
    with first.unloading("cnn") as is_free:
        assert is_free
        assert not second.hold("cnn")
        assert not second.begin_turn("cnn")

    assert second.loaded() == {}
    assert second.begin_turn("cnn")


def test_what_another_loads_is_neither_loaded_nor_unloaded(shelves):
    first, second = shelves
    first.arrived("cnn")
    assert second.begin_turn("cnn")

    assert not first.begin_turn("cnn")
    with first.unloading("cnn") as is_free:
        assert not is_free
    second.end_turn("cnn")
    assert first.begin_turn("cnn")


def _die_while_loading(number: int, ready: Connection) -> None:
    shelf = Shelf(number)
    shelf.begin_turn("cnn")
    shelf.hold("lstm")
    shelf.announce("cnn")
    ready.send(os.getpid())
    ready.recv()  # for ever


def test_a_dead_worker_keeps_nobody_out_and_what_it_was_loading_is_known(shelves):
    first, _ = shelves
    first.arrived("lstm")
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_die_while_loading, args=(first.file, there))
    process.start()
    worker = here.recv()
    assert not first.begin_turn("cnn")
    assert first.coming() == ["cnn"]

    process.kill()
    process.join()
    first.bury(worker)

    assert first.begin_turn("cnn")
    assert first.coming() == []
    assert set(first.loaded()) == {"cnn", "lstm"}
    with first.unloading("lstm") as is_free:
        assert is_free


class Worker:
    """A loader of one worker, and what it has forgotten."""

    def __init__(self, triton: Triton, shelf: Shelf, *, max_on_demand: int = 1, min_stay_s: float = 0) -> None:
        self.forgotten: list[str] = []
        client: Any = triton
        self.loader = Loader(client, shelf, KEPT, max_on_demand, min_stay_s, LONG_S, self.forgotten.append)

    async def ask(self, name: str) -> None:
        with self.loader.use(name):
            await self.loader.bring(name, 1, Deadline(LONG_S))


def test_workers_that_want_a_model_at_once_load_it_once(shelves):
    async def run() -> list[str]:
        triton = Triton()
        await asyncio.gather(*(Worker(triton, shelf).ask("cnn") for shelf in shelves for _ in range(3)))
        return triton.told

    assert asyncio.run(run()) == ["load cnn"]


def test_the_least_recently_used_of_all_workers_gives_way_and_is_forgotten_by_all(shelves):
    async def run() -> tuple[list[str], list[str]]:
        triton = Triton()
        first, second = (Worker(triton, shelf, max_on_demand=2) for shelf in shelves)
        await first.ask("cnn")
        await second.ask("lstm")
        await second.ask("cnn")
        await first.ask("lstm")
        await first.ask("yamnet")
        assert second.forgotten == []
        with second.loader.use("cnn"):
            return triton.told, second.forgotten

    told, forgotten = asyncio.run(run())
    assert told == ["load cnn", "load lstm", "unload cnn", "load yamnet"]
    assert forgotten == ["cnn"]


def test_one_in_use_by_another_worker_stays_until_its_requests_end(shelves):
    async def run() -> tuple[list[str], list[str]]:
        triton = Triton()
        first, second = (Worker(triton, shelf) for shelf in shelves)
        with second.loader.use("cnn"):
            await second.loader.bring("cnn", 1, Deadline(LONG_S))
            await first.ask("lstm")
            meanwhile = list(triton.told)
        await first.loader.close()
        await second.loader.close()
        return meanwhile, triton.told

    meanwhile, told = asyncio.run(run())
    assert meanwhile == ["load cnn", "load lstm"]
    assert told == ["load cnn", "load lstm", "unload lstm"]


def test_one_that_another_worker_has_just_loaded_does_not_give_way(shelves):
    async def run() -> list[str]:
        triton = Triton()
        first, second = (Worker(triton, shelf, min_stay_s=LONG_S) for shelf in shelves)
        await first.ask("cnn")
        with pytest.raises(Overloaded, match="1 others are"):
            await second.ask("lstm")
        await second.ask("cnn")
        return triton.told

    assert asyncio.run(run()) == ["load cnn"]


def test_one_that_another_worker_is_loading_is_counted_before_it_is_there(shelves):
    async def run() -> list[str]:
        triton = Triton()
        first, second = (Worker(triton, shelf, min_stay_s=LONG_S) for shelf in shelves)
        triton.go_on.clear()
        coming = asyncio.create_task(first.ask("cnn"))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await second.ask("lstm")
        triton.go_on.set()
        await coming
        return triton.told

    assert asyncio.run(run()) == ["load cnn"]


def test_what_was_lost_and_loaded_again_by_another_stays_known(shelves):
    async def run() -> dict[str, float]:
        triton = Triton()
        first, second = (Worker(triton, shelf) for shelf in shelves)
        await first.ask("cnn")
        await second.ask("cnn")
        triton.loaded.clear()  # Triton was started anew
        first.loader.gone("cnn")
        await first.ask("cnn")
        second.loader.gone("cnn")
        known: dict[str, float] = shelves[0].loaded()
        return known

    assert list(asyncio.run(run())) == ["cnn"]


def test_a_worker_finds_what_another_has_had_loaded(shelves):
    async def run() -> list[bool]:
        triton = Triton()
        first, second = (Worker(triton, shelf) for shelf in shelves)
        found = [await second.loader.found("cnn", 1, Deadline(LONG_S))]
        await first.ask("cnn")
        found += [await each.loader.found("cnn", 1, Deadline(LONG_S)) for each in (first, second)]
        triton.loaded.clear()
        return [*found, await second.loader.found("cnn", 1, Deadline(LONG_S))]

    assert asyncio.run(run()) == [False, False, True, False]
