"""What the service has Triton load and unload: a Triton that keeps a list of what it was told."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from preprocess_service.deadline import Deadline
from preprocess_service.errors import LoadFailed, ModelNotLoaded, Overloaded
from preprocess_service.loading import Loader
from preprocess_service.shelf import Shelf

LONG_S = 60.0
KEPT = frozenset({"multimodal"})


class Triton:
    """Stands in for TritonClient."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.loaded: set[str] = set()
        self.broken: set[str] = set()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def ready(self, model: str, _version: int, _deadline: Deadline) -> bool:
        return model in self.loaded

    async def load(self, model: str, _timeout_s: float) -> None:
        self.told.append(f"load {model}")
        await self.go_on.wait()
        if model in self.broken:
            raise LoadFailed(model)
        self.loaded.add(model)

    async def unload(self, model: str) -> None:
        self.told.append(f"unload {model}")
        self.loaded.discard(model)


class Bench:
    """A loader before such a Triton."""

    def __init__(self, *, max_on_demand: int | None = 1, min_stay_s: float = 0) -> None:
        self.triton = Triton()
        self.forgotten: list[str] = []
        triton: Any = self.triton
        self.loader = Loader(triton, Shelf(), KEPT, max_on_demand, min_stay_s, LONG_S, self.forgotten.append)

    async def ask(self, name: str) -> None:
        with self.loader.use(name):
            await self.loader.bring(name, 1, Deadline(LONG_S))


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.CRITICAL)


def test_the_least_recently_used_gives_way():
    async def run() -> list[str]:
        bench = Bench(max_on_demand=2)
        for name in ("cnn", "lstm", "cnn", "yamnet"):
            await bench.ask(name)
        return bench.triton.told

    assert asyncio.run(run()) == ["load cnn", "load lstm", "unload lstm", "load yamnet"]


def test_one_that_has_just_come_does_not_give_way():
    async def run() -> tuple[list[str], Overloaded]:
        bench = Bench(min_stay_s=LONG_S)
        await bench.ask("cnn")
        with pytest.raises(Overloaded, match="model 'lstm' is not loaded: 1 others are") as refusal:
            await bench.ask("lstm")
        await bench.ask("cnn")
        return bench.triton.told, refusal.value

    told, refusal = asyncio.run(run())
    assert told == ["load cnn"]
    assert 0 < refusal.retry_after_ms <= 1000 * LONG_S


def test_alternating_callers_do_not_have_models_loaded_in_turn():
    async def run() -> list[str]:
        bench = Bench(min_stay_s=LONG_S, max_on_demand=2)
        for name in ("cnn", "lstm", "yamnet", "cnn_lstm") * 20:
            try:
                await bench.ask(name)
            except Overloaded:
                continue
        return bench.triton.told

    assert asyncio.run(run()) == ["load cnn", "load lstm"]


def test_those_that_come_at_once_are_counted_before_they_are_there():
    async def run() -> list[str]:
        bench = Bench(min_stay_s=LONG_S)
        bench.triton.go_on.clear()
        first = asyncio.create_task(bench.ask("cnn"))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await bench.ask("lstm")
        bench.triton.go_on.set()
        await first
        return bench.triton.told

    assert asyncio.run(run()) == ["load cnn"]


def test_one_in_use_stays_beside_the_new_one_until_its_requests_end():
    async def run() -> tuple[list[str], list[str]]:
        bench = Bench()
        with bench.loader.use("cnn"):
            await bench.loader.bring("cnn", 1, Deadline(LONG_S))
            await bench.ask("lstm")
            meanwhile = list(bench.triton.told)
        await bench.loader.close()
        return meanwhile, bench.triton.told

    meanwhile, told = asyncio.run(run())
    assert meanwhile == ["load cnn", "load lstm"]
    assert told == ["load cnn", "load lstm", "unload lstm"]


def test_one_that_may_give_way_as_soon_as_it_comes_keeps_nobody_out():
    async def run() -> tuple[list[str], list[str]]:
        bench = Bench()
        bench.triton.go_on.clear()
        first = asyncio.create_task(bench.ask("cnn"))
        await asyncio.sleep(0)
        second = asyncio.create_task(bench.ask("lstm"))
        await asyncio.sleep(0)
        meanwhile = list(bench.triton.told)
        bench.triton.go_on.set()
        await asyncio.gather(first, second)
        await bench.loader.close()
        return meanwhile, bench.triton.told

    meanwhile, told = asyncio.run(run())
    assert meanwhile == ["load cnn", "load lstm"]
    assert told == ["load cnn", "load lstm", "unload cnn"]


def test_one_that_comes_when_nobody_wants_it_any_more_takes_the_room_of_the_one_before():
    async def run() -> list[str]:
        bench = Bench()
        await bench.ask("cnn")
        bench.triton.go_on.clear()
        with bench.loader.use("cnn"):
            late = asyncio.create_task(bench.loader.bring("lstm", 1, Deadline(LONG_S)))
            await asyncio.sleep(0)
        bench.triton.go_on.set()
        await late
        await bench.loader.close()
        return bench.triton.told

    assert asyncio.run(run()) == ["load cnn", "load lstm", "unload cnn"]


@pytest.mark.parametrize("stay_s", [0.001, 0.4, LONG_S])
def test_a_refusal_never_says_that_the_next_one_gives_way_at_once(stay_s):
    async def run() -> Overloaded:
        bench = Bench(min_stay_s=stay_s)
        bench.triton.go_on.clear()  # one that is being loaded has all of its stay before it
        first = asyncio.create_task(bench.ask("cnn"))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match=r"gives way in [1-9]\d* s") as refusal:
            await bench.ask("lstm")
        bench.triton.go_on.set()
        await first
        return refusal.value

    assert asyncio.run(run()).retry_after_ms == max(1000, 1000 * stay_s)


def test_a_failed_load_takes_no_room():
    async def run() -> list[str]:
        bench = Bench(min_stay_s=LONG_S)
        bench.triton.broken = {"yamnet"}
        with pytest.raises(LoadFailed):
            await bench.ask("yamnet")
        await bench.ask("cnn")
        return bench.triton.told

    assert asyncio.run(run()) == ["load yamnet", "load cnn"]


def test_kept_models_need_no_room_and_never_give_way():
    async def run() -> list[str]:
        bench = Bench()
        for name in ("multimodal", "cnn", "lstm", "multimodal"):
            await bench.ask(name)
        return bench.triton.told

    assert asyncio.run(run()) == ["load multimodal", "load cnn", "unload cnn", "load lstm"]


def test_what_is_unloaded_is_forgotten_first():
    async def run() -> list[str]:
        bench = Bench()
        await bench.ask("cnn")
        await bench.ask("lstm")
        return bench.forgotten

    assert asyncio.run(run()) == ["cnn"]


def test_without_loading_on_demand_nothing_is_loaded():
    async def run() -> list[str]:
        bench = Bench(max_on_demand=None)
        with pytest.raises(ModelNotLoaded, match="WIGEUP_LOAD_ON_DEMAND is off"):
            await bench.ask("cnn")
        return bench.triton.told

    assert asyncio.run(run()) == []
