"""A real gRPC server that holds live calls by ClassifyStream's contract, stateless, with a score that costs nothing.

The score of a hop is a checksum of the window's bytes and of the words known then: a resumed call gets the same scores
as an unbroken one only if exactly the same audio and words have come.
"""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
from google.protobuf.json_format import MessageToDict

from preprocess_service.proto.wigeup.v1 import triage_pb2, triage_pb2_grpc

WINDOW_S, LONGEST_MESSAGE_S = 7.0, 10.0
EMERGENCY_WORD = "불"
FAIL_PREFIX = "fail-"
RETRY_AFTER_MS = 50
SMOOTHING = 0.5


class _Stream:
    """What one stream has heard."""

    def __init__(self, config: triage_pb2.StreamConfig) -> None:
        self.config, self.state = config, triage_pb2.CallState(below_since_s=-1)
        self.rate_hz = config.format.sample_rate_hz
        sample_bytes = 2 if config.format.encoding == triage_pb2.AUDIO_ENCODING_PCM16 else 1
        self.channels = max(1, config.format.channels)
        self.frame_bytes = sample_bytes * self.channels
        self.hop = round((config.hop_s or 1.0) * self.rate_hz)
        self.sequence: int | None = 0
        if config.HasField("resumption"):
            self.state.CopyFrom(config.resumption.state)
            self.sequence = None
        self.origin = config.resumption.position_frames
        self.heard = bytearray()
        self.lost = 0
        self.words: list[tuple[float, str]] = []
        self.partial = ""
        self.timeline: list[triage_pb2.WindowScore] = []

    @property
    def position(self) -> int:
        return self.origin + len(self.heard) // self.frame_bytes

    def follow(self, sequence: int) -> str:
        """What is wrong with the number, if anything."""
        before, self.sequence = self.sequence, sequence
        return "" if before is None or sequence == before + 1 else f"message {sequence} after message {before}"

    def hear(self, audio: triage_pb2.StreamAudio) -> str:
        frames, rest = divmod(len(audio.audio), self.frame_bytes)
        if rest or audio.concealed_frames > frames:
            return "no whole frames"
        if frames + audio.lost_frames > LONGEST_MESSAGE_S * self.rate_hz:
            return "too much audio in one message"
        new_from = max(self.position, self.state.position_frames)
        lost_to = self.position + audio.lost_frames
        self.lost += max(0, lost_to - new_from)
        self.heard += bytes(audio.lost_frames * self.frame_bytes) + audio.audio
        return ""

    def read(self, transcript: triage_pb2.StreamTranscript) -> None:
        at_s = transcript.end_s or self.position / self.rate_hz
        self.partial = "" if transcript.is_final else transcript.text
        if transcript.is_final:
            self.words.append((at_s, transcript.text))

    def update(self, end: int) -> triage_pb2.CallUpdate:
        """The update of the hop that ends there."""
        start = max(self.origin, end - round(WINDOW_S * self.rate_hz))
        window = bytes(self.heard[(start - self.origin) * self.frame_bytes : (end - self.origin) * self.frame_bytes])
        at_s = end / self.rate_hz
        words = " ".join(text for said_s, text in self.words if at_s - 60 < said_s <= at_s) + self.partial
        probability = (zlib.crc32(words.encode(), zlib.crc32(window)) % 1000) / 2000
        if EMERGENCY_WORD in words:
            probability += 0.5
        state = self.state
        state.update += 1
        state.position_frames = end
        state.smoothed += SMOOTHING * (probability - state.smoothed)
        raised = EMERGENCY_WORD in words
        if raised != state.raised:
            state.raised, state.changed_at_s = raised, at_s
            state.alerts += raised
        if probability > state.strongest:
            state.strongest, state.strongest_at_s = probability, at_s
        self.timeline.append(
            triage_pb2.WindowScore(start_s=max(0.0, at_s - WINDOW_S), end_s=at_s, probability=probability)
        )
        score = triage_pb2.PartyScore(
            probability=probability,
            scored=True,
            degradations=[] if words else [triage_pb2.DEGRADATION_NO_TRANSCRIPT],
            kinds=[triage_pb2.KindProbability(name="화재", probability=0.75)],
        )
        return triage_pb2.CallUpdate(
            number=state.update,
            covered_s=at_s,
            acknowledged_sequence=self.sequence or 0,
            caller=score,
            agent=score if self.channels == 2 else None,
            smoothed=state.smoothed,
            alert=self.alert,
            alert_changed_at_s=state.changed_at_s,
            model=self.config.model or "multimodal",
            model_version="1",
            lag_ms=12.5,
            state=state,
        )

    @property
    def alert(self) -> triage_pb2.AlertState.ValueType:
        return triage_pb2.ALERT_STATE_RAISED if self.state.raised else triage_pb2.ALERT_STATE_CLEAR

    def summary(self) -> triage_pb2.CallSummary:
        return triage_pb2.CallSummary(
            call_id=self.config.call_id,
            model=self.config.model or "multimodal",
            model_version="1",
            audio_s=self.position / self.rate_hz,
            probability=self.state.strongest,
            strongest_at_s=self.state.strongest_at_s,
            alerted=self.state.alerts > 0,
            alerts=self.state.alerts,
            alert=self.alert,
            timeline=self.timeline,
            timeline_from_s=self.origin / self.rate_hz,
            updates=self.state.update,
            lost_s=self.lost / self.rate_hz,
        )


