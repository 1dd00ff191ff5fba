"""Discrete events: threads that share the cores of one machine.

Every thread that has work gets the same share of the cores (processor sharing), as an operating system's fair scheduler
gives it to threads of equal weight; within one thread work goes in the order in which it came. Since all shares are
equal, one virtual clock tells how much work each has got, and the next to end is the first in a heap: an event costs
the logarithm of the threads, whatever their number. A general library for simulations would have to plan every end anew
whenever a thread starts or stops.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

Act = Callable[[], None]
NOTHING_LEFT: Final = float("inf")


class Machine:
    """Simulated time, and cores that threads share."""

    def __init__(self, speeds: Sequence[float]) -> None:
        """`speeds[n - 1]`: what n busy cores do together, in cores: 1.0, 2.0 ... where cores do not slow each other.
        More threads than cores are as fast as the cores. Raises ValueError for a machine without a core."""
        if not speeds or min(speeds) <= 0:
            raise ValueError(f"speeds {list(speeds)}; at least one core, each faster than 0")
        self._speeds = tuple(speeds)
        self.now_s = 0.0
        self.busy_s = 0.0  # work done
        self._order = itertools.count()
        self._timers: list[tuple[float, int, Act]] = []
        self._work: list[tuple[float, int, Act]] = []  # by the virtual time at which it ends
        self._virtual_s = 0.0  # work that a thread has got which had some from the beginning on

    def at(self, moment_s: float, act: Act) -> None:
        """Has something happen at a moment, which is not over."""
        heapq.heappush(self._timers, (moment_s, next(self._order), act))

    def work(self, work_s: float, done: Act) -> None:
        """A thread has so much work, in seconds of one core alone; `done` at its end."""
        heapq.heappush(self._work, (self._virtual_s + work_s, next(self._order), done))

    def run(self, until_s: float = NOTHING_LEFT) -> None:
        """Lets everything happen up to a moment, or until nothing is left to happen."""
        while True:
            share = self._share()
            ends_s = self.now_s + (self._work[0][0] - self._virtual_s) / share if self._work else NOTHING_LEFT
            timer_s = self._timers[0][0] if self._timers else NOTHING_LEFT
            next_s = min(ends_s, timer_s)
            if next_s == NOTHING_LEFT or next_s > until_s:
                if until_s != NOTHING_LEFT:
                    self._advance(until_s, share)
                return
            self._advance(next_s, share)
            if ends_s <= timer_s:
                self._virtual_s, _, act = heapq.heappop(self._work)  # exactly: rounding must not add up
            else:
                _, _, act = heapq.heappop(self._timers)
            act()

    def _share(self) -> float:
        """The speed of each thread."""
        threads = len(self._work)
        return self._speeds[min(threads, len(self._speeds)) - 1] / threads if threads else 0.0

    def _advance(self, to_s: float, share: float) -> None:
        passed_s = max(0.0, to_s - self.now_s)
        self._virtual_s += passed_s * share
        self.busy_s += passed_s * share * len(self._work)
        self.now_s = max(self.now_s, to_s)


class Threads:
    """Some threads with one queue. A thread that had nothing to do has `wake_s` of work more with its next."""

    def __init__(self, machine: Machine, count: int, wake_s: float = 0.0) -> None:
        self._machine, self._idle, self._wake_s = machine, count, wake_s
        self._queue: deque[tuple[float, Act]] = deque()

    def do(self, work_s: float, done: Act) -> None:
        """Queues work, in seconds of one core alone."""
        if self._idle:
            self._idle -= 1
            self._begin(self._wake_s + work_s, done)
        else:
            self._queue.append((work_s, done))

    def _begin(self, work_s: float, done: Act) -> None:
        def end() -> None:
            if self._queue:
                self._begin(*self._queue.popleft())
            else:
                self._idle += 1
            done()

        self._machine.work(work_s, end)
