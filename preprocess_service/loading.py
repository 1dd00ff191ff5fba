"""What Triton holds in memory: models are loaded when they are needed, and the least recently used give way."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from preprocess_service.deadline import Deadline
from preprocess_service.errors import ModelNotLoaded, Overloaded, TriageError
from preprocess_service.shelf import Shelf
from preprocess_service.triton import TritonClient

logger = logging.getLogger(__name__)

LEAST_RETRY_MS: Final = 1000
TURN_PAUSE_S: Final = 0.05  # between two looks whether another worker has done with a model


class Loader:
    """Has Triton load and unload models; used from one event loop.

    It unloads only what it, or another worker with the same shelf, has loaded itself and what no request is using, so
    that services may share a Triton; a model that another service took away is loaded again by whoever needs it next.
    Of models in `kept` it unloads none, and of the others none that has just been loaded: callers of ever another model
    would have Triton do nothing but load. One that may give way but is in use, or is only being loaded, stays beside
    the new one until nobody uses it.
    """

    def __init__(
        self,
        triton: TritonClient,
        shelf: Shelf,
        kept: frozenset[str],
        max_on_demand: int | None,
        min_stay_s: float,
        timeout_s: float,
        forget: Callable[[str], None],
    ) -> None:
        """`max_on_demand` None: only kept models are loaded. `forget` is told of a model that is unloaded, before
        anybody is answered by it again."""
        self._triton, self._shelf, self._kept, self._max = triton, shelf, kept, max_on_demand
        self._timeout_s, self._min_stay_s, self._forget = timeout_s, min_stay_s, forget
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._users: Counter[str] = Counter()
        self._held: set[str] = set()  # on the shelf, since they are used
        self._unloading: set[str] = set()
        self._brought_at: dict[str, float] = {}  # what the shelf said of models that this worker has brought
        self._trimming: asyncio.Task[None] | None = None

    @contextmanager
    def use(self, name: str) -> Iterator[None]:
        """The model is not unloaded meanwhile."""
        self._users[name] += 1
        self._hold(name)
        self.notice(name)
        try:
            yield
        finally:
            self._users[name] -= 1
            self._shelf.touch(name)
            if not self._users[name] and name in self._held:
                self._held.discard(name)
                self._shelf.release(name)
            self._trim_soon()

    def notice(self, name: str) -> None:
        """Has the model forgotten where another worker has had it unloaded since it was brought."""
        if name in self._brought_at and self._brought_at[name] != self._shelf.loaded_at(name):
            del self._brought_at[name]
            self._forget(name)

    async def found(self, name: str, version: int, deadline: Deadline) -> bool:
        """Whether another worker has had that version loaded; raises TritonUnavailable."""
        is_news = self._shelf.loaded_at(name) > 0 and name not in self._brought_at
        return is_news and await self._triton.ready(name, version, deadline)

    async def bring(self, name: str, version: int, deadline: Deadline) -> None:
        """Returns when Triton has that version ready, or has loaded whatever it finds of the model.

        Raises ModelNotLoaded where it is not ready and may not be loaded, Overloaded where no other model may give way
        to it yet, DeadlinePassed where another worker takes too long with it, LoadFailed, TritonUnavailable.
        """
        async with self._turn(name, deadline):
            self._hold(name)
            if not await self._triton.ready(name, version, deadline):
                if name in self._kept:
                    await self._load(name, version, deadline)
                    return
                await self._load_on_demand(name, version, deadline)
            if name not in self._kept:
                self._brought_at[name] = self._shelf.loaded_at(name)
        self._trim_soon()  # whoever wanted it may have gone

    def gone(self, name: str) -> None:
        """Somebody else has had Triton unload the model, or Triton was started anew."""
        # Not where another worker has had it loaded again meanwhile.
        if self._brought_at.pop(name, None) == self._shelf.loaded_at(name):
            self._shelf.drop(name)

    async def close(self) -> None:
        if self._trimming is not None:
            await asyncio.wait([self._trimming])

    @asynccontextmanager
    async def _turn(self, name: str, deadline: Deadline) -> AsyncIterator[None]:
        """Neither this worker nor another loads or unloads the model meanwhile."""
        async with self._turns[name]:
            while not self._shelf.begin_turn(name):  # noqa: ASYNC110 - another process sets no event of this one
                await asyncio.sleep(min(TURN_PAUSE_S, deadline.remaining_s()))
            try:
                yield
            finally:
                self._shelf.end_turn(name)

    def _hold(self, name: str) -> None:
        """Keeps other workers from unloading a model that is used here. Where one does already, or this one does, it is
        for `bring` to try again."""
        is_wanted = self._users[name] and name not in self._kept and name not in self._held
        if is_wanted and name not in self._unloading and self._shelf.hold(name):
            self._held.add(name)

    async def _load(self, name: str, version: int, deadline: Deadline) -> None:
        logger.info("loading", extra={"model": name, "version": version})
        await self._triton.load(name, min(self._timeout_s, deadline.remaining_s()))

    async def _load_on_demand(self, name: str, version: int, deadline: Deadline) -> None:
        if self._max is None:
            raise ModelNotLoaded(
                f"Triton has not loaded model {name!r}, and WIGEUP_LOAD_ON_DEMAND is off; "
                f"WIGEUP_LOADED_MODELS names {', '.join(sorted(self._kept))}"
            )
        try:
            with self._shelf.alone():
                self._shelf.announce(name)
                settled, surplus = self._giving_way(name, self._max)
            await self._unload(settled, surplus)
            await self._load(name, version, deadline)
            self._shelf.arrived(name)
        finally:
            self._shelf.settle(name)

    def _giving_way(self, name: str, most: int) -> tuple[Sequence[str], int]:
        """The models that may give way to this one, and how many must; raises Overloaded where too few may yet."""
        stays_s = self._stays_s()
        surplus = max(0, len(stays_s) - most)
        settled = [each for each, left_s in stays_s.items() if left_s <= 0 and each != name]
        if surplus > len(settled) and not self._shelf.loaded_at(name):
            left_s = min(left_s for each, left_s in stays_s.items() if left_s > 0 and each != name)
            raise Overloaded(
                f"model {name!r} is not loaded: {most} others are, as many as may be on demand, and the next one "
                f"gives way in {math.ceil(left_s)} s",
                retry_after_ms=max(LEAST_RETRY_MS, math.ceil(1000 * left_s)),
            )
        return settled, surplus

    def _surplus(self) -> int:
        """How many more models are loaded on demand than may be."""
        return 0 if self._max is None else max(0, len(self._shelf.loaded()) - self._max)

    def _stays_s(self) -> dict[str, float]:
        """How long each still stays, whether or not it is used, the least recently used first; 0 or less: no longer.

        One that is being loaded has all of its stay before it.
        """
        now, coming = time.monotonic(), self._shelf.coming()  # first: one that arrives meanwhile is not missed
        left_s = {name: at + self._min_stay_s - now for name, at in self._shelf.loaded().items()}
        return left_s | {name: self._min_stay_s for name in coming if name not in left_s}

    def _trim_soon(self) -> None:
        if self._trimming is None and self._surplus() > 0:
            self._trimming = asyncio.create_task(self._trim())

    async def _trim(self) -> None:
        try:
            # Not the next idle one where these are in use: it would be loaded again for its next request.
            settled = [name for name, left_s in self._stays_s().items() if left_s <= 0]
            oldest = settled[: self._surplus()]
            await self._unload(oldest, len(oldest))
        finally:
            self._trimming = None

    async def _unload(self, names: Sequence[str], count: int) -> None:
        """Has so many of these models unloaded, the first ones that nobody uses or changes."""
        for name in names:
            if not count:
                return
            if self._users[name] or self._turns[name].locked():
                continue
            async with self._turns[name]:
                with self._shelf.unloading(name) as is_here:
                    if is_here:
                        count -= 1
                        await self._unload_idle(name)

    async def _unload_idle(self, name: str) -> None:
        self._unloading.add(name)
        self._brought_at.pop(name, None)
        self._forget(name)
        try:
            await self._triton.unload(name)
            logger.info("unloaded", extra={"model": name})
        except TriageError as error:  # it stays, then, and takes memory; nothing answers wrongly
            logger.warning("not unloaded", extra={"model": name, "reason": str(error)})
        finally:
            self._unloading.discard(name)
