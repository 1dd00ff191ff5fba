"""The blocking client."""

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

import grpc

from client.base import ClientBase
from client.channel import open_channel
from client.errors import ModelNotFound, error_from_rpc
from client.formats import AudioFormat, Channel, Priority
from client.live.blocking import BlockingCall, Chunk
from client.live.call import LiveCall
from client.live.line import Line
from client.live.messages import stream_config
from client.live.options import LiveOptions
from client.live.watch import OnMonitored
from client.replies import model_infos, preprocessed, verdict
from client.requests import classify_request, preprocess_request
from client.results import CallSummary, CallUpdate, Health, ModelInfo, Preprocessed, Verdict
from client.stubs import UNKNOWN_SERVICE, Stubs, health, health_request
from preprocess_service.proto.wigeup.v1 import triage_pb2

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class TriageClient(ClientBase):
    """Blocking client over one channel; may be shared by threads. Use as a context manager, or call `close`."""

    def _prepare(self) -> None:
        self._channel = open_channel(self._settings)
        self._stubs = Stubs(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; calls in flight raise CallCancelled."""
        self._closed = True
        self._channel.close()

    def classify(
        self,
        audio: bytes,
        *,
        format: AudioFormat | None = None,  # noqa: A002 - the field's name in the API
        transcript: str = "",
        model: str = "",
        model_version: str = "",
        call_id: str = "",
        priority: Priority = Priority.NORMAL,
        channel: Channel = Channel.MIX,
        deadline_s: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> Verdict:
        """Judges one recording; raises TriageError.

        `audio` is a WAV, FLAC, Ogg or MP3 file, or headerless audio that `format` describes. `transcript` is
        Korean text, as far as known. `model` "" is the service's default, `model_version` "" the one in service.
        `call_id`, at most 128 printable ASCII characters, is logged and echoed. `deadline_s` and `wait_for_ready`
        overrule the client's own. The first call to a model that is not loaded waits until it is.
        """
        request = classify_request(
            audio,
            format=format,
            transcript=transcript,
            model=model,
            model_version=model_version,
            call_id=call_id,
            priority=priority,
            channel=channel,
        )
        return verdict(self._ask(self._stubs.triage.Classify, request, deadline_s, wait_for_ready))

    def preprocess(
        self,
        audio: bytes,
        *,
        format: AudioFormat | None = None,  # noqa: A002 - the field's name in the API
        transcript: str = "",
        model: str = "",
        model_version: str = "",
        channel: Channel = Channel.MIX,
        deadline_s: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> Preprocessed:
        """The tensors that `classify` would send to Triton; arguments and errors as there."""
        request = preprocess_request(
            audio, format=format, transcript=transcript, model=model, model_version=model_version, channel=channel
        )
        return preprocessed(self._ask(self._stubs.triage.Preprocess, request, deadline_s, wait_for_ready))

    def list_models(
        self, *, deadline_s: float | None = None, wait_for_ready: bool | None = None
    ) -> tuple[ModelInfo, ...]:
        """The models that the service can ask; raises TriageError."""
        request = triage_pb2.ListModelsRequest()
        return model_infos(self._ask(self._stubs.triage.ListModels, request, deadline_s, wait_for_ready))

    def health(
        self, service: str = "", *, deadline_s: float | None = None, wait_for_ready: bool | None = None
    ) -> Health:
        """Status of `service` ("" for the server as a whole), SERVICE_UNKNOWN where there is none of that name."""
        request = health_request(service)
        try:
            return health(self._ask(self._stubs.check_health, request, deadline_s, wait_for_ready))
        except ModelNotFound:
            return UNKNOWN_SERVICE

    def stream(
        self,
        chunks: Iterable[Chunk],
        *,
        format: AudioFormat,  # noqa: A002 - the field's name in the API
        call_id: str = "",
        model: str = "",
        model_version: str = "",
        priority: Priority = Priority.NORMAL,
        hop_s: float = 0.0,
        resume: bool = True,
        options: LiveOptions | None = None,
        on_monitored: OnMonitored | None = None,
    ) -> Iterator[CallUpdate | CallSummary]:
        """Judges a call while it goes on: updates as they come, and the summary once the chunks have ended.

        `chunks` are headerless audio in `format`, pieces of it with losses (Audio), or Transcripts; they are read in
        another thread, as fast as the service judges them. The call has a connection of its own. The other arguments
        are those of `AsyncTriageClient.live_call`; `on_monitored` is called in another thread. Raises TriageError.
        """
        self._check_open()
        config = stream_config(
            format, call_id=call_id, model=model, model_version=model_version, priority=priority, hop_s=hop_s
        )

        def open_call() -> LiveCall:
            line = Line(None, self._settings)
            return LiveCall(line, config, format, options or LiveOptions(), resume=resume, on_monitored=on_monitored)

        return BlockingCall(chunks, open_call).found()

    def _ask(
        self,
        method: "grpc.UnaryUnaryMultiCallable[Request, Reply]",
        request: Request,
        deadline_s: float | None,
        wait_for_ready: bool | None,
    ) -> Reply:
        self._check_open()
        try:
            return method(request, **self._call_options(deadline_s, wait_for_ready))
        except grpc.RpcError as error:
            raise error_from_rpc(error) from error
