"""What a call's audio waits in until it is taken."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from client.bridges.calls import Audio
from client.bridges.rtp.conversion import frame_bytes_of, silence
from client.bridges.rtp.receiver import Pause, Piece
from client.formats import AudioFormat


class AudioQueue:
    """Bounded by the frames in it. What finds no room is dropped, and reported as lost before the next that does.

    A pause takes no room: it becomes silence, a second at a time, only when it is taken.
    """

    def __init__(self, audio_format: AudioFormat, most_s: float) -> None:
        self._format = audio_format
        self._frame_bytes = frame_bytes_of(audio_format)
        self._most_frames = round(most_s * audio_format.sample_rate_hz)
        self._pieces: deque[Piece] = deque()
        self._frames = self._unreported_frames = 0
        self._changed = asyncio.Event()
        self._is_closed = False
        self.dropped_frames = 0

    def put(self, piece: Piece) -> None:
        """Takes a piece, or drops it; never waits."""
        if isinstance(piece, Pause):
            self._put_pause(piece)
        else:
            self._put_audio(piece)
        self._changed.set()

    def close(self) -> None:
        """Nothing more comes; what is in it can still be taken."""
        if self._unreported_frames:
            self._pieces.append(Audio(b"", self._unreported_frames))
            self._unreported_frames = 0
        self._is_closed = True
        self._changed.set()

    async def pieces(self) -> AsyncIterator[Audio]:
        """All that comes, until it is closed and empty; for one reader."""
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                if isinstance(piece, Pause):
                    for frames in _seconds(piece.frames, self._format.sample_rate_hz):
                        yield Audio(silence(frames, self._format))
                    continue
                self._frames -= self._frames_of(piece)
                yield piece
            if self._is_closed:
                return
            self._changed.clear()
            await self._changed.wait()

    def _put_pause(self, pause: Pause) -> None:
        if self._unreported_frames:
            self._unreported_frames += pause.frames  # it lies among what was dropped
        else:
            self._pieces.append(pause)

    def _put_audio(self, audio: Audio) -> None:
        frames = self._frames_of(audio)
        if self._frames + frames > self._most_frames:
            self.dropped_frames += frames
            self._unreported_frames += frames + audio.lost_frames
            return
        if self._unreported_frames:
            audio = Audio(audio.data, audio.lost_frames + self._unreported_frames, audio.concealed_frames)
            self._unreported_frames = 0
        self._pieces.append(audio)
        self._frames += frames

    def _frames_of(self, audio: Audio) -> int:
        return len(audio.data) // self._frame_bytes


def _seconds(frames: int, rate_hz: int) -> list[int]:
    whole, rest = divmod(frames, rate_hz)
    return [rate_hz] * whole + ([rest] if rest else [])
