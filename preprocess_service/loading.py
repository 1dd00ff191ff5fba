"""What Triton holds in memory: models are loaded when they are needed, and the least recently used give way."""

from __future__ import annotations

import asyncio
import logging
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
    the others none that it has just loaded: callers of ever another model would have Triton do nothing but load.
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
            if self._surplus(self._own) > 0 and self._trimming is None:
                self._trimming = asyncio.create_task(self._trim())

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
        settled = [each for each in self._settled() if each != name]
        if surplus > len(settled) and name not in self._own:
            left_s = min((left for left in map(self._stays_s, self._own) if left > 0), default=self._min_stay_s)
            raise Overloaded(
                f"model {name!r} is not loaded: {self._max} others are, as many as may be on demand, and the next one "
                f"gives way in {left_s:.0f} s",
                retry_after_ms=max(LEAST_RETRY_MS, round(1000 * left_s)),
            )
        # One in use stays beside the new one until its requests end.
        await self._unload([each for each in settled if self._is_idle(each)][:surplus])

    def _surplus(self, names: Collection[str]) -> int:
        """How many of these models are more than may be loaded on demand."""
        return 0 if self._max is None else max(0, len(names) - self._max)

    def _settled(self) -> list[str]:
        """What may give way, the least recently used first."""
        return [name for name in self._own if self._stays_s(name) <= 0]

    def _stays_s(self, name: str) -> float:
        return self._own[name] + self._min_stay_s - time.monotonic()

    async def _trim(self) -> None:
        try:
            # Not the next idle one where these are in use: it would be loaded again for its next request.
            oldest = self._settled()[: self._surplus(self._own)]
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
