"""The supervisor with workers that only say what workers say."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from preprocess_service.settings import Settings
from preprocess_service.shelf import Shelf
from preprocess_service.workers import Supervisor

LIMIT_S = 120
# Each notes what it does in a file of the folder; what a test adds comes before it says that it has checked its
# settings or is warm, and once it listens.
SCRIPT = """
import os, pathlib, signal, socket, sys, time
number, line, shelf = sys.argv[2:]
folder = pathlib.Path(sys.argv[1])
line = socket.socket(fileno=int(line))
note = lambda what: (folder / f"{number}-{os.getpid()}").open("a").write(what + "\\n")
CHECKS
line.send(b"c")
WARMS
line.send(b"w")
note("warm")
assert line.recv(1) == b"g"
line.send(b"l")
note("listens")
DOES
line.recv(1)
"""


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    shared = Shelf()
    yield shared
    shared.close()


def supervisor(
    folder: Path, shelf: Shelf, *, checks: str = "", warms: str = "", does: str = "", workers: int = 2
) -> Supervisor:
    script = SCRIPT.replace("CHECKS", checks).replace("WARMS", warms).replace("DOES", does)
    return Supervisor(Settings(workers=workers), 1, shelf, (sys.executable, "-c", script, str(folder)))


def notes(folder: Path, what: str) -> list[str]:
    """Numbers of the workers that have noted it, one for each life."""
    return sorted(path.name[0] for path in folder.iterdir() if what in path.read_text(encoding="utf-8"))


async def run_until(supervised: Supervisor, folder: Path, count: int) -> int:
    """Its exit code; it is stopped once so many lives have come to listen."""
    running = asyncio.create_task(supervised.run())
    async with asyncio.timeout(LIMIT_S):
        while not running.done() and len(notes(folder, "listens")) < count:  # noqa: ASYNC110 - files call nobody
            await asyncio.sleep(0.02)
        if not running.done():
            os.kill(os.getpid(), signal.SIGTERM)
        return await running


def test_sigterm_ends_all_workers(tmp_path, shelf):
    assert asyncio.run(run_until(supervisor(tmp_path, shelf, workers=3), tmp_path, 3)) == 0

    assert notes(tmp_path, "listens") == ["1", "2", "3"]
    assert not any(Path(f"/proc/{path.name[2:]}").exists() for path in tmp_path.iterdir())


def test_none_listens_before_all_have_warmed_up(tmp_path, shelf):
    late = "if number == '2': time.sleep(1); note('others ' + ' '.join(p.read_text() for p in folder.iterdir()))"

    asyncio.run(run_until(supervisor(tmp_path, shelf, warms=late), tmp_path, 2))

    (second,) = (path.read_text(encoding="utf-8") for path in tmp_path.iterdir() if path.name.startswith("2"))
    assert "listens" not in second.partition("\nwarm")[0]


@pytest.mark.parametrize(("ends", "code"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), signal.SIGKILL)", 1)])
def test_a_worker_that_cannot_start_ends_the_service(tmp_path, shelf, caplog, ends, code):
    with caplog.at_level(logging.CRITICAL):
        started = supervisor(tmp_path, shelf, warms=f"if number == '2': {ends}")
        assert asyncio.run(run_until(started, tmp_path, 1)) == code

    (record,) = caplog.records
    assert record.message == "cannot start"
    assert notes(tmp_path, "listens") == []


def test_the_first_worker_tells_what_speaks_against_the_start_and_no_other_is_started(tmp_path, shelf, caplog):
    with caplog.at_level(logging.CRITICAL):
        refused = supervisor(tmp_path, shelf, checks="note('asked'); sys.exit(2)", workers=3)
        assert asyncio.run(run_until(refused, tmp_path, 1)) == 2

    assert notes(tmp_path, "asked") == ["1"]
    assert caplog.records == []


def test_a_worker_that_dies_is_started_anew_after_ever_longer_pauses(tmp_path, shelf, caplog):
    with caplog.at_level(logging.ERROR):
        dying = supervisor(tmp_path, shelf, does="if number == '2': os.kill(os.getpid(), signal.SIGSEGV)")
        assert asyncio.run(run_until(dying, tmp_path, 4)) == 0

    assert notes(tmp_path, "listens") == ["1", "2", "2", "2"]
    pauses = [vars(record)["starts_again_in_s"] for record in caplog.records]
    assert pauses[:2] == [1, 2]
    assert {vars(record)["reason"] for record in caplog.records} == {"killed by SIGSEGV"}


def test_what_a_dead_worker_was_loading_is_settled(tmp_path, shelf):
    loading = (
        "if number == '1' and not list(folder.glob('loading')): (folder / 'loading').touch(); "
        "from preprocess_service.shelf import Shelf; Shelf(int(shelf)).announce('cnn'); sys.exit(0)"
    )

    asyncio.run(run_until(supervisor(tmp_path, shelf, does=loading), tmp_path, 3))

    assert shelf.coming() == []
    assert list(shelf.loaded()) == ["cnn"]
