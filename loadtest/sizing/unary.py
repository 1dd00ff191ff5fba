"""Unary requests through a machine: arrivals that wait for no answer, a door, features, Triton, an answer."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from loadtest.lag import Distribution
from loadtest.open_loop import arrivals_s
from loadtest.sizing.engine import Act, Machine, Threads
from loadtest.sizing.path import Node, Service, Triton, TritonCosts, UnaryCosts

# A request is in the event loop when it comes, with its features, and after Triton. How its time there, less the
# features, is spread over them was not measured; only how long requests wait for each other depends on it.
LOOP_VISITS: Final = 3


@dataclass(frozen=True)
class UnaryOutcome:
    """What came of requests at one rate."""

    rate: float
    calls: int
    refused: int
    answered_per_s: float
    latency: Distribution
    batches: dict[int, int]
    cores_busy: float  # while requests came

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**self.__dict__, "latency": {name: getattr(self.latency, name) for name in self.latency.__slots__}}


def simulate_unary(
    node: Node, costs: UnaryCosts, triton_costs: TritonCosts, rate: float, seconds: float, seed: int
) -> UnaryOutcome:
    """Requests as a Poisson process with `rate` a second, spread over the service's processes in turn."""
    machine = Machine(node.speeds)
    run = _Run(machine, node, costs, Triton(machine, node.batcher, triton_costs), random.Random(f"requests {seed}"))
    arrivals = arrivals_s(rate, seconds, seed)
    for number, at_s in enumerate(arrivals):
        machine.at(at_s, run.arrival(number, at_s))
    machine.run(seconds)
    busy = machine.busy_s / seconds
    machine.run()
    return UnaryOutcome(
        rate=rate,
        calls=len(arrivals),
        refused=len(arrivals) - len(run.took_s),
        answered_per_s=round(len(run.took_s) / seconds, 2),
        latency=Distribution.of_seconds(run.took_s),
        batches=dict(sorted(run.triton.batcher.batches.items())),
        cores_busy=round(busy, 3),
    )


class _Door:
    """So many requests inside, so many waiting, the rest refused."""

    def __init__(self, inside: int, waiting: int) -> None:
        self._room, self._places = inside, waiting
        self._queue: deque[Act] = deque()

    def enter(self, act: Act) -> bool:
        """Whether the request is taken; `act` once it is inside."""
        if self._room:
            self._room -= 1
            act()
        elif len(self._queue) < self._places:
            self._queue.append(act)
        else:
            return False
        return True

    def leave(self) -> None:
        if self._queue:
            self._queue.popleft()()
        else:
            self._room += 1


class _Run:
    def __init__(self, machine: Machine, node: Node, costs: UnaryCosts, triton: Triton, chance: random.Random) -> None:
        self._machine, self._costs, self._chance = machine, costs, chance
        self.triton = triton
        self._services = [
            (Service(machine), _Door(node.max_in_flight, node.max_waiting)) for _ in range(node.processes)
        ]
        self._generator = Threads(machine, 1) if node.has_generator else None
        self.took_s: list[float] = []

    def arrival(self, number: int, due_s: float) -> Act:
        service, door = self._services[number % len(self._services)]
        sample = self._chance.choice(self._costs.requests)
        visit_s = self._costs.loop_s / LOOP_VISITS

        def send() -> None:
            service.do(visit_s, come)

        def come() -> None:
            if not door.enter(prepare):
                self._generate(lambda: None)  # refused

        def prepare() -> None:
            service.compute(sample.features_s + visit_s, ask)

        def ask() -> None:
            self.triton.ask(sample.rows, lambda: service.do(visit_s, answer))

        def answer() -> None:
            door.leave()
            self._generate(lambda: self.took_s.append(self._machine.now_s - due_s))

        return lambda: self._generate(send)

    def _generate(self, then: Act) -> None:
        """Half of what a request costs whoever sends it, where that is this machine."""
        if self._generator is None:
            then()
        else:
            self._generator.do(self._costs.generator_s / 2, then)
