"""Which live calls are judged next, and how many at once.

Calls whose next hop is due wait in one queue, urgent ones first, then by how long they have been due. Workers take as
many as fit a batch of the model. A call that comes alone is judged at once. Where calls come close behind each other,
the first waits a moment for the next ones, unless it is urgent: judged together, each window costs less.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from preprocess_service.admission import Priority

logger = logging.getLogger(__name__)


class Due(Protocol):
    """A call with a hop to judge."""

    @property
    def batch_key(self) -> tuple[str, str]:
        """Calls with the same model and version can be judged together."""

    @property
    def priority(self) -> Priority: ...

    @property
    def due_at(self) -> float:
        """By `time.monotonic`, when the hop's last audio arrived."""


Call = TypeVar("Call", bound=Due)
Entry = tuple[Priority, float, int, Call]


class Schedule(Generic[Call]):
    """The queue and its workers; used from one event loop. Whoever adds a call sees to it that it is in here once."""

    def __init__(
        self, judge: Callable[[Sequence[Call]], Awaitable[None]], workers: int, max_batch: int, gather_s: float
    ) -> None:
        """`judge` takes a batch of at least one call; it adds those that have more due, once more. `gather_s` is the
        longest that a call which is due waits for others."""
        self._judge, self._max_batch, self._gather_s = judge, max_batch, gather_s
        self._queue: list[Entry[Call]] = []
        self._order = itertools.count()
        self._added_at = -math.inf  # when the last call was
        self._is_busy = False  # whether it came close behind the one before
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._workers = [asyncio.create_task(self._work()) for _ in range(workers)]

    def add(self, call: Call) -> None:
        now = time.monotonic()
        self._is_busy, self._added_at = now - self._added_at < self._gather_s, now
        heapq.heappush(self._queue, (call.priority, call.due_at, next(self._order), call))
        self._wake()

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            while not (self._queue and self._waits_s() <= 0):
                self._changed.clear()
                await self._changed.wait()
            batch = self._take()
            self._wake()  # for those that are left
            try:
                await self._judge(batch)
            except Exception:  # a worker must not end, whatever happens
                logger.exception("live batch failed", extra={"calls": len(batch)})

    def _waits_s(self) -> float:
        """How long the first call may still wait for others."""
        priority, due_at, *_ = self._queue[0]
        if priority is Priority.URGENT or not self._is_busy or len(self._queue) >= self._max_batch:
            return 0.0
        return due_at + self._gather_s - time.monotonic()

    def _wake(self) -> None:
        """Has the workers look at the queue, now or once the first call has waited."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._queue:
            return
        waits_s = self._waits_s()
        if waits_s <= 0:
            self._changed.set()
        else:
            self._timer = asyncio.get_running_loop().call_later(waits_s, self._wake)

    def _take(self) -> list[Call]:
        """The first call and those behind it that can be judged together with it."""
        first = heapq.heappop(self._queue)[3]
        batch, passed_over = [first], []
        while self._queue and len(batch) < self._max_batch:
            entry = heapq.heappop(self._queue)
            if entry[3].batch_key == first.batch_key:
                batch.append(entry[3])
            else:
                passed_over.append(entry)
        for entry in passed_over:
            heapq.heappush(self._queue, entry)
        return batch
