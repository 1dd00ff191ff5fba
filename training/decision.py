"""From scores to a decision: calibration, threshold, and the figures of merit."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from preprocess_service.contract import OperatingPoint
from training.report import curves
from training.scoring import Judged

Scores = NDArray[np.float32]
Labels = NDArray[np.bool_]
Band = Literal["normal", "uncertain", "emergency"]
Floating = float | NDArray[np.floating[Any]]

ALLOWED_FALSE_POSITIVES: Final = 0.01  # of the normal clips: above them lies `threshold`
ALLOWED_MISSES: Final = 0.005  # of the emergencies: below `uncertain_from` lie no more
BANDS: Final[tuple[Band, ...]] = ("normal", "uncertain", "emergency")
_LEAST_THRESHOLD: Final = 1e-6
_LEAST_PROBABILITY: Final = 1e-7  # as the contract's calibration
_LOG_TEMPERATURES: Final = (-5.0, 5.0)


@dataclass(frozen=True)
class Figures:
    """How well calibrated scores separate the classes: `accuracy` at a probability of one half, `recall` and
    `false_positive_rate` at the model's threshold, `uncertain` between its two thresholds."""

    clips: int
    accuracy: float
    recall: float
    false_positive_rate: float
    uncertain: float
    recall_at_1pct_fpr: float
    auc: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def fit_operating_point(scores: Scores, labels: Labels) -> OperatingPoint:
    """Platt scaling, the threshold of highest recall at 1 % false positives, and the one that only 0.5 % of the
    emergencies stay below, from validation clips.

    Source of the smoothed targets: Platt, "Probabilistic Outputs for Support Vector Machines", 1999.
    """
    logits = special.logit(np.clip(scores.astype(np.float64), _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY))
    positives, negatives = int(labels.sum()), int((~labels).sum())
    targets = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(parameters: NDArray[np.float64]) -> float:
        z = np.exp(parameters[0]) * logits + parameters[1]
        return float(np.sum(np.logaddexp(0, z) - targets * z))

    best = optimize.minimize(loss, np.zeros(2), method="Nelder-Mead", options={"maxiter": 2000}).x
    uncut = OperatingPoint(scale=float(np.exp(best[0])), offset=float(best[1]), threshold=0.5, uncertain_from=0.5)
    calibrated = uncut.calibrate(scores)
    threshold = threshold_at(calibrated, labels, ALLOWED_FALSE_POSITIVES)
    uncertain_from = min(threshold, missed_at(calibrated, labels, ALLOWED_MISSES))
    return uncut.model_copy(update={"threshold": threshold, "uncertain_from": uncertain_from})


def threshold_at(scores: Scores, labels: Labels, false_positive_rate: float) -> float:
    """The threshold that lets through at most that share of the normal clips: halfway between the highest score that
    must be refused and the next one above it."""
    normal = np.sort(scores[~labels])[::-1]
    refused = float(normal[int(false_positive_rate * len(normal))])
    above = scores[scores > refused]
    threshold = (refused + float(above.min() if above.size else 1.0)) / 2
    # Scores so close that their middle rounds to the lower one would let that one through.
    threshold = max(threshold, float(np.nextafter(np.float32(refused), np.float32(2))))
    return float(np.clip(threshold, _LEAST_THRESHOLD, 1 - _LEAST_THRESHOLD))


def recall_at(scores: Scores, labels: Labels, false_positive_rate: float) -> float:
    """The share of the emergencies that score above all but that share of the normal clips; scores that tie with a
    normal clip that must be refused are refused with it."""
    return float(curves.recall_at(scores.astype(np.float64), labels, _once(scores), false_positive_rate)[0])


def missed_at(scores: Scores, labels: Labels, miss_rate: float) -> float:
    """The greatest score that at most that share of the emergencies stays below."""
    emergencies = np.sort(scores[labels])
    least = float(emergencies[int(miss_rate * len(emergencies))])
    return float(np.clip(least, _LEAST_THRESHOLD, 1 - _LEAST_THRESHOLD))


def fit_temperature(probabilities: NDArray[np.floating[Any]], kinds: NDArray[np.int64]) -> float:
    """The temperature that makes probabilities (n, kinds) likeliest, given the true kinds (n,).

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017.
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), _LEAST_PROBABILITY))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(np.mean(special.logsumexp(scaled, axis=1) - scaled[np.arange(len(kinds)), kinds]))

    return float(np.exp(optimize.minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded").x))


def bands(probabilities: Floating, thresholds: Floating, uncertain_from: Floating) -> NDArray[np.int64]:
    """The band that each calibrated probability falls into, as its index in BANDS; arguments broadcast."""
    return np.asarray(np.asarray(probabilities) >= uncertain_from, np.int64) + (np.asarray(probabilities) >= thresholds)


def figures(judged: Judged, labels: Labels) -> Figures:
    """Figures of merit of judged clips against labels (n,), True for an emergency."""
    scores = judged.probabilities
    found = bands(scores, judged.thresholds, judged.uncertain_from)
    said = found == BANDS.index("emergency")
    return Figures(
        clips=len(labels),
        accuracy=float(((scores >= 0.5) == labels).mean()),
        recall=float(said[labels].mean()),
        false_positive_rate=float(said[~labels].mean()),
        uncertain=float((found == BANDS.index("uncertain")).mean()),
        recall_at_1pct_fpr=recall_at(scores, labels, ALLOWED_FALSE_POSITIVES),
        auc=float(curves.auc(scores.astype(np.float64), labels, _once(scores))[0]),
    )


def _once(scores: Scores) -> NDArray[np.float64]:
    """Weights that count every clip once: (1, n)."""
    return np.ones((1, len(scores)))
