"""Triton's dynamic batcher, as far as it decides how many rows are computed together."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from loadtest.sizing.engine import Act, Machine

Run = Callable[[int, Act], None]  # rows, and what follows

NORMAL, URGENT = 2, 1  # lower goes first


@dataclass(frozen=True)
class BatcherShape:
    """A model's configuration: instances, rows in a batch, and how long the first waits for others."""

    instances: int
    max_batch: int
    delay_s: float = 0.0


class Batcher:
    """Requests of one or more rows; an instance that is free takes as many as fit, urgent ones first, then in order.

    A request is never cut. With a delay, less than a whole batch waits until its oldest request has waited so long.
    """

    def __init__(self, machine: Machine, shape: BatcherShape, run: Run) -> None:
        """`run` computes a batch of so many rows."""
        self._machine, self._shape, self._run = machine, shape, run
        self._free = shape.instances
        self._queue: list[tuple[int, int, float, int, Act]] = []
        self._order = itertools.count()
        self.batches: Counter[int] = Counter()  # by rows
        self.queued_s: list[float] = []  # time in the queue, by request

    def ask(self, rows: int, done: Act, priority: int = NORMAL) -> None:
        """A request; raises ValueError for more rows than a batch has."""
        if not 1 <= rows <= self._shape.max_batch:
            raise ValueError(f"{rows} rows; a batch has 1 to {self._shape.max_batch}")
        heapq.heappush(self._queue, (priority, next(self._order), self._machine.now_s, rows, done))
        self._dispatch()

    def _dispatch(self) -> None:
        while self._free and self._queue:
            now_s, delay_s = self._machine.now_s, self._shape.delay_s
            waiting = sum(entry[3] for entry in self._queue) if delay_s else self._shape.max_batch
            if waiting < self._shape.max_batch:
                ready_s = min(entry[2] for entry in self._queue) + delay_s
                if ready_s > now_s:
                    self._machine.at(ready_s, self._dispatch)
                    return
            self._start()

    def _start(self) -> None:
        taken: list[Act] = []
        rows = 0
        while self._queue and rows + self._queue[0][3] <= self._shape.max_batch:
            _, _, came_s, more, done = heapq.heappop(self._queue)
            rows += more
            taken.append(done)
            self.queued_s.append(self._machine.now_s - came_s)
        self._free -= 1
        self.batches[rows] += 1

        def end() -> None:
            self._free += 1
            self._dispatch()
            for done in taken:
                done()

        self._run(rows, end)
