"""Live calls through a machine: messages in real time, hops that fall due, batches of them, updates."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadtest.lag import Distribution
from loadtest.sizing.engine import Act, Machine, Threads
from loadtest.sizing.path import LiveCosts, Node, Service, Triton, TritonCosts

ENDING_S: Final = 1.0  # after the last audio, for the last updates


@dataclass(frozen=True)
class Rhythm:
    """Of all calls alike: seconds of audio between two updates, and in a message."""

    hop_s: float = 1.0
    message_s: float = 0.2


@dataclass(frozen=True)
class LiveOutcome:
    """What came of live calls; the lag is of updates whose audio was due between the two moments asked for."""

    calls: int  # at once: the most
    mean_calls: float  # over the time asked for
    lag: Distribution
    skipped_hops: int
    batches: dict[int, int]
    cores_busy: float

    def is_carried(self, lag_limit_s: float) -> bool:
        """Whether no hop was skipped and 99 of 100 updates came in time."""
        return self.lag.count > 0 and not self.skipped_hops and self.lag.p99_ms <= 1000 * lag_limit_s

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**self.__dict__, "lag": {name: getattr(self.lag, name) for name in self.lag.__slots__}}


def simulate_live(
    node: Node,
    costs: LiveCosts,
    triton_costs: TritonCosts,
    calls: Sequence[tuple[float, float]],
    watch_s: tuple[float, float],
    rhythm: Rhythm,
    seed: int,
) -> LiveOutcome:
    """Calls, each with its beginning and its length in seconds, spread over the service's processes in turn."""
    machine = Machine(node.speeds)
    triton = Triton(machine, node.batcher, triton_costs)
    generator = Threads(machine, 1) if node.has_generator else None
    chance = random.Random(f"asked {seed}")
    services = [_Monitor(machine, node, costs, triton, rhythm, chance, generator) for _ in range(node.processes)]
    for number, (begins_s, lasts_s) in enumerate(sorted(calls)):
        machine.at(begins_s, services[number % len(services)].call(begins_s, lasts_s))
    from_s, to_s = watch_s
    machine.run(from_s)
    busy_s = machine.busy_s
    machine.run(to_s)
    busy = (machine.busy_s - busy_s) / (to_s - from_s)
    machine.run(to_s + max(ENDING_S, 2 * node.longest_lag_s))
    lags = [lag_s for each in services for due_s, lag_s in each.lags if from_s <= due_s <= to_s]
    at_once = [0, *itertools.accumulate(change for _, change in _changes(calls))]
    return LiveOutcome(
        calls=max(at_once),
        mean_calls=round(sum(_overlap(each, watch_s) for each in calls) / (to_s - from_s), 1),
        lag=Distribution.of_seconds(lags),
        skipped_hops=sum(each.skipped for each in services),
        batches=dict(sorted(triton.batcher.batches.items())),
        cores_busy=round(busy, 3),
    )


def _changes(calls: Sequence[tuple[float, float]]) -> list[tuple[float, int]]:
    return sorted(change for begins_s, lasts_s in calls for change in ((begins_s, 1), (begins_s + lasts_s, -1)))


def _overlap(call: tuple[float, float], watch_s: tuple[float, float]) -> float:
    return max(0.0, min(call[0] + call[1], watch_s[1]) - max(call[0], watch_s[0]))


@dataclass
class _Call:
    begins_s: float
    heard: int = 0  # messages that the service has
    judged: int = 0  # hops, those that were skipped included
    is_queued: bool = False


class _Monitor:
    """One process of the service: its calls, those that are due, and the workers that judge them in batches."""

    def __init__(
        self,
        machine: Machine,
        node: Node,
        costs: LiveCosts,
        triton: Triton,
        rhythm: Rhythm,
        chance: random.Random,
        generator: Threads | None,
    ) -> None:
        self._machine, self._node, self._costs, self._triton = machine, node, costs, triton
        self._rhythm, self._chance, self._generator = rhythm, chance, generator
        self._service = Service(machine)
        self._messages_a_hop = round(rhythm.hop_s / rhythm.message_s)
        self._due: list[tuple[float, int, _Call]] = []
        self._order = itertools.count()
        self._idle_workers = node.live_workers
        self._added_s, self._is_busy = -math.inf, False  # when the last call fell due, and whether close behind another
        self.lags: list[tuple[float, float]] = []  # of updates: when their audio was due, and their lag
        self.skipped = 0

    def call(self, begins_s: float, lasts_s: float) -> Act:
        call, messages = _Call(begins_s), int(lasts_s / self._rhythm.message_s + 1e-9)

        def send(number: int) -> Callable[[], None]:
            def act() -> None:
                if number < messages:
                    self._machine.at(begins_s + (number + 1) * self._rhythm.message_s, send(number + 1))
                self._generate(self._rhythm.message_s, lambda: self._service.do(self._costs.message_s, hear))

            return act

        def hear() -> None:
            call.heard += 1
            self._reconsider(call)

        return lambda: self._machine.at(begins_s + self._rhythm.message_s, send(1)) if messages else None

    def _generate(self, audio_s: float, then: Act) -> None:
        if self._generator is None:
            then()
        else:
            self._generator.do(self._costs.generator_s * audio_s, then)

    def _due_at(self, call: _Call, hop: int) -> float:
        return call.begins_s + hop * self._rhythm.hop_s

    def _reconsider(self, call: _Call) -> None:
        if not call.is_queued and call.heard >= (call.judged + 1) * self._messages_a_hop:
            call.is_queued = True
            now_s = self._machine.now_s
            self._is_busy, self._added_s = now_s - self._added_s < self._node.live_gather_s, now_s
            heapq.heappush(self._due, (self._due_at(call, call.judged + 1), next(self._order), call))
            self._begin()

    def _begin(self) -> None:
        """As `preprocess_service.live.schedule` does; all calls are of one model, none is urgent."""
        while self._idle_workers and self._due:
            begins_s = self._due[0][0] + self._node.live_gather_s
            if self._is_busy and len(self._due) < self._node.live_batch and begins_s > self._machine.now_s:
                self._machine.at(begins_s, self._begin)
                return
            self._idle_workers -= 1
            size = min(len(self._due), self._node.live_batch)
            self._judge([heapq.heappop(self._due)[2] for _ in range(size)])

    def _judge(self, batch: Sequence[_Call]) -> None:
        for call in batch:
            call.judged += 1
            late_s = self._machine.now_s - self._due_at(call, call.judged)
            if late_s > self._node.longest_lag_s:
                newest = call.heard // self._messages_a_hop
                self.skipped += newest - call.judged
                call.judged = newest
        service, costs = self._service, self._costs
        asked = sum(self._chance.random() < costs.asked for _ in batch)

        def ask() -> None:
            if asked:
                self._triton.ask(asked, answered)
            else:
                answered()

        def answered() -> None:
            service.do(costs.batch_s / 2 + costs.hop_s * len(batch), told)

        def told() -> None:
            now_s = self._machine.now_s
            for call in batch:
                due_s = self._due_at(call, call.judged)
                self.lags.append((due_s, now_s - due_s))
                call.is_queued = False
                self._reconsider(call)
            self._idle_workers += 1
            self._begin()

        def compute() -> None:
            for _ in batch[1:]:
                service.compute(costs.features_s, lambda: None)
            service.compute(costs.features_s, ask)

        service.do(costs.batch_s / 2, compute)
