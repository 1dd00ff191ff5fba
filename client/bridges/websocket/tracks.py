"""Tracks of one call, each of timestamped chunks, as one stream of frames."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from client.bridges.calls import Audio
from client.formats import AudioFormat, Encoding

SILENCE: Final = {Encoding.MULAW: b"\xff", Encoding.ALAW: b"\xd5", Encoding.PCM16: b"\0\0"}
# Timestamps of chunks that follow each other differ by a little more or less than the chunk's length.
JITTER_S: Final = 0.04
# A track that says nothing for so long (or for two of its chunks) is silent: the other goes on.
HOLD_S: Final = 0.2
LONGEST_HOLD_S: Final = 2.0
# A clock that leaps by more has been set anew.
LONGEST_GAP_S: Final = 60.0
# So many chunks in a row that do not fit their timestamps: the clock is wrong, not the audio.
ODD_CHUNKS: Final = 25
CALLER: Final = 0


@dataclass(slots=True)
class _Track:
    # Lengths in frames and bytes; None for what never arrived.
    pieces: deque[tuple[int, bytes | None]] = field(default_factory=deque)
    end: int = 0  # where the next piece goes, in frames from the call's beginning
    offset: int = 0  # of its clock against the call's
    odd_chunks: int = 0
    is_clock_trusted: bool = True
    is_padded: bool = False

    def append(self, frames: int, data: bytes | None) -> None:
        if frames:
            self.pieces.append((frames, data))
            self.end += frames

    def take(self, frames: int, sample_bytes: int) -> bytes | None:
        """The next `frames`, at most as many as the first piece has."""
        length, data = self.pieces.popleft()
        if length == frames:
            return data
        cut = frames * sample_bytes
        self.pieces.appendleft((length - frames, None if data is None else data[cut:]))
        return None if data is None else data[:cut]


class Tracks:
    """Places chunks by their timestamps. Counts `lost_frames`, `late_frames`, `padded_frames`, `clock_leaps`.

    A gap in the caller's track is a loss; one in the agent's is silence unless messages are known to be missing, since
    senders leave out a track on which nothing plays.
    """

    def __init__(self, audio_format: AudioFormat, counts: Counter[str]) -> None:
        self._rate_hz = audio_format.sample_rate_hz
        self._silence = SILENCE[audio_format.encoding]
        self._sample_bytes = len(self._silence)
        self._counts = counts
        self._tracks = [_Track() for _ in range(audio_format.channels)]
        self._origin: int | None = None
        self._longest_chunk = 0

    def add(self, channel: int, data: bytes, at_ms: int | None, *, after_loss: bool = False) -> list[Audio]:
        """Takes a chunk of whole samples; returns what is complete on all tracks.

        `at_ms` is when it begins by the sender's clock, None for right after the last one. With `after_loss` messages
        are known to be missing before it.
        """
        track = self._tracks[channel]
        frames = len(data) // self._sample_bytes
        if at_ms is not None and track.is_clock_trusted:
            at = round(at_ms * self._rate_hz / 1000)
            data = data[self._sample_bytes * self._place(track, at, frames, after_loss) :]
        track.append(len(data) // self._sample_bytes, data)
        track.is_padded = False
        self._longest_chunk = max(self._longest_chunk, frames)
        self._pad(max(t.end for t in self._tracks) - self._hold)
        return self._complete()

    def flush(self) -> list[Audio]:
        """The rest, at the call's end."""
        self._pad(max(t.end for t in self._tracks))
        return self._complete()

    @property
    def _hold(self) -> int:
        longest = round(LONGEST_HOLD_S * self._rate_hz)
        return min(longest, max(round(HOLD_S * self._rate_hz), 2 * self._longest_chunk))

    def _place(self, track: _Track, at: int, frames: int, after_loss: bool) -> int:
        """Fills the gap before a chunk at `at`; returns how many of its frames came too late."""
        if self._origin is None:
            self._origin = at
        gap = at - self._origin - track.offset - track.end
        if abs(gap) > LONGEST_GAP_S * self._rate_hz:
            self._counts["clock_leaps"] += 1
            track.offset += gap
            return 0
        allowed = frames // 2 if after_loss or track.is_padded else round(JITTER_S * self._rate_hz)
        if abs(gap) <= allowed:
            track.odd_chunks = 0
            return 0
        track.odd_chunks += 1
        track.is_clock_trusted = track.odd_chunks < ODD_CHUNKS
        if not track.is_clock_trusted:
            self._counts["untrusted_clocks"] += 1
        return self._fill(track, gap, after_loss) if gap > 0 else self._late(min(-gap, frames))

    def _fill(self, track: _Track, frames: int, after_loss: bool) -> int:
        is_loss = after_loss or track is self._tracks[CALLER]
        if is_loss:
            self._counts["lost_frames"] += frames
        track.append(frames, None if is_loss else self._silence * frames)
        return 0

    def _late(self, frames: int) -> int:
        self._counts["late_frames"] += frames
        return frames

    def _pad(self, end: int) -> None:
        """Tracks that have not come so far go on without what may still come."""
        for track in self._tracks:
            behind = end - track.end
            if behind > 0:
                self._counts["padded_frames"] += behind
                track.append(behind, None if track is self._tracks[CALLER] else self._silence * behind)
                track.is_padded = True

    def _complete(self) -> list[Audio]:
        complete: list[Audio] = []
        data, lost, concealed = bytearray(), 0, 0
        while all(track.pieces for track in self._tracks):
            frames = min(track.pieces[0][0] for track in self._tracks)
            parts = [track.take(frames, self._sample_bytes) for track in self._tracks]
            if any(part is not None for part in parts):
                data += self._interleaved([part or self._silence * frames for part in parts])
                concealed += frames if None in parts else 0
                continue
            if data:
                complete.append(Audio(bytes(data), lost, concealed))
                data, lost, concealed = bytearray(), 0, 0
            lost += frames
        if data or lost:
            complete.append(Audio(bytes(data), lost, concealed))
        return complete

    def _interleaved(self, parts: Sequence[bytes]) -> bytes:
        if len(parts) == 1:
            return parts[0]
        kind = np.uint8 if self._sample_bytes == 1 else np.dtype("<i2")
        return np.stack([np.frombuffer(part, dtype=kind) for part in parts], axis=1).tobytes()
