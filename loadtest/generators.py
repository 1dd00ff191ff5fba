"""The processes that make the load, apart from the one that measures the servers."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from loadtest.clips import load_clips
from loadtest.live import LiveTarget, hold_calls
from loadtest.pacing import starts_s
from loadtest.readings import CallReading, read
from loadtest.tapes import Tape, make_tapes

HEAD_START_S: Final = 0.5  # from the order to the first call


@dataclass(frozen=True)
class TapePlan:
    """What the calls play."""

    clips: Path
    count: int
    seconds: float
    message_s: float = 0.2
    transcript_share: float = 0.5
    seed: int = 1

    def make(self) -> list[Tape]:
        """Raises OSError, ValueError or InvalidAudio for recordings that cannot be used."""
        return make_tapes(
            load_clips(self.clips), self.count, self.seconds, self.message_s, self.transcript_share, self.seed
        )


@dataclass(frozen=True)
class Order:
    """Hold so many calls, beginning at that moment of `time.monotonic`, which is one clock for all processes."""

    calls: int
    begins_at: float


class GeneratorFailed(Exception):
    """A process that makes load has ended, with the reason."""


class Generators:
    """Processes that have their tapes ready and wait for orders; each holds its share of the calls."""

    def __init__(self, pipes: list[Connection], pids: list[int]) -> None:
        self._pipes, self.pids = pipes, pids

    def hold(self, calls: int) -> list[CallReading]:
        """Holds calls to their end; raises GeneratorFailed."""
        order = Order(calls, time.monotonic() + HEAD_START_S)
        for pipe in self._pipes:
            pipe.send(order)
        return [reading for pipe in self._pipes for reading in _receive(pipe)]


@contextlib.contextmanager
def start_generators(target: LiveTarget, plan: TapePlan, processes: int) -> Iterator[Generators]:
    """Starts processes and waits for their tapes; they end with the block. Raises GeneratorFailed."""
    context = multiprocessing.get_context("spawn")  # gRPC does not outlive a fork
    pipes, started = [], []
    try:
        for part in range(processes):
            here, there = context.Pipe()
            process = context.Process(target=_generate, args=(target, plan, part, processes, there), daemon=True)
            process.start()
            there.close()
            pipes.append(here)
            started.append(process)
        for pipe in pipes:
            _receive(pipe)
        yield Generators(pipes, [process.pid for process in started if process.pid is not None])
    finally:
        for pipe in pipes:
            pipe.close()  # a generator that waits for an order ends
        for process in started:
            process.join(1)
            process.kill()
            process.join()


def _receive(pipe: Connection) -> list[CallReading]:
    try:
        answer = pipe.recv()
    except EOFError:
        raise GeneratorFailed("a load generator has ended before its time") from None
    if isinstance(answer, str):
        raise GeneratorFailed(answer)
    readings: list[CallReading] = answer
    return readings


def _generate(target: LiveTarget, plan: TapePlan, part: int, parts: int, pipe: Connection) -> None:
    """A generator process: readings, or a text that says why there are none, for every order."""
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):  # nobody waits for it any more
        try:
            tapes = plan.make()
            pipe.send([])
            while True:
                order: Order = pipe.recv()
                pipe.send(asyncio.run(carry_out(order, target, tapes, part, parts)))
        except EOFError:
            return
        except Exception as error:  # whatever it is, the user gets to read it
            pipe.send(f"{type(error).__name__}: {error}")


async def carry_out(
    order: Order, target: LiveTarget, tapes: list[Tape], part: int = 0, parts: int = 1
) -> list[CallReading]:
    """Holds this part's calls of an order: every `parts`-th."""
    starts = list(enumerate(starts_s(order.calls, target.hop_s)))[part::parts]
    calls = [(f"load-{number}", tapes[number % len(tapes)], order.begins_at + start_s) for number, start_s in starts]
    if not calls:
        return []
    return [read(recording, order.begins_at, target.hop_s) for recording in await hold_calls(target, calls)]
