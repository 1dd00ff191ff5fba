"""What of a live call must be sent, and sent again after a loss. Positions are frames from the call's beginning."""

from collections import deque
from dataclasses import dataclass, replace

from client.bridges.calls import Audio, Transcript

Numbered = tuple[int, Audio | Transcript]


@dataclass(frozen=True, slots=True)
class _Kept:
    sequence: int
    start: int
    end: int
    content: Audio | Transcript


class Replay:
    """Messages from a window before the last update on, the words from before, and a mark up to where they are sent.

    `cover` drops what no stream will need again, `rewind` sets the mark back for a new stream. After that the words
    from before the first message come first. The numbers of a stream go up by one and only its first is free, so these
    words take the numbers just below that of the first message, whatever theirs were.
    """

    def __init__(self, rate_hz: int, frame_bytes: int, window_s: float, words_s: float) -> None:
        self._rate_hz, self._frame_bytes = rate_hz, frame_bytes
        self._window, self._words_frames = round(window_s * rate_hz), round(words_s * rate_hz)
        self._kept: deque[_Kept] = deque()
        self._words: list[_Kept] = []
        self._before: deque[Numbered] = deque()
        self._sent = 0  # how many of the kept messages this stream has had
        self._sequence = 0
        self.end_frames = 0
        self.covered_frames = 0

    @property
    def uncovered_s(self) -> float:
        """Seconds of audio that no update has covered yet, sent or not."""
        return (self.end_frames - self.covered_frames) / self._rate_hz

    def add(self, content: Audio | Transcript) -> None:
        """Puts a message at the end."""
        frames = content.lost_frames + len(content.data) // self._frame_bytes if isinstance(content, Audio) else 0
        self._sequence += 1
        self._kept.append(_Kept(self._sequence, self.end_frames, self.end_frames + frames, content))
        self.end_frames += frames

    def take(self) -> Numbered | None:
        """The next message of this stream with its number, None while there is none."""
        if self._before:
            return self._before.popleft()
        if self._sent == len(self._kept):
            return None
        message = self._kept[self._sent]
        self._sent += 1
        return message.sequence, message.content

    def cover(self, position_frames: int) -> None:
        """An update has come that covers the audio up to a position."""
        self.covered_frames = max(self.covered_frames, min(position_frames, self.end_frames))
        needed_from = self.covered_frames - self._window
        while self._sent and self._kept[0].end <= needed_from:
            message = self._kept.popleft()
            self._sent -= 1
            if isinstance(message.content, Transcript):
                self._remember(message, message.content)
        self._words = [each for each in self._words if each.end > self.covered_frames - self._words_frames]

    def rewind(self) -> int:
        """Begins a new stream; returns the position of the first audio that it sends."""
        self._sent = 0
        first = self._kept[0].sequence if self._kept else self._sequence + 1
        start = first - len(self._words)
        self._before = deque((start + n, self._timed(word)) for n, word in enumerate(self._words))
        return self._kept[0].start if self._kept else self.end_frames

    def _remember(self, message: _Kept, transcript: Transcript) -> None:
        self._words = [each for each in self._words if not _is_replaced(each.content, transcript)]
        self._words.append(message)

    def _timed(self, word: _Kept) -> Audio | Transcript:
        """A transcript that was said "up to now" says when that was."""
        if isinstance(word.content, Transcript) and word.content.end_s == 0:
            at_s = word.end / self._rate_hz
            return replace(word.content, start_s=at_s, end_s=at_s)
        return word.content


def _is_replaced(earlier: Audio | Transcript, later: Transcript) -> bool:
    """Any later event of the same speaker takes the place of one that was not final."""
    return isinstance(earlier, Transcript) and not earlier.is_final and earlier.from_agent == later.from_agent
