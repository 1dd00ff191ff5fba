"""The same recordings over every line: as a file, as a stream, and through each of the telephony bridges."""

from __future__ import annotations

import asyncio
import random
import tempfile
import uuid
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from client import AsyncTriageClient, Verdict
from client.channel import ChannelSettings
from loadtest.bridge_process import BridgeProcess, Where, running_bridge
from loadtest.comparison import Drift, Heard, drift
from loadtest.direct import by_file, by_stream, model_asked
from loadtest.recordings import ClipsInTurn, Recording, long_recordings, short_recordings
from loadtest.senders import send_audiosocket, send_by_ffmpeg, send_twilio

STREAM = "ClassifyStream"
PCMU, PCMA, TWILIO, AUDIOSOCKET = "RTP PCMU", "RTP PCMA", "Twilio", "AudioSocket"
BRIDGED: Final = (PCMU, PCMA, TWILIO, AUDIOSOCKET)
LINES: Final = (STREAM, *BRIDGED)
CODECS: Final = {PCMU: "pcm_mulaw", PCMA: "pcm_alaw"}
BRIDGE_OPTIONS: Final = {"rtp": ("--call-id-format", "{ssrc}"), "websocket": (), "audiosocket": ()}
SAME_UPDATE_S: Final = 0.1  # ends of two lines' last updates may lie as far apart
LIMIT_S: Final = 90.0  # beyond the recording's length, until a bridge has its summary


@dataclass(frozen=True, slots=True)
class Plan:
    """`count` recordings, of them `long` ones of `long_s`; `parallel` at once over all lines."""

    folder: Path
    count: int
    long: int
    long_s: float
    parallel: int
    seed: int


@dataclass(frozen=True)
class Compared:
    """One recording. `file` and `heard` (by line) without a transcript; the pair in `with_text` with it, or None."""

    recording: Recording
    is_long: bool  # longer than the model's window: then Classify has other windows than a live call
    file: Verdict
    heard: Mapping[str, Heard]
    with_text: tuple[Verdict, Heard] | None

    def from_file(self, line: str) -> float | None:
        """How far the last update lies from the verdict on the file; None of a long recording."""
        last = self.heard[line].last
        return None if self.is_long or last is None else abs(last - self.file.probability)

    def from_stream(self, line: str) -> Drift:
        """How far all updates lie from those of the stream."""
        return drift(self.heard[STREAM], self.heard[line])

    @property
    def text_apart(self) -> float | None:
        """How far file and stream lie apart with the transcript."""
        if self.with_text is None or self.with_text[1].last is None:
            return None
        return abs(self.with_text[1].last - self.with_text[0].probability)

    def alerts_as_stream(self, line: str) -> bool:
        """Whether the line raised as many alerts as the stream, the first of them at the same second."""
        ours, theirs = self.heard[STREAM], self.heard[line]
        if ours.raised_at_s is None or theirs.raised_at_s is None:
            return ours.alerts == theirs.alerts
        return ours.alerts == theirs.alerts and abs(ours.raised_at_s - theirs.raised_at_s) < SAME_UPDATE_S

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        with_text = None
        if self.with_text is not None:
            with_text = {"file": self.with_text[0].to_dict(), STREAM: self.with_text[1].to_dict()}
        return {
            "recording": self.recording.name,
            "label": self.recording.label,
            "seconds": self.recording.seconds,
            "file": self.file.to_dict(),
            "lines": {line: heard.to_dict() for line, heard in self.heard.items()},
            "with_transcript": with_text,
        }


async def compare_lines(where: Where, root_certificates: bytes | None, plan: Plan) -> list[Compared]:
    """Sends all recordings over all lines; raises OSError, ValueError, TriageError, BridgeFailed."""
    settings = ChannelSettings(where.address, root_certificates=root_certificates, own_connection=True)
    async with AsyncExitStack() as stack:
        client = AsyncTriageClient(where.address, root_certificates=root_certificates)
        await stack.enter_async_context(client)
        model = await model_asked(client, where.model)
        recordings = choose(plan, model.window_s)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bridges = {
            protocol: await stack.enter_async_context(running_bridge(protocol, where, options))
            for protocol, options in BRIDGE_OPTIONS.items()
        }
        sender = _Sender(client, settings, where.model, model.window_s, bridges, folder, plan)
        room = asyncio.Semaphore(plan.parallel)

        async def compare(number: int, recording: Recording) -> Compared:
            async with room:
                return await sender.compare(number, recording)

        return list(await asyncio.gather(*(compare(*each) for each in enumerate(recordings))))


def choose(plan: Plan, window_s: float) -> list[Recording]:
    """The plan's recordings: short ones of at most a window first. Raises OSError, ValueError."""
    clips = ClipsInTurn(plan.folder, plan.seed)
    short = short_recordings(clips, plan.count - plan.long, window_s)
    return short + long_recordings(clips, plan.long, plan.long_s, plan.seed)


class _Sender:
    """Sends one recording after the other over all lines at once."""

    def __init__(
        self,
        client: AsyncTriageClient,
        settings: ChannelSettings,
        model: str,
        window_s: float,
        bridges: Mapping[str, BridgeProcess],
        folder: Path,
        plan: Plan,
    ) -> None:
        self._client, self._settings, self._model, self._window_s = client, settings, model, window_s
        self._bridges, self._folder, self._seed = bridges, folder, plan.seed

    async def compare(self, number: int, recording: Recording) -> Compared:
        file = await by_file(self._client, recording, self._model)
        seed = self._seed + number
        stream = by_stream(self._settings, recording, self._model, seed=seed)
        bridged = [self._bridged(line, number, recording) for line in BRIDGED]
        heard, with_text = await asyncio.gather(_all([stream, *bridged]), self._with_text(recording, seed))
        is_long = recording.seconds > self._window_s
        return Compared(recording, is_long, file, dict(zip(LINES, heard, strict=True)), with_text)

    async def _with_text(self, recording: Recording, seed: int) -> tuple[Verdict, Heard] | None:
        if not recording.text:
            return None
        file = await by_file(self._client, recording, self._model, with_text=True)
        return file, await by_stream(self._settings, recording, self._model, seed=seed, with_text=True)

    async def _bridged(self, line: str, number: int, recording: Recording) -> Heard:
        chance = random.Random(f"{self._seed} {number} {line}")
        if line in CODECS:
            bridge, ssrc = self._bridges["rtp"], chance.getrandbits(31)
            wav = self._folder / f"{number}.wav"
            wav.write_bytes(recording.wav)
            call_id = f"{ssrc:08x}"
            await send_by_ffmpeg(bridge.address, ssrc, wav, CODECS[line], recording.seconds)
        elif line == TWILIO:
            bridge, call_id = self._bridges["websocket"], f"CA{chance.getrandbits(128):032x}"
            await send_twilio(bridge.address, call_id, recording.code_words)
        else:
            bridge, name = self._bridges["audiosocket"], uuid.UUID(int=chance.getrandbits(128))
            call_id = str(name)
            await send_audiosocket(bridge.address, name, recording.pcm16)
        return await bridge.heard(call_id, LIMIT_S)


async def _all(calls: Sequence[Awaitable[Heard]]) -> list[Heard]:
    return list(await asyncio.gather(*calls))
