"""What Triton holds in memory: models are loaded when they are needed, and the least recently used give way."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from preprocess_service.deadline import Deadline
from preprocess_service.errors import ModelNotLoaded, Overloaded, TriageError
from preprocess_service.triton import TritonClient

logger = logging.getLogger(__name__)

LEAST_RETRY_MS: Final = 1000


class Loader:
    """Has Triton load and unload models; used from one event loop.

    It unloads only what it has loaded itself and what no request is using, so that services may share a Triton; a model
    that another service took away is loaded again by whoever needs it next. Of models in `kept` it unloads none, and of
    the others none that it has just loaded: callers of ever another model would have Triton do nothing but load. One
    that may give way but is in use, or is only being loaded, stays beside the new one until nobody uses it.
    """

    def __init__(
        self,
        triton: TritonClient,
        kept: frozenset[str],
        max_on_demand: int | None,
        min_stay_s: float,
        timeout_s: float,
        forget: Callable[[str], None],
    ) -> None:
        """`max_on_demand` None: only kept models are loaded. `forget` is told of a model before it is unloaded."""
        self._triton, self._kept, self._max, self._timeout_s = triton, kept, max_on_demand, timeout_s
        self._min_stay_s, self._forget = min_stay_s, forget
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._users: Counter[str] = Counter()
        self._own: OrderedDict[str, float] = OrderedDict()  # loaded on demand, when; the least recently used first
        self._coming: set[str] = set()  # being loaded on demand
        self._trimming: asyncio.Task[None] | None = None

    @contextmanager
    def use(self, name: str) -> Iterator[None]:
        """The model is not unloaded meanwhile."""
        self._users[name] += 1
        try:
            yield
        finally:
            self._users[name] -= 1
            if name in self._own:
                self._own.move_to_end(name)
            self._trim_soon()

    async def bring(self, name: str, version: int, deadline: Deadline) -> None:
        """Returns when Triton has that version ready, or has loaded whatever it finds of the model.

        Raises ModelNotLoaded where it is not ready and may not be loaded, Overloaded where no other model may give way
        to it yet, LoadFailed, TritonUnavailable.
        """
        async with self._turns[name]:
            if await self._triton.ready(name, version, deadline):
                return
            if name in self._kept:
                await self._load(name, version, deadline)
                return
            self._coming.add(name)
            try:
                await self._make_room(name)
                await self._load(name, version, deadline)
                self._own[name] = time.monotonic()
            finally:
                self._coming.discard(name)
        self._trim_soon()  # whoever wanted it may have gone

    def gone(self, name: str) -> None:
        """Somebody else has had Triton unload the model, or Triton was started anew."""
        self._own.pop(name, None)

    async def close(self) -> None:
        if self._trimming is not None:
            await asyncio.wait([self._trimming])

    async def _load(self, name: str, version: int, deadline: Deadline) -> None:
        logger.info("loading", extra={"model": name, "version": version})
        await self._triton.load(name, min(self._timeout_s, deadline.remaining_s()))

    async def _make_room(self, name: str) -> None:
        if self._max is None:
            raise ModelNotLoaded(
                f"Triton has not loaded model {name!r}, and WIGEUP_LOAD_ON_DEMAND is off; "
                f"WIGEUP_LOADED_MODELS names {', '.join(sorted(self._kept))}"
            )
        surplus = self._surplus(self._own.keys() | self._coming)
        stays_s = self._stays_s()
        settled = [each for each, left_s in stays_s.items() if left_s <= 0 and each != name]
        if surplus > len(settled) and name not in self._own:
            left_s = min(left_s for each, left_s in stays_s.items() if left_s > 0 and each != name)
            raise Overloaded(
                f"model {name!r} is not loaded: {self._max} others are, as many as may be on demand, and the next one "
                f"gives way in {math.ceil(left_s)} s",
                retry_after_ms=max(LEAST_RETRY_MS, math.ceil(1000 * left_s)),
            )
        await self._unload([each for each in settled if self._is_idle(each)][:surplus])

    def _surplus(self, names: Collection[str]) -> int:
        """How many of these models are more than may be loaded on demand."""
        return 0 if self._max is None else max(0, len(names) - self._max)

    def _stays_s(self) -> dict[str, float]:
        """How long each still stays, whether or not it is used, the least recently used first; 0 or less: no longer.

        One that is being loaded has all of its stay before it.
        """
        now = time.monotonic()
        left_s = {name: loaded + self._min_stay_s - now for name, loaded in self._own.items()}
        return left_s | {name: self._min_stay_s for name in self._coming if name not in left_s}

    def _trim_soon(self) -> None:
        if self._surplus(self._own) > 0 and self._trimming is None:
            self._trimming = asyncio.create_task(self._trim())

    async def _trim(self) -> None:
        try:
            # Not the next idle one where these are in use: it would be loaded again for its next request.
            settled = [name for name, left_s in self._stays_s().items() if left_s <= 0]
            oldest = settled[: self._surplus(self._own)]
            await self._unload([each for each in oldest if self._is_idle(each)])
        finally:
            self._trimming = None

    def _is_idle(self, name: str) -> bool:
        return not self._users[name] and not self._turns[name].locked()

    async def _unload(self, names: Sequence[str]) -> None:
        for name in names:
            async with self._turns[name]:
                if self._users[name] or name not in self._own:
                    continue
                self._own.pop(name)
                self._forget(name)
                try:
                    await self._triton.unload(name)
                    logger.info("unloaded", extra={"model": name})
                except TriageError as error:  # it stays, then, and takes memory; nothing answers wrongly
                    logger.warning("not unloaded", extra={"model": name, "reason": str(error)})
