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
from preprocess_service.errors import InvalidRequest, Overloaded, TriageError
from preprocess_service.live import translation as live_translation
from preprocess_service.live.monitor import Monitor
from preprocess_service.live.session import Session
from preprocess_service.logs import call_id_in_logs
from preprocess_service.proto.wigeup.v1 import triage_pb2 as pb
from preprocess_service.proto.wigeup.v1 import triage_pb2_grpc
from preprocess_service.settings import Settings
from preprocess_service.triage import Triage

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
StreamContext = grpc.aio.ServicerContext[pb.StreamRequest, pb.StreamResponse]
LAST_UPDATES_S: Final = 1.0  # for the last updates of a live call that has failed to leave
MAX_TENSOR_BYTES: Final = 32 * 2**20  # one Preprocess answer: about 200 rows


class TriageServicer(triage_pb2_grpc.TriageServicer):
    """wigeup.v1.Triage."""

    def __init__(self, settings: Settings, catalogue: Catalogue, triage: Triage, monitor: Monitor) -> None:
        self._settings, self._catalogue, self._triage, self._monitor = settings, catalogue, triage, monitor
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

    async def ClassifyStream(  # type: ignore[override]  # gRPC takes a coroutine that writes, too
        self, requests: AsyncIterator[pb.StreamRequest], context: StreamContext
    ) -> None:
        async with self._answering("ClassifyStream", "", context):
            first = await anext(requests, None)
            if first is None or first.WhichOneof("request") != "config":
                raise InvalidRequest("a stream without a configuration; it must be the first message")
            config = live_translation.call_config(first.config)
            deadline = Deadline(self._settings.deadline_s)
            with call_id_in_logs(config.call_id):
                async with self._monitor.admit(config, deadline) as session:
                    logger.info("live call", extra={"resumed": config.resumed, "hop_s": config.hop_s})
                    try:
                        await self._converse(requests, session, context)
                    finally:
                        logger.info("live call ended", extra=_told(session))

    async def _converse(
        self, requests: AsyncIterator[pb.StreamRequest], session: Session, context: StreamContext
    ) -> None:
        """Reads and writes until the summary is out; raises what the session has failed with.

        A caller that takes nothing any more holds the writing up, but not the end of its session.
        """
        reading = asyncio.create_task(self._read(requests, session))
        writing = asyncio.create_task(self._write(session, context))
        failing = asyncio.create_task(session.failed.wait())
        tasks = (reading, writing, failing)
        try:
            await asyncio.wait((writing, failing), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait((writing,), timeout=LAST_UPDATES_S)
            if writing.done():
                writing.result()
            elif session.error is not None:
                raise session.error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, requests: AsyncIterator[pb.StreamRequest], session: Session) -> None:
        """Lets the call hear what comes until the caller's half-close; errors go to whoever writes."""
        try:
            async for message in requests:
                self._monitor.take(session, message)
                await session.room()
        except TriageError as error:
            session.fail(error)
        else:
            self._monitor.finish(session)

    async def _write(self, session: Session, context: StreamContext) -> None:
        while True:
            response = await session.responses.get()
            if isinstance(response, TriageError):
                raise response
            try:
                await context.write(response)
            except Exception as error:  # gRPC has no public class for it: the caller has gone, and nobody is to be told
                raise asyncio.CancelledError from error
            self._monitor.taken(session)
            if response.HasField("summary"):
                return

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


def _told(session: Session) -> dict[str, object]:
    """What the log says of a call at its stream's end."""
    state = session.call.state
    return {
        "status": session.error.grpc_status if session.error else "OK" if session.call.is_complete else "CANCELLED",
        "audio_s": round(session.call.audio_s, 2),
        "updates": state.update,
        "alerts": state.alert.alerts,
        "skipped_hops": state.skipped_hops,
        "lost_frames": state.lost_frames,
    }
