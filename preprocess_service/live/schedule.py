"""Which live calls are judged next, and how many at once.

Calls whose next hop is due wait in one queue, urgent ones first, then by how long they have been due. Workers take as
many as fit a batch of the model: with little to do every call goes alone and at once, and the more there is to do, the
larger the batches and the less each window costs.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
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

    def __init__(self, judge: Callable[[Sequence[Call]], Awaitable[None]], workers: int, max_batch: int) -> None:
        """`judge` takes a batch of at least one call; it adds those that have more due, once more."""
        self._judge, self._max_batch = judge, max_batch
        self._queue: list[Entry[Call]] = []
        self._order = itertools.count()
        self._filled = asyncio.Event()
        self._workers = [asyncio.create_task(self._work()) for _ in range(workers)]

    def add(self, call: Call) -> None:
        self._push((call.priority, call.due_at, next(self._order), call))

    async def close(self) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def _push(self, entry: Entry[Call]) -> None:
        heapq.heappush(self._queue, entry)
        self._filled.set()

    async def _work(self) -> None:
        while True:
            while not self._queue:
                self._filled.clear()
                await self._filled.wait()
            batch = self._take()
            try:
                await self._judge(batch)
            except Exception:  # a worker must not end, whatever happens
                logger.exception("live batch failed", extra={"calls": len(batch)})

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
            self._push(entry)
        return batch
