"""The path of a request through one machine: processes of the service, Triton; and what each step costs.

Times are seconds of one core that nobody else uses; how cores slow each other is the machine's (`engine.Machine`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loadtest.sizing.batcher import Batcher, BatcherShape
from loadtest.sizing.engine import Act, Machine, Threads

LARGEST_TRITON: Final = 64  # threads of Triton's gRPC side: more than any machine here has cores


@dataclass(frozen=True)
class TritonCosts:
    """`batch_s[rows]` is what one request of so many rows costs all of Triton; each further request of the same batch
    costs `request_s` more. Between the sizes that were measured lies a straight line."""

    batch_s: Mapping[int, float]
    request_s: float

    def computing_s(self, rows: int) -> float:
        """Of a batch, without what its requests cost."""
        return max(0.0, between(self.batch_s, rows) - self.request_s)


@dataclass(frozen=True)
class UnaryRequest:
    """What one recording asks for: time for its features, and rows of Triton's batch."""

    features_s: float
    rows: int


@dataclass(frozen=True)
class UnaryCosts:
    """Of one request, which is like one of `requests`, by chance."""

    loop_s: float  # gRPC and the event loop of the service
    requests: Sequence[UnaryRequest]
    generator_s: float


@dataclass(frozen=True)
class LiveCosts:
    """Of a live call: a message that comes, a batch of hops, and a hop in it, without its features and these."""

    message_s: float
    batch_s: float
    hop_s: float
    features_s: float
    asked: float  # share of the hops for which Triton is asked: silence is not
    generator_s: float  # for each second of a call


@dataclass(frozen=True)
class Node:
    """One machine and how the programs on it are set up."""

    speeds: Sequence[float]  # of n busy cores together, see Machine
    processes: int  # of the service
    batcher: BatcherShape
    max_in_flight: int  # in each process, as the three below
    max_waiting: int
    live_workers: int
    live_batch: int
    live_gather_s: float
    longest_lag_s: float  # a hop that has waited longer gives way to a later one
    has_generator: bool  # the load comes from this very machine

    @property
    def cores(self) -> int:
        return len(self.speeds)


class Service(Threads):
    """One process of the service: an event loop, and features that it computes in turn, between two looks at what has
    come."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, 1)
        self._pieces: deque[tuple[float, Act]] = deque()
        self._is_computing = False

    def compute(self, work_s: float, done: Act) -> None:
        """Queues a piece behind the others; what the loop has to do by the end of each goes before the next."""
        self._pieces.append((work_s, done))
        if not self._is_computing:
            self._take_turn()

    def _take_turn(self) -> None:
        self._is_computing = bool(self._pieces)
        if not self._pieces:
            return
        work_s, done = self._pieces.popleft()

        def end() -> None:
            done()
            self._take_turn()

        self.do(work_s, end)


class Triton:
    """Threads that take requests in, and instances that compute batches."""

    def __init__(self, machine: Machine, shape: BatcherShape, costs: TritonCosts) -> None:
        self._costs, self._front = costs, Threads(machine, LARGEST_TRITON)
        self._machine = machine
        self.batcher = Batcher(machine, shape, self._compute)

    def ask(self, rows: int, done: Act) -> None:
        self._front.do(self._costs.request_s, lambda: self.batcher.ask(rows, done))

    def _compute(self, rows: int, done: Act) -> None:
        self._machine.work(self._costs.computing_s(rows), done)


def between(points: Mapping[int, float], at: int) -> float:
    """The value at a place by a straight line between the measured ones beside it, or beyond the last two."""
    if at in points:
        return points[at]
    places = sorted(points)
    if len(places) == 1:
        return points[places[0]]
    upper = next((index for index, place in enumerate(places) if place > at), len(places) - 1)
    low, high = places[max(0, upper - 1)], places[max(1, upper)]
    return points[low] + (points[high] - points[low]) * (at - low) / (high - low)
