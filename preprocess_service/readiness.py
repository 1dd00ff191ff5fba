"""Readiness: SERVING only while Triton answers the canary of a model as the contract says it must."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio

from preprocess_service.catalogue import Catalogue
from preprocess_service.deadline import Deadline
from preprocess_service.errors import Overloaded, TriageError

logger = logging.getLogger(__name__)

SERVICE: Final = "wigeup.v1.Triage"
CANARY_TIMEOUT_S: Final = 5.0


class Readiness:
    """Keeps grpc.health.v1 true: "" and the service's name stand for the default model, `<service>/<model>` for any."""

    def __init__(self, catalogue: Catalogue, health: health_aio.HealthServicer, interval_s: float) -> None:
        self._catalogue, self._health, self._interval_s = catalogue, health, interval_s
        self._known: dict[str, bool] = {}

    async def watch(self) -> None:
        """Checks for ever."""
        while True:
            await asyncio.gather(*(self._check(name) for name in self._catalogue.models))
            await asyncio.sleep(self._interval_s)

    async def start(self) -> None:
        """Says NOT_SERVING for all, before the first check."""
        for name in self._catalogue.models:
            await self._set(name, serving=False)

    async def _check(self, name: str) -> None:
        try:
            await self._catalogue.check(name, Deadline(CANARY_TIMEOUT_S))
        except Overloaded:
            return  # it lives, and has much to do
        except TriageError as error:
            serving, reason = False, str(error)
        except Exception as error:  # the watch must not end, whatever happens
            logger.exception("check failed", extra={"model": name})
            serving, reason = False, repr(error)
        else:
            serving, reason = True, ""
        if self._known.get(name) != serving:
            log = logger.info if serving else logger.warning
            log("ready" if serving else "not ready", extra={"model": name, "reason": reason})
            self._known[name] = serving
        await self._set(name, serving)

    async def _set(self, name: str, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        services = [f"{SERVICE}/{name}"] + (["", SERVICE] if name == self._catalogue.default else [])
        for service in services:
            await self._health.set(service, status)
