"""Live calls as a gateway would hold them: every message at its time, whether the service keeps up or not.

Raw stubs rather than the client library: nothing is resumed, so that every failure shows, and messages are sent and
answers kept as bytes, which are read only after the run. 500 calls of 200 ms a message take a quarter of one core.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import grpc.aio

from client.channel import ChannelSettings, open_aio_channel
from client.formats import G711_RATE_HZ
from client.live.ending import Ending
from loadtest.pacing import keep_time
from loadtest.tapes import Tape
from preprocess_service.proto.wigeup.v1 import triage_pb2

METHOD: Final = f"/{triage_pb2.DESCRIPTOR.services_by_name['Triage'].full_name}/ClassifyStream"
UNFINISHED: Final = "UNFINISHED"  # the summary did not come in time
NO_SUMMARY: Final = "NO_SUMMARY"  # the stream ended well but early

Response = tuple[float, bytes]  # when it came, by time.monotonic, and a StreamResponse


@dataclass(frozen=True)
class LiveTarget:
    """Where calls go and what they ask for."""

    address: str
    hop_s: float = 1.0
    model: str = ""
    channels: int = 4  # connections, which a service of several processes spreads
    drain_s: float = 10.0  # that the service has for the rest once a caller has hung up
    root_certificates: bytes | None = None

    def config(self, call_id: str) -> bytes:
        """The first message of a call."""
        audio_format = triage_pb2.AudioFormat(
            encoding=triage_pb2.AUDIO_ENCODING_MULAW, sample_rate_hz=G711_RATE_HZ, channels=1
        )
        config = triage_pb2.StreamConfig(format=audio_format, model=self.model, call_id=call_id, hop_s=self.hop_s)
        return triage_pb2.StreamRequest(config=config).SerializeToString()


@dataclass
class Recording:
    """What happened to one call; moments by `time.monotonic`."""

    tape: Tape
    began_at: float
    sent_at: list[float] = field(default_factory=list)  # of every message of the tape, as far as it came
    lateness_s: list[float] = field(default_factory=list)  # by which the generator itself was late
    held_up: int = 0  # messages that were due before the service took the one before
    responses: list[Response] = field(default_factory=list)
    status: str = UNFINISHED
    details: str = ""


class PacedCall:
    """One stream; `due` is called once for the configuration and once for every message of the tape."""

    def __init__(self, stream: Any, config: bytes, tape: Tape, begins_at: float) -> None:
        self.recording = Recording(tape, begins_at)
        self._stream, self._config = stream, config
        self._due = 0  # messages of the tape
        self._all_due = asyncio.Event()
        self._call: Any = None
        self._ending: Ending | None = None
        self._writing: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None

    def due(self) -> None:
        """The next message can be sent."""
        if self._call is None:
            self._call = self._stream()
            self._ending = Ending(self._call)
            self._writing = asyncio.create_task(self._write(self._config))
            self._reading = asyncio.create_task(self._read())
            return
        self._due += 1
        if self._due == len(self.recording.tape.messages):
            self._all_due.set()
        if self._writing is not None and self._writing.done() and not self._call.done():
            self._writing = asyncio.create_task(self._write())
            return
        # Not sent now, which is not the generator's doing: the call has ended, or the service takes nothing.
        self.recording.lateness_s.append(time.monotonic() - self._planned_at(self._due - 1))
        if not self._call.done() and self._due > 1:  # the first may well come before the configuration is through
            self.recording.held_up += 1

    async def end(self, within_s: float) -> Recording:
        """Waits until all was due, and then so long for the service's summary; leaves nothing running."""
        await self._all_due.wait()
        if self._writing is not None and self._reading is not None and self._ending is not None:
            _, late = await asyncio.wait((self._writing, self._reading), timeout=within_s)
            self._note(self._ending)
            if late:
                self._call.cancel()
                await asyncio.wait(late)
        return self.recording

    def _note(self, ending: Ending) -> None:
        if ending.status is None:
            return
        is_early = ending.status is grpc.StatusCode.OK and not _is_summary(self.recording.responses)
        self.recording.status = NO_SUMMARY if is_early else ending.status.name
        self.recording.details = ending.details

    def _planned_at(self, index: int) -> float:
        return self.recording.began_at + self.recording.tape.messages[index].at_s

    async def _write(self, config: bytes | None = None) -> None:
        recording, messages = self.recording, self.recording.tape.messages
        try:
            if config is not None:
                await self._call.write(config)
            on_time = config is None
            while (index := len(recording.sent_at)) < self._due:
                recording.sent_at.append(time.monotonic())
                if on_time:
                    recording.lateness_s.append(recording.sent_at[-1] - self._planned_at(index))
                await self._call.write(messages[index].data)
                on_time = False
            if len(recording.sent_at) == len(messages):
                await self._call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError):
            return  # the call has ended: its status says how

    async def _read(self) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):  # how it ended, `_ending` says
            while (response := await self._call.read()) is not grpc.aio.EOF:
                self.recording.responses.append((time.monotonic(), response))


def _is_summary(responses: Sequence[Response]) -> bool:
    return bool(responses) and triage_pb2.StreamResponse.FromString(responses[-1][1]).HasField("summary")


async def hold_calls(target: LiveTarget, calls: Sequence[tuple[str, Tape, float]]) -> list[Recording]:
    """Holds calls, each a name, a tape and the moment at which it begins, until the last has ended."""
    settings = ChannelSettings(target.address, own_connection=True, root_certificates=target.root_certificates)
    channels = [open_aio_channel(settings) for _ in range(min(target.channels, len(calls)))]
    streams: list[Any] = [channel.stream_stream(METHOD) for channel in channels]  # no serialisers: bytes as they are
    paced = [
        PacedCall(streams[number % len(streams)], target.config(call_id), tape, begins_at)
        for number, (call_id, tape, begins_at) in enumerate(calls)
    ]
    gc.collect()
    gc.freeze()  # nothing of the plan is garbage, and looking through it takes long enough to be late
    try:
        await keep_time(_agenda(paced), PacedCall.due)
        return await asyncio.gather(*(call.end(target.drain_s) for call in paced))
    finally:
        gc.unfreeze()
        await asyncio.gather(*(channel.close() for channel in channels))


def _agenda(calls: Sequence[PacedCall]) -> list[tuple[float, PacedCall]]:
    agenda = [(call.recording.began_at, call) for call in calls]
    for call in calls:
        began_at = call.recording.began_at
        agenda += [(began_at + message.at_s, call) for message in call.recording.tape.messages]
    return sorted(agenda, key=lambda due: due[0])
