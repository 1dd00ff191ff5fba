"""The asyncio client."""

from types import TracebackType
from typing import Self, TypeVar

import grpc

from client.base import ClientBase
from client.channel import open_aio_channel
from client.errors import ModelNotFound, error_from_rpc
from client.formats import AudioFormat, Channel, Priority
from client.live.call import LiveCall
from client.live.line import Line
from client.live.messages import stream_config
from client.live.options import LiveOptions
from client.live.watch import OnMonitored
from client.replies import model_infos, preprocessed, verdict
from client.requests import classify_request, preprocess_request
from client.results import Health, ModelInfo, Preprocessed, Verdict
from client.stubs import UNKNOWN_SERVICE, AioStubs, health, health_request
from preprocess_service.proto.wigeup.v1 import triage_pb2

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class AsyncTriageClient(ClientBase):
    """Asyncio client over one channel of one event loop; any number of calls may be in flight.

    Use as an asynchronous context manager, or await `close`. Cancelling a task cancels its call.
    """

    _channel: grpc.aio.Channel | None = None
    _stubs: AioStubs | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection; calls in flight are cancelled."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def classify(
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
        return verdict(await self._ask(self._open().triage.Classify, request, deadline_s, wait_for_ready))

    async def preprocess(
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
        return preprocessed(await self._ask(self._open().triage.Preprocess, request, deadline_s, wait_for_ready))

    async def list_models(
        self, *, deadline_s: float | None = None, wait_for_ready: bool | None = None
    ) -> tuple[ModelInfo, ...]:
        """The models that the service can ask; raises TriageError."""
        request = triage_pb2.ListModelsRequest()
        return model_infos(await self._ask(self._open().triage.ListModels, request, deadline_s, wait_for_ready))

    async def health(
        self, service: str = "", *, deadline_s: float | None = None, wait_for_ready: bool | None = None
    ) -> Health:
        """Status of `service` ("" for the server as a whole), SERVICE_UNKNOWN where there is none of that name."""
        request = health_request(service)
        try:
            return health(await self._ask(self._open().check_health, request, deadline_s, wait_for_ready))
        except ModelNotFound:
            return UNKNOWN_SERVICE

    def live_call(
        self,
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
    ) -> LiveCall:
        """A call that is judged while it goes on: an asynchronous context manager, see LiveCall.

        `format` is headerless; of two channels the first is the caller, the second the agent. `hop_s` are the seconds
        of audio between two updates, 0.25 to 10; 0 stands for 1. Without `resume` a lost connection ends the call.
        `on_monitored` hears whether the call is watched, with the reason, whenever that changes; at first it is not.
        Raises InvalidRequest; what the service refuses comes out of the call. The client's deadline does not hold.
        """
        config = stream_config(
            format, call_id=call_id, model=model, model_version=model_version, priority=priority, hop_s=hop_s
        )
        line = Line(self._open, self._settings)
        return LiveCall(line, config, format, options or LiveOptions(), resume=resume, on_monitored=on_monitored)

    def _open(self) -> AioStubs:
        # Not in __init__: the channel belongs to the event loop that runs when it is made.
        self._check_open()
        if self._stubs is None:
            self._channel = open_aio_channel(self._settings)
            self._stubs = AioStubs(self._channel)
        return self._stubs

    async def _ask(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Request, Reply]",
        request: Request,
        deadline_s: float | None,
        wait_for_ready: bool | None,
    ) -> Reply:
        try:
            return await method(request, **self._call_options(deadline_s, wait_for_ready))
        except grpc.RpcError as error:
            raise error_from_rpc(error) from error
