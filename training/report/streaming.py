"""A model as a listener to calls that go on: one window every second, each with the words said until its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preprocess_service.features import mel
from preprocess_service.features.audio import TELEPHONE_RATE_HZ, Samples, resample
from preprocess_service.features.inputs import Row
from training.recordings import Scorer
from training.report.intervals import Floats
from training.report.recordings import Asked, row_probabilities

HOP_S: Final = 1.0
WINDOWS_PER_QUESTION: Final = 16


@dataclass(frozen=True)
class Stream:
    """Sound (n,) at 8000 Hz with token ids and the moment at which each is heard."""

    telephone: Samples
    ids: tuple[int, ...]
    id_times_s: Floats

    @property
    def duration_s(self) -> float:
        return len(self.telephone) / TELEPHONE_RATE_HZ


def join(clips: Sequence[tuple[Samples, Sequence[int]]]) -> Stream:
    """Clips, each sound (n,) at 8000 Hz with its token ids, one after another.

    A clip's words are spread evenly over it, as a live recogniser would hand them over.
    """
    times, start_s = [], 0.0
    for telephone, ids in clips:
        duration_s = len(telephone) / TELEPHONE_RATE_HZ
        times.append(start_s + duration_s * np.arange(1, len(ids) + 1) / max(1, len(ids)))
        start_s += duration_s
    return Stream(
        telephone=np.concatenate([telephone for telephone, _ in clips]),
        ids=tuple(each for _, ids in clips for each in ids),
        id_times_s=np.concatenate(times),
    )


@dataclass(frozen=True)
class Heard:
    """What a model makes of a stream, (n,) each: the calibrated probability of the window that ends at each moment, and
    whether a word had been heard by then."""

    ends_s: Floats
    probabilities: Floats
    has_words: NDArray[np.bool_]

    def at(self, chosen: NDArray[np.bool_]) -> Heard:
        """Of some of the moments (n,)."""
        return Heard(self.ends_s[chosen], self.probabilities[chosen], self.has_words[chosen])


def window_ends(stream: Stream, first_s: float) -> Floats:
    """The ends, in seconds, of all windows, one every HOP_S."""
    return np.arange(first_s, stream.duration_s + 1e-9, HOP_S)


def hear(scorer: Scorer, stream: Stream) -> tuple[Heard, Heard]:
    """The stream as a live call: judged with its words, and once more as if no recogniser were there.

    As in the service the first windows are short. The two are one for a model that reads no text.
    """
    ends_s = window_ends(stream, HOP_S)
    with_words = [_row(scorer, stream, end_s) for end_s in ends_s]
    if not any(row.ids_end for row in with_words):
        silent = Heard(ends_s, _scores(scorer, stream, with_words), np.zeros(len(ends_s), np.bool_))
        return silent, silent
    # Side by side, so that the sound of a window is prepared once.
    both = _scores(scorer, stream, [each for row in with_words for each in (row, replace(row, ids_end=0))])
    has_words = np.array([row.ids_end > 0 for row in with_words])
    return Heard(ends_s, both[::2], has_words), Heard(ends_s, both[1::2], np.zeros_like(has_words))


def listen(scorer: Scorer, stream: Stream, ends_s: Floats) -> Floats:
    """The calibrated probability (n,) of the window that ends at each moment, with the words heard until then."""
    return _scores(scorer, stream, [_row(scorer, stream, end_s) for end_s in ends_s])


def thresholds(scorer: Scorer, heard: Heard) -> Floats:
    """The threshold (n,) of every window: that of heard calls until the first word."""
    decision = scorer.contract.decision
    return np.where(heard.has_words, decision.with_transcript.threshold, decision.without_transcript.threshold)


def _scores(scorer: Scorer, stream: Stream, rows: Sequence[Row]) -> Floats:
    samples = resample(stream.telephone, TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)
    # Some windows at a time, so that a long recording does not fill the memory.
    pieces = (rows[start : start + WINDOWS_PER_QUESTION] for start in range(0, len(rows), WINDOWS_PER_QUESTION))
    scores = [each for piece in pieces for each in row_probabilities(scorer, [Asked(samples, stream.ids, piece)])]
    return np.concatenate([np.zeros(0), *scores]).astype(np.float64)


def _row(scorer: Scorer, stream: Stream, end_s: float) -> Row:
    start = max(0, round((end_s - scorer.spec.window_s) * mel.SAMPLE_RATE_HZ))
    ids_end = int(np.searchsorted(stream.id_times_s, end_s, side="right")) if scorer.spec.tokens else 0
    return Row(start, round(end_s * mel.SAMPLE_RATE_HZ), ids_end)
