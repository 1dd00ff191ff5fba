"""Whether a probability is one: temperature scaling, reliability, ECE, Brier score, log loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from training import decision
from training.report.curves import Labels
from training.report.intervals import Estimate, Floats, wilson

BINS: Final = 10
_LEAST_PROBABILITY: Final = 1e-7  # as the contract's calibration


@dataclass(frozen=True)
class Bin:
    """Clips whose probability lies in [low, high), the last bin with its end."""

    low: float
    high: float
    mean_probability: float  # NaN of an empty bin
    share: Estimate  # of emergencies


@dataclass(frozen=True)
class Calibration:
    """`ece`: the mean distance of the bins from the diagonal; `log_loss` in nats."""

    ece: float
    brier: float
    log_loss: float
    bins: tuple[Bin, ...]


def fit_temperature(probabilities: Floats, labels: Labels) -> float:
    """The temperature T of least log loss of `sigmoid(logit(p) / T)`; fit it on validation clips."""
    of_class = np.stack([1 - probabilities, probabilities], axis=1)  # a softmax over two classes is that sigmoid
    return decision.fit_temperature(of_class, labels.astype(np.int64))


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """`sigmoid(logit(p) / temperature)`, any shape."""
    return np.asarray(special.expit(_logits(probabilities) / temperature), dtype=np.float64)


def calibration(probabilities: Floats, labels: Labels) -> Calibration:
    """Reliability of probabilities (n,) against labels (n,), True for an emergency."""
    bins = reliability(probabilities, labels)
    gaps = [each.share.n * abs(each.share.value - each.mean_probability) for each in bins if each.share.n]
    return Calibration(
        ece=float(sum(gaps)) / len(labels),
        brier=float(np.mean((probabilities - labels) ** 2)),
        log_loss=_log_loss_of_logits(_logits(probabilities), labels),
        bins=bins,
    )


def reliability(probabilities: Floats, labels: Labels) -> tuple[Bin, ...]:
    """BINS bins of equal width."""
    index = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    bins = []
    for number in range(BINS):
        inside = index == number
        mean = float(probabilities[inside].mean()) if inside.any() else float("nan")
        share = wilson(int(labels[inside].sum()), int(inside.sum()))
        bins.append(Bin(number / BINS, (number + 1) / BINS, mean, share))
    return tuple(bins)


def _logits(probabilities: Floats) -> Floats:
    clipped = np.clip(np.asarray(probabilities, np.float64), _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return np.asarray(special.logit(clipped), dtype=np.float64)


def _log_loss_of_logits(logits: Floats, labels: Labels) -> float:
    return float(np.mean(np.logaddexp(0, logits) - labels * logits))
