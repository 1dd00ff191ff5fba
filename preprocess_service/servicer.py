"""The RPC methods: translate, call, reply; every error becomes its gRPC status."""

# ruff: noqa: N802, ARG002 - gRPC fixes the names and the arguments

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import grpc
import grpc.aio

from preprocess_service import translation
from preprocess_service.catalogue import Catalogue
from preprocess_service.deadline import Deadline
from preprocess_service.errors import Overloaded, TriageError
from preprocess_service.logs import call_id_in_logs
from preprocess_service.proto.wigeup.v1 import triage_pb2 as pb
from preprocess_service.proto.wigeup.v1 import triage_pb2_grpc
from preprocess_service.settings import Settings
from preprocess_service.triage import Triage

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
MAX_TENSOR_BYTES: Final = 32 * 2**20  # one Preprocess answer: about 200 rows


class TriageServicer(triage_pb2_grpc.TriageServicer):
    """wigeup.v1.Triage."""

    def __init__(self, settings: Settings, catalogue: Catalogue, triage: Triage) -> None:
        self._settings, self._catalogue, self._triage = settings, catalogue, triage
        self._under_way = 0  # calls that have no answer yet
        self.idle = asyncio.Event()
        self.idle.set()

    async def Classify(self, request: pb.ClassifyRequest, context: Context) -> pb.Verdict:
        async with self._answering("Classify", request.call_id, context):
            call_id = translation.checked_call_id(request.call_id)
            verdict = await self._triage.classify(translation.classify_question(request), self._deadline(context))
            logger.info(
                "classified",
                extra={
                    "model": verdict.model,
                    "version": verdict.version,
                    "audio_s": round(verdict.audio_s, 2),
                    "decision": verdict.decision.name,
                    "warnings": [warning.name for warning in verdict.warnings],
                    "total_ms": round(verdict.times.total_ms, 1),
                    "inference_ms": round(verdict.times.inference_ms, 1),
                },
            )
            return translation.verdict_message(verdict, call_id)

    async def Preprocess(self, request: pb.PreprocessRequest, context: Context) -> pb.PreprocessResponse:
        async with self._answering("Preprocess", "", context):
            question = translation.preprocess_question(request)
            render = translation.preprocess_message
            return await self._triage.preprocess(question, self._deadline(context), render, MAX_TENSOR_BYTES)

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        default = self._catalogue.default
        return pb.ListModelsResponse(
            models=[
                translation.model_message(served, is_default=served.name == default, loaded=loaded)
                for served, loaded in self._catalogue.models
            ]
        )

    def _deadline(self, context: Context) -> Deadline:
        remaining_s = context.time_remaining()
        return Deadline(self._settings.deadline_s if remaining_s is None else remaining_s)

    @asynccontextmanager
    async def _answering(self, method: str, call_id: str, context: Context) -> AsyncIterator[None]:
        """Logs under the call's id and ends the RPC with the status of a TriageError."""
        with self._counted(), call_id_in_logs(call_id):
            try:
                yield
            except TriageError as error:
                status = grpc.StatusCode[error.grpc_status]
                # The messages of a caller's own mistakes can quote samples, and audio is never logged.
                reason = str(error) if status is not grpc.StatusCode.INVALID_ARGUMENT else type(error).__name__
                logger.warning("refused", extra={"method": method, "status": status.name, "reason": reason})
                if isinstance(error, Overloaded):
                    context.set_trailing_metadata((("retry-after-ms", str(error.retry_after_ms)),))
                await context.abort(status, str(error))
            except Exception:
                logger.exception("failed", extra={"method": method})
                await context.abort(grpc.StatusCode.INTERNAL, "the service failed; its log says why")

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._under_way += 1
        self.idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self.idle.set()
