"""From a protocol's socket to whoever judges its calls: bounded, and the socket's reader never waits."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator

from client.bridges.calls import Audio, BridgedCall, Transcript
from client.formats import AudioFormat, Encoding

LONGEST_BACKLOG_S = 10.0
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 8000, 48000  # that the service takes


class Inbox:
    """Events of one call. Audio that finds no room goes as lost before the next that does: time does not slip."""

    def __init__(self, audio_format: AudioFormat, counts: Counter[str]) -> None:
        sample_bytes = 2 if audio_format.encoding is Encoding.PCM16 else 1
        self._frame_bytes = sample_bytes * audio_format.channels
        self._room = round(LONGEST_BACKLOG_S * audio_format.sample_rate_hz)
        self._counts = counts
        self._events: deque[Audio | Transcript] = deque()
        self._waiting_frames = self._unreported = 0
        self._news = asyncio.Event()
        self._has_ended = False
        self._error: ConnectionError | None = None

    def put(self, audio: Audio) -> None:
        """Takes a piece; nothing once the call has ended."""
        if self._has_ended:
            return
        frames = len(audio.data) // self._frame_bytes
        if self._waiting_frames + frames > self._room:
            self._counts["dropped_frames"] += frames
            self._unreported += frames + audio.lost_frames
            return
        lost, self._unreported = audio.lost_frames + self._unreported, 0
        self._waiting_frames += frames
        self._events.append(Audio(audio.data, lost, audio.concealed_frames))
        self._news.set()

    def end(self, error: ConnectionError | None = None) -> None:
        """The hang-up; with `error` the far side broke the protocol."""
        if self._has_ended:
            return
        if self._unreported:
            self._events.append(Audio(b"", self._unreported))
        self._has_ended, self._error = True, error
        self._news.set()

    async def events(self) -> AsyncIterator[Audio | Transcript]:
        """All events; ends with the call. Raises the ConnectionError that ended it."""
        while self._events or not self._has_ended:
            if not self._events:
                self._news.clear()
                await self._news.wait()
                continue
            event = self._events.popleft()
            if isinstance(event, Audio):
                self._waiting_frames -= len(event.data) // self._frame_bytes
            yield event
        if self._error is not None:
            raise self._error


class Arrivals:
    """Calls of one bridge as they begin."""

    def __init__(self) -> None:
        self._calls: asyncio.Queue[BridgedCall | None] = asyncio.Queue()

    def announce(self, call: BridgedCall) -> None:
        """Takes a call that has begun; how many there are at once is bounded by the bridge's connections."""
        self._calls.put_nowait(call)

    def close(self) -> None:
        """No more calls will come."""
        self._calls.put_nowait(None)

    async def calls(self) -> AsyncIterator[BridgedCall]:
        """Every call; ends after `close`."""
        while (call := await self._calls.get()) is not None:
            yield call
        self._calls.put_nowait(None)  # for whoever asks once more


def printable_id(text: str, longest: int = 128) -> str:
    """A call's name as the service takes it: printable ASCII, "?" for anything else, at most `longest` characters."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text[:longest])
