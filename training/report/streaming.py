"""A model as a listener to calls that go on: one window every second, each with the words said until its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

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


def window_ends(stream: Stream, window_s: float) -> Floats:
    """The ends, in seconds, of all whole windows, one every HOP_S."""
    return np.arange(window_s, stream.duration_s + 1e-9, HOP_S)


def listen(scorer: Scorer, stream: Stream, ends_s: Floats) -> Floats:
    """The calibrated probability (n,) of the window that ends at each moment, with the words heard until then."""
    samples = resample(stream.telephone, TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)
    rows = [_row(scorer, stream, end_s) for end_s in ends_s]
    # Some windows at a time, so that a long recording does not fill the memory.
    pieces = (rows[start : start + WINDOWS_PER_QUESTION] for start in range(0, len(rows), WINDOWS_PER_QUESTION))
    scores = [each for piece in pieces for each in row_probabilities(scorer, [Asked(samples, stream.ids, piece)])]
    return np.concatenate([np.zeros(0), *scores]).astype(np.float64)


def thresholds(scorer: Scorer, stream: Stream, ends_s: Floats) -> Floats:
    """The threshold (n,) of the window that ends at each moment: that of heard calls until the first word."""
    decision = scorer.contract.decision
    return np.array([decision.point(_row(scorer, stream, end_s).ids_end > 0).threshold for end_s in ends_s])


def _row(scorer: Scorer, stream: Stream, end_s: float) -> Row:
    start = max(0, round((end_s - scorer.spec.window_s) * mel.SAMPLE_RATE_HZ))
    ids_end = int(np.searchsorted(stream.id_times_s, end_s, side="right")) if scorer.spec.tokens else 0
    return Row(start, round(end_s * mel.SAMPLE_RATE_HZ), ids_end)
