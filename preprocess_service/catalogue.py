"""The models that callers can ask: which version of each answers, loaded in Triton and its answers proven."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from preprocess_service.contract import ContractMismatch
from preprocess_service.deadline import Deadline
from preprocess_service.errors import DeadlinePassed, InvalidRequest, ModelNotFound, NotServed, Overloaded, WrongAnswer
from preprocess_service.loading import Loader
from preprocess_service.model_spec import MODELS
from preprocess_service.pauses import Pauses
from preprocess_service.proof import ask_canary, prove
from preprocess_service.repository import Repository, ServedModel, Signature
from preprocess_service.settings import Settings
from preprocess_service.shelf import Shelf
from preprocess_service.triton import TritonClient

logger = logging.getLogger(__name__)

LONGEST_NAME: Final = 64
LOAD_RETRY_MS: Final = 1000


class Catalogue:
    """Default traffic goes to the newest version that is no candidate, once Triton has proven to serve it; until then,
    and when it proves otherwise, the version in service stays."""

    def __init__(self, settings: Settings, triton: TritonClient, shelf: Shelf) -> None:
        """Reads all contracts; raises ContractMismatch where the default model's does not fit, or it is not there.

        Another model whose contract does not fit is left out.
        """
        self.default, self._triton = settings.default_model, triton
        self._repository = Repository(settings.model_repository)
        self._kept = frozenset({self.default, *settings.loaded_models})
        self._load_timeout_s, self._max_waiting = settings.load_timeout_s, max(1, settings.max_waiting)
        max_on_demand = settings.max_on_demand if settings.load_on_demand else None
        self._loader = Loader(
            triton, shelf, self._kept, max_on_demand, settings.min_stay_s, settings.load_timeout_s, self._forget
        )
        self._on_disk: dict[str, ServedModel] = {}  # the newest version whose contract fits
        self._refused: dict[str, tuple[Signature, ContractMismatch]] = {}  # the newest, where it does not
        self._active: dict[str, ServedModel] = {}  # what default traffic is answered by
        self._wrong: dict[str, str] = {}  # of an active model that has begun to answer wrongly
        self._proven: dict[tuple[str, Signature], ServedModel] = {}  # versions that were asked for by number
        self._coming: dict[str, asyncio.Task[ServedModel]] = {}
        self._pauses = Pauses()
        self._waiting = 0
        for name in MODELS:
            self._look(name)
        if self.default in self._refused:
            raise self._refused[self.default][1]
        if self.default not in self._on_disk:
            held = ", ".join(self._on_disk) or "no trained model"
            raise ContractMismatch(f"the default model is {self.default!r}; {settings.model_repository} holds {held}")

    def __contains__(self, name: str) -> bool:
        return name in self._on_disk or name in self._active

    @property
    def models(self) -> list[tuple[ServedModel, bool]]:
        """What default traffic to each model is answered by, and whether Triton has it loaded."""
        names = [name for name in MODELS if name in self]
        return [(self._active.get(name) or self._on_disk[name], name in self._active) for name in names]

    def is_at_hand(self, name: str, version: str) -> bool:
        """Whether `lease` of the same need not ask Triton for anything; raises InvalidRequest, ModelNotFound."""
        name = self._known(name or self.default)
        self._loader.notice(name)
        signature, served = self._signature(name, version) if version else None, self._active.get(name)
        if signature is None:
            return served is not None
        return (served is not None and served.signature == signature) or (name, signature) in self._proven

    @asynccontextmanager
    async def lease(self, name: str, version: str, deadline: Deadline) -> AsyncIterator[ServedModel]:
        """The model of that name ("" the default) and version ("" the one in service), which stays loaded meanwhile.

        Waits while Triton loads it. Raises InvalidRequest, ModelNotFound, ModelNotLoaded, Overloaded where too many
        wait already, DeadlinePassed, TritonUnavailable; WrongAnswer while the model is known to answer wrongly: no
        verdict is better than a wrong one.
        """
        name = self._known(name or self.default)
        with self._loader.use(name):
            yield await (self._exactly(name, version, deadline) if version else self._default(name, deadline))

    def lost(self, served: ServedModel) -> None:
        """Triton has said that it does not serve that version any more."""
        self._proven.pop((served.name, served.signature), None)
        active = self._active.get(served.name)
        if active is not None and active.signature == served.signature:
            self._forget(served.name)
            self._loader.gone(served.name)

    async def check(self, name: str, deadline: Deadline) -> bool:
        """Whether the model is loaded and answers its canary right; raises TritonUnavailable where it does not, or a
        model that is to be loaded is not yet.

        A newer version on disk begins to take over, an older one where the newest has gone.
        """
        await self._refresh(name)
        self._loader.notice(name)
        try:
            return await self._answers_right(name, deadline)
        except NotServed:  # rolled back or restarted: a call looks again, so that is no reason to send callers away
            return await self._answers_right(name, deadline)

    async def _answers_right(self, name: str, deadline: Deadline) -> bool:
        served = self._active.get(name)
        if served is None:
            if not await self._is_to_be_here(name, deadline):
                return False
            served = await self._bring(name, deadline)
        elif name in self._on_disk and self._on_disk[name].signature != served.signature:
            self._begin(name)
        try:
            await ask_canary(self._triton, served, deadline)
        except NotServed:
            self.lost(served)
            raise
        except WrongAnswer as error:
            self._wrong[name] = str(error)
            raise
        self._wrong.pop(name, None)
        return True

    async def close(self) -> None:
        for task in self._coming.values():
            task.cancel()
        if self._coming:
            await asyncio.wait(self._coming.values())
        await self._loader.close()

    async def _is_to_be_here(self, name: str, deadline: Deadline) -> bool:
        """Whether Triton is to have the model loaded, or another worker has had it loaded."""
        if name not in self._on_disk or name in self._kept:
            return name in self._on_disk
        return await self._loader.found(name, self._on_disk[name].version, deadline)

    def _known(self, name: str) -> str:
        if name in self:
            return name
        if name in self._refused:
            raise ModelNotFound(f"model {name!r} cannot be asked: {self._refused[name][1].reason}")
        if name in MODELS and self._repository.versions(name):
            return name  # a candidate: `_exactly` answers
        shown = repr(name) if len(name) <= LONGEST_NAME and name.isascii() else f"of {len(name)} characters"
        raise ModelNotFound(f"model {shown} is unknown; there are {', '.join(self._on_disk)}")

    async def _default(self, name: str, deadline: Deadline) -> ServedModel:
        if name in self._wrong:
            raise WrongAnswer(self._wrong[name])
        return self._active.get(name) or await self._bring_for_request(name, deadline)

    async def _exactly(self, name: str, text: str, deadline: Deadline) -> ServedModel:
        signature = self._signature(name, text)
        served = self._active.get(name)
        if served is not None and served.signature == signature:
            return await self._default(name, deadline)
        if (name, signature) in self._proven:
            return self._proven[name, signature]
        if served is None and not self._repository.is_candidate(name, signature[0]):
            await self._bring_for_request(name, deadline)
        try:
            served = await asyncio.to_thread(self._repository.read, name, signature)
        except ContractMismatch as error:
            raise ModelNotFound(f"version {text} of {name} cannot be asked: {error.reason}") from error
        if not await self._triton.ready(name, signature[0], deadline):
            raise ModelNotFound(f"Triton does not serve version {text} of {name}: it has the newest ones only")
        self._proven[name, signature] = await prove(self._triton, served, deadline)
        return self._proven[name, signature]

    def _signature(self, name: str, text: str) -> Signature:
        if not (text.isascii() and text.isdecimal() and len(text) <= LONGEST_NAME and text == str(int(text))):
            raise InvalidRequest(f"model_version of {len(text)} characters; it must be a number, as in '1'")
        versions = self._repository.versions(name)
        if int(text) not in versions:
            raise ModelNotFound(f"model {name!r} has no version {text}; there are {', '.join(map(str, versions))}")
        return self._repository.signature(name, int(text))

    async def _bring(self, name: str, deadline: Deadline) -> ServedModel:
        """The newest version, once it is loaded and proven; all who wait for the same model wait for one load."""
        try:
            async with asyncio.timeout(deadline.remaining_s()):
                return await asyncio.shield(self._begin(name))
        except TimeoutError:
            raise DeadlinePassed(f"the request's deadline passed while Triton loaded {name}") from None

    async def _bring_for_request(self, name: str, deadline: Deadline) -> ServedModel:
        if self._waiting >= self._max_waiting:
            raise Overloaded(f"{self._waiting} requests wait for models to be loaded, the most that may", LOAD_RETRY_MS)
        self._waiting += 1
        try:
            return await self._bring(name, deadline)
        finally:
            self._waiting -= 1

    def _begin(self, name: str) -> asyncio.Task[ServedModel]:
        if name not in self._coming:
            # Not in the context of the request that happens to be first: the load is not that call's alone.
            task = asyncio.create_task(self._come(name), context=contextvars.Context())
            task.add_done_callback(partial(self._came, name))
            self._coming[name] = task
        return self._coming[name]

    async def _come(self, name: str) -> ServedModel:
        await self._refresh(name)  # what was lost may have been rolled back
        served, before = self._on_disk.get(name), self._active.get(name)
        if served is None:
            raise ModelNotFound(f"model {name!r} has no version in service, only candidates")
        deadline = Deadline(self._load_timeout_s)
        with self._pauses.after_failure((name, served.signature)):
            await self._loader.bring(name, served.version, deadline)
            served = await prove(self._triton, served, deadline)
        self._active[name] = served
        self._wrong.pop(name, None)
        logger.info(
            "version changed" if before else "loaded",
            extra={"model": name, "version": served.version, "graph": served.graph_file},
        )
        return served

    def _came(self, name: str, task: asyncio.Task[ServedModel]) -> None:
        self._coming.pop(name)
        error = None if task.cancelled() else task.exception()  # all who waited may have gone
        if error is not None and name in self._active:
            version = self._active[name].version
            if self._pauses.is_news(name, str(error)):
                logger.warning("version stays", extra={"model": name, "version": version, "reason": str(error)})

    def _forget(self, name: str) -> None:
        self._active.pop(name, None)
        self._wrong.pop(name, None)
        self._proven = {key: served for key, served in self._proven.items() if key[0] != name}

    async def _refresh(self, name: str) -> None:
        newest = self._repository.newest(name)
        if newest is not None:
            with contextlib.suppress(ContractMismatch):
                await asyncio.to_thread(self._repository.read, name, newest)  # hashes files; `_look` finds it read
        self._look(name)

    def _look(self, name: str) -> None:
        """Takes up the newest contract."""
        signature = self._repository.newest(name)
        if signature is None:
            self._on_disk.pop(name, None)
            self._refused.pop(name, None)
            return
        if name in self._on_disk and self._on_disk[name].signature == signature:
            return
        if name in self._refused and self._refused[name][0] == signature:
            return
        try:
            self._on_disk[name] = self._repository.read(name, signature)
            self._refused.pop(name, None)
        except ContractMismatch as error:
            self._refused[name] = (signature, error)
            if name != self.default or name in self._on_disk:
                logger.warning("version left out", extra={"model": name, "reason": str(error)})
            before = self._on_disk.get(name)
            if before is not None and before.version not in self._repository.versions(name):
                self._on_disk.pop(name)
