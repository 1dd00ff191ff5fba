"""Short arithmetic on the event loop itself, one piece between two looks at what has come.

Python lets one thread run at a time. Handing a short piece to another thread and back, and the two fighting for
Python's lock meanwhile, cost more than they gain, and calls that have just come delay those that are nearly done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Turns:
    """Pieces of a few milliseconds, in the order in which they came; used from one event loop."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls a function in its turn; it loses it where it is cancelled before."""
        async with self._turn:
            await _look()
            return function(*args, **kwargs)

    async def run_each(self, functions: Iterable[Callable[[], object]]) -> None:
        """Calls all of them in one turn."""
        async with self._turn:
            for function in functions:
                await _look()
                function()


async def _look() -> None:
    """Lets the event loop take what has come: Triton's answers, so that those who came first leave first."""
    await asyncio.sleep(0)
