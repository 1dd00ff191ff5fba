"""What the service answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preprocess_service.contract import Contract, KindSettings
from preprocess_service.features import mel
from preprocess_service.features.inputs import Row

KINDS_TOLD: Final = 3


class VerdictWarning(Enum):
    """Why a verdict deserves less trust than usual; the names are those of the API."""

    CLIPPED = "clipped"
    SILENT = "silent"
    TOO_SHORT = "too short"
    NO_TRANSCRIPT = "no transcript"
    TRANSCRIPT_UNUSED = "transcript unused"
    UNTRAINED_BASE = "untrained base"
    LONG_RECORDING = "long recording"


class Degradation(Enum):
    """Why an update of a live call deserves less trust than usual; the names are those of the API."""

    NO_TRANSCRIPT = "no transcript"
    AUDIO_GAP = "audio gap"
    CONCEALED = "concealed"
    SILENCE = "silence"
    COMFORT_NOISE = "comfort noise"
    HOLD_MUSIC = "hold music"
    CLIPPED = "clipped"
    SHORT_WINDOW = "short window"
    LATE = "late"
    UNTRAINED_BASE = "untrained base"
    NOT_MONITORED = "not monitored"
    TRANSCRIPT_UNUSED = "transcript unused"


@dataclass(frozen=True)
class Times:
    """Milliseconds in each stage; those of a long recording overlap and may add up to more than the total."""

    load_ms: float = 0
    wait_ms: float = 0
    decode_ms: float = 0
    audio_ms: float = 0
    text_ms: float = 0
    inference_ms: float = 0
    total_ms: float = 0


class VerdictDecision(Enum):
    """The band that the probability lies in; the names are those of the API."""

    NORMAL = "normal"
    UNCERTAIN = "uncertain"  # for a human to decide
    EMERGENCY = "emergency"


@dataclass(frozen=True)
class KindScore:
    name: str
    probability: float  # given that it is an emergency


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
    uncertain_from: float
    kinds: tuple[KindScore, ...]
    audio_s: float
    timeline: tuple[WindowScore, ...]
    times: Times
    warnings: tuple[VerdictWarning, ...]

    @property
    def emergency(self) -> bool:
        return self.probability >= self.threshold

    @property
    def decision(self) -> VerdictDecision:
        if self.emergency:
            return VerdictDecision.EMERGENCY
        return VerdictDecision.UNCERTAIN if self.probability >= self.uncertain_from else VerdictDecision.NORMAL


def calibrated(rows: Sequence[Row], answers: NDArray[np.float32], contract: Contract) -> NDArray[np.float32]:
    """Network answers (rows,) as calibrated probabilities; a row before the first word counts as heard without text."""
    return contract.decision.calibrate(answers, np.array([row.ids_end > 0 for row in rows]))


def likeliest_kinds(answers: NDArray[np.float32] | None, kinds: KindSettings | None) -> tuple[KindScore, ...]:
    """The likeliest kinds by a network's answers (kinds,) for one row, likeliest first; none without answers."""
    if answers is None or kinds is None:
        return ()
    probabilities = kinds.calibrate(answers)
    order = np.argsort(-probabilities, kind="stable")[:KINDS_TOLD]
    return tuple(KindScore(kinds.names[index], float(probabilities[index])) for index in order)


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