@dataclass
class LiveStub(triage_pb2_grpc.TriageServicer):
    """What it was asked, and how it is to misbehave.

    `breaks`: for each coming stream, after how many updates it breaks off with UNAVAILABLE. `hangs`: the same for
    streams that fall silent and stay open. `unmonitored`: numbers of updates that no model answers. `refusals`:
    statuses with which the coming streams end at once. A model named fail-STATUS always does.
    """

    breaks: list[int] = field(default_factory=list)
    hangs: list[int] = field(default_factory=list)
    unmonitored: set[int] = field(default_factory=set)
    refusals: list[grpc.StatusCode] = field(default_factory=list)
    configs: list[triage_pb2.StreamConfig] = field(default_factory=list)
    streams: list[_Stream] = field(default_factory=list)
    messages: list[triage_pb2.StreamRequest] = field(default_factory=list)

    async def ClassifyStream(
        self,
        request_iterator: AsyncIterator[triage_pb2.StreamRequest],
        context: "grpc.aio.ServicerContext[triage_pb2.StreamRequest, triage_pb2.StreamResponse]",
    ) -> AsyncIterator[triage_pb2.StreamResponse]:
        first = await anext(request_iterator)
        if first.WhichOneof("request") != "config":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first message is the configuration")
        self.configs.append(first.config)
        await self._refuse(first.config.model, context)
        stream = _Stream(first.config)
        self.streams.append(stream)
        breaks_after = self.breaks.pop(0) if self.breaks else None
        hangs_after = self.hangs.pop(0) if self.hangs else None
        sent = 0
        async for request in request_iterator:
            fault = self._take(stream, request)
            if fault:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, fault)
            while stream.position >= (end := (stream.state.position_frames // stream.hop + 1) * stream.hop):
                if breaks_after is not None and sent >= breaks_after:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the service goes down")
                if hangs_after is not None and sent >= hangs_after:
                    await asyncio.Event().wait()
                yield triage_pb2.StreamResponse(update=self._update(stream, end))
                sent += 1
        if breaks_after is not None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the service goes down")
        if stream.position > stream.state.position_frames:
            yield triage_pb2.StreamResponse(update=self._update(stream, stream.position))
        yield triage_pb2.StreamResponse(summary=stream.summary())

    def _take(self, stream: _Stream, request: triage_pb2.StreamRequest) -> str:
        self.messages.append(request)
        if request.WhichOneof("request") == "audio":
            return stream.follow(request.audio.sequence) or stream.hear(request.audio)
        if request.WhichOneof("request") == "transcript":
            fault = stream.follow(request.transcript.sequence)
            stream.read(request.transcript)
            return fault
        return f"{MessageToDict(request)} is neither audio nor a transcript"

    def _update(self, stream: _Stream, end: int) -> triage_pb2.CallUpdate:
        update = stream.update(end)
        if update.number in self.unmonitored:
            update.caller.CopyFrom(triage_pb2.PartyScore(degradations=[triage_pb2.DEGRADATION_NOT_MONITORED]))
            del stream.timeline[-1]
        return update

    async def _refuse(
        self, model: str, context: "grpc.aio.ServicerContext[triage_pb2.StreamRequest, triage_pb2.StreamResponse]"
    ) -> None:
        status = self.refusals.pop(0) if self.refusals else None
        if model.startswith(FAIL_PREFIX):
            status = grpc.StatusCode[model.removeprefix(FAIL_PREFIX)]
        if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
            context.set_trailing_metadata((("retry-after-ms", str(RETRY_AFTER_MS)),))
        if status is not None:
            await context.abort(status, f"refused with {status.name}")


@dataclass
class LiveService:
    """A stub on a loopback port that can go down and come up again there."""

    triage: LiveStub
    address: str = "127.0.0.1:0"
    server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        triage_pb2_grpc.add_TriageServicer_to_server(self.triage, self.server)
        port = self.server.add_insecure_port(self.address)
        self.address = f"127.0.0.1:{port}"
        await self.server.start()

    async def kill(self) -> None:
        """Ends every stream and closes the port."""
        if self.server is not None:
            await self.server.stop(None)
            self.server = None


@contextlib.asynccontextmanager
async def live_service(triage: LiveStub | None = None) -> AsyncIterator[LiveService]:
    """Runs a stub on a free loopback port until the block ends."""
    service = LiveService(triage or LiveStub())  # type: ignore[abstract]  # the generated base answers the rest
    await service.start()
    try:
        yield service
    finally:
        await service.kill()
