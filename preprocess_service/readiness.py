"""Readiness: SERVING only while Triton has a model loaded and answers its canary as the contract says it must."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio

from preprocess_service.catalogue import Catalogue
from preprocess_service.deadline import Deadline
from preprocess_service.errors import Overloaded, TriageError
from preprocess_service.model_spec import MODELS

logger = logging.getLogger(__name__)

SERVICE: Final = "wigeup.v1.Triage"
CANARY_TIMEOUT_S: Final = 5.0


class Readiness:
    """Keeps grpc.health.v1 true: "" and the service's name stand for the default model, `<service>/<model>` for any.

    NOT_SERVING is also a model that nobody has asked for yet: its first request loads it. A model that the repository
    does not hold is unknown.
    """

    def __init__(self, catalogue: Catalogue, health: health_aio.HealthServicer, interval_s: float) -> None:
        self._catalogue, self._health, self._interval_s = catalogue, health, interval_s
        self._told: dict[str, str] = {}  # what was last logged of a model

    async def watch(self) -> None:
        """Checks for ever, every model at its own pace: one that is being loaded does not hold up the others."""
        await asyncio.gather(*(self._watch(name) for name in MODELS))

    async def start(self) -> None:
        """Says NOT_SERVING for all, before the first check."""
        for served, _ in self._catalogue.models:
            await self._set(served.name, serving=False)

    async def _watch(self, name: str) -> None:
        while True:
            await self._check(name)
            await asyncio.sleep(self._interval_s)

    async def _check(self, name: str) -> None:
        reason = kind = ""
        try:
            serving = await self._catalogue.check(name, Deadline(CANARY_TIMEOUT_S))
        except Overloaded:
            return  # it lives, and has much to do
        except TriageError as error:
            serving, reason, kind = False, str(error), type(error).__name__
        except Exception as error:  # the watch must not end, whatever happens
            logger.exception("check failed", extra={"model": name})
            serving, reason, kind = False, repr(error), type(error).__name__
        said = "ready" if serving else f"not ready {kind}" if kind else "not loaded"
        if self._told.get(name, "not loaded") != said:
            log = logger.warning if kind else logger.info
            log(said.partition(" " + kind)[0] if kind else said, extra={"model": name, "reason": reason})
        if name in self._told or name in self._catalogue:
            await self._set(name, serving)
            self._told[name] = said

    async def _set(self, name: str, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        services = [f"{SERVICE}/{name}"] + (["", SERVICE] if name == self._catalogue.default else [])
        for service in services:
            await self._health.set(service, status)
