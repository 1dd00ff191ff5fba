"""What one party of a live call has said, as far as a recogniser has understood it until now."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from preprocess_service.features import text

MOST_SEGMENTS: Final = 64  # of final text that are kept; a window reads the last 12 words


@dataclass(frozen=True)
class Segment:
    """Text that was said between two moments of the call, in seconds; its words are taken as spread evenly over it."""

    text: str
    start_s: float
    end_s: float

    @property
    def is_read(self) -> bool:
        """Whether its words have been asked for."""
        return "words" in vars(self)

    @cached_property
    def words(self) -> tuple[tuple[float, str], ...]:
        """Every morpheme, stop words too, with the moment by which it is said; costs about a millisecond, once."""
        found = text.morphemes(self.text, frozenset())
        step_s = (self.end_s - self.start_s) / max(1, len(found))
        return tuple((self.start_s + step_s * (1 + index), word) for index, word in enumerate(found))


class Words:
    """Final segments in order of time, and the newest one that a recogniser may still change."""

    def __init__(self) -> None:
        self._final: list[Segment] = []
        self._partial: Segment | None = None

    def hear(self, segment: Segment, *, is_final: bool) -> None:
        """Takes a segment in; one that is not final replaces the last one that was not, a final one settles it."""
        self._partial = None if is_final else segment
        if is_final:
            insort(self._final, segment, key=lambda each: each.end_s)
            del self._final[:-MOST_SEGMENTS]

    def until(self, at_s: float, stop_words: frozenset[str]) -> list[str]:
        """The last words that were said by then, at most as many as a window reads; tokenizes what is new."""
        words: list[str] = []
        for segment in reversed(self._segments):
            if segment.start_s < at_s or segment.end_s <= at_s:
                said = [
                    word for moment, word in segment.words if moment <= at_s + _ROUNDING_S and word not in stop_words
                ]
                words = said + words
            if len(words) >= text.TOKENS:
                break
        return words[-text.TOKENS :]

    @property
    def longest_unread(self) -> int:
        """Signs of the longest segment that `until` has not tokenized yet."""
        return max((len(each.text) for each in self._segments if not each.is_read), default=0)

    @property
    def are_there(self) -> bool:
        """Whether any text has come."""
        return bool(self._final) or self._partial is not None

    def any_since(self, from_s: float, to_s: float) -> bool:
        """Whether text falls between two moments: evidence, whatever the sound is."""
        return any(each.text.strip() and each.end_s > from_s and each.start_s < to_s for each in self._segments)

    @property
    def _segments(self) -> tuple[Segment, ...]:
        return (*self._final, *([self._partial] if self._partial else []))


_ROUNDING_S: Final = 1e-6
