"""What the service answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from preprocess_service.contract import Contract
from preprocess_service.features import mel
from preprocess_service.features.inputs import Row


class VerdictWarning(Enum):
    """Why a verdict deserves less trust than usual; the names are those of the API."""

    CLIPPED = "clipped"
    SILENT = "silent"
    TOO_SHORT = "too short"
    NO_TRANSCRIPT = "no transcript"
    TRANSCRIPT_UNUSED = "transcript unused"
    UNTRAINED_BASE = "untrained base"
    LONG_RECORDING = "long recording"


@dataclass(frozen=True)
class Times:
    """Milliseconds in each stage; those of a long recording overlap and may add up to more than the total."""

    wait_ms: float = 0
    decode_ms: float = 0
    audio_ms: float = 0
    text_ms: float = 0
    inference_ms: float = 0
    total_ms: float = 0


@dataclass(frozen=True)
class WindowScore:
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True)
class Verdict:
    model: str
    version: int
    probability: float
    threshold: float
    audio_s: float
    timeline: tuple[WindowScore, ...]
    times: Times
    warnings: tuple[VerdictWarning, ...]

    @property
    def emergency(self) -> bool:
        return self.probability >= self.threshold


def calibrated(rows: Sequence[Row], answers: NDArray[np.float32], contract: Contract) -> NDArray[np.float32]:
    """Network answers (rows,) as calibrated probabilities; a row before the first word counts as heard without text."""
    has_text = np.array([row.ids_end > 0 for row in rows])
    decision = contract.decision
    return np.where(
        has_text, decision.with_transcript.calibrate(answers), decision.without_transcript.calibrate(answers)
    )


def timeline(rows: Sequence[Row], scores: NDArray[np.float32]) -> tuple[WindowScore, ...]:
    """The greatest calibrated score (rows,) of every window, in order of time."""
    greatest: dict[tuple[int, int], float] = {}
    for row, score in zip(rows, scores, strict=True):
        window = (row.start, row.end)
        greatest[window] = max(greatest.get(window, 0.0), float(score))
    return tuple(
        WindowScore(start / mel.SAMPLE_RATE_HZ, end / mel.SAMPLE_RATE_HZ, score)
        for (start, end), score in greatest.items()
    )
