"""The door: a bounded number of requests inside, a bounded number waiting, urgent ones first, the rest refused."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from typing import Final

from preprocess_service.deadline import Deadline
from preprocess_service.errors import DeadlinePassed, Overloaded

SMOOTHING: Final = 0.1  # of the mean time that a unit spends inside
SHORTEST_RETRY_MS: Final = 50


class Priority(IntEnum):
    """Lower goes first; the numbers are Triton's priority levels."""

    URGENT = 1
    NORMAL = 2


class Admission:
    """Counts requests in units of cost; used from one event loop."""

    def __init__(self, max_inside: int, max_waiting: int) -> None:
        self._max_inside, self._max_waiting = max_inside, max_waiting
        self._inside = self._waiting = 0
        self._queue: list[tuple[Priority, int, int, asyncio.Future[None]]] = []
        self._arrival = itertools.count()
        self._mean_s = 0.05

    @asynccontextmanager
    async def admit(self, cost: int, priority: Priority, deadline: Deadline) -> AsyncIterator[None]:
        """Waits for room; raises Overloaded at once where too much waits already, DeadlinePassed after the deadline."""
        cost = min(cost, self._max_inside)
        await self._enter(cost, priority, deadline)
        entered = time.monotonic()
        try:
            yield
        finally:
            self._mean_s += SMOOTHING * (time.monotonic() - entered - self._mean_s)
            self._leave(cost)

    async def _enter(self, cost: int, priority: Priority, deadline: Deadline) -> None:
        if not self._queue and self._inside + cost <= self._max_inside:
            self._inside += cost
            return
        # As many places again are kept for urgent calls, so that a batch job cannot shut them out.
        limit = self._max_waiting * (2 if priority is Priority.URGENT else 1)
        if self._waiting + cost > limit:
            raise Overloaded(
                f"{self._inside} requests under way and {self._waiting} waiting; at most {limit} may wait",
                self._retry_after_ms(),
            )
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (priority, next(self._arrival), cost, turn))
        self._waiting += cost
        try:
            async with asyncio.timeout(deadline.remaining_s()):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # its turn came in the same instant
                self._leave(cost)
            else:
                turn.cancel()
                self._waiting -= cost
                self._let_in()
            if isinstance(error, TimeoutError):
                raise DeadlinePassed("the request's deadline passed while it waited for its turn") from None
            raise

    def _leave(self, cost: int) -> None:
        self._inside -= cost
        self._let_in()

    def _let_in(self) -> None:
        while self._queue:
            _, _, cost, turn = self._queue[0]
            if not turn.cancelled():
                if self._inside + cost > self._max_inside:
                    return
                self._inside += cost
                self._waiting -= cost
                turn.set_result(None)
            heapq.heappop(self._queue)

    def _retry_after_ms(self) -> int:
        """About the time until half of those who wait are inside."""
        return max(SHORTEST_RETRY_MS, round(1000 * self._mean_s * self._waiting / self._max_inside / 2))
