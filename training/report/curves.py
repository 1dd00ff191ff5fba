"""Curves of a score against the truth: ROC, DET, precision-recall, and the figures read from them.

All take weights (m, n), how often each of n clips counts in each of m resamples: one implementation gives the figure
and its bootstrap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from training.report.intervals import Floats

Labels = NDArray[np.bool_]

_ROUNDING: Final = 1e-9  # 0.07 of 100 clips are 7.000000000000001


@dataclass(frozen=True)
class Curve:
    """One point for every distinct score, from the strictest threshold on; the first point lets nothing through."""

    thresholds: Floats  # (k,), the first is infinite
    false_positive_rate: Floats
    recall: Floats
    precision: Floats  # 1 where nothing is let through


def curve(scores: Floats, labels: Labels) -> Curve:
    """All operating points of scores (n,) against labels (n,), True for an emergency; needs both classes."""
    hits, alarms = (each[0] for each in _let_through(scores, labels, np.ones((1, len(scores)))))
    said = np.maximum(hits + alarms, 1)
    thresholds = np.concatenate([[np.inf], np.unique(scores)[::-1]])
    precision = np.where(hits + alarms > 0, hits / said, 1.0)
    return Curve(thresholds, alarms / alarms[-1], hits / hits[-1], precision)


def auc(scores: Floats, labels: Labels, weights: Floats) -> Floats:
    """Area under the ROC curve (m,): how often an emergency scores above a normal clip, ties half; NaN of one class."""
    hits, alarms = _let_through(scores, labels, weights)
    area = (np.diff(alarms, axis=1) * (hits[:, 1:] + hits[:, :-1]) / 2).sum(axis=1)
    return _divided(area, hits[:, -1] * alarms[:, -1])


def recall_at(scores: Floats, labels: Labels, weights: Floats, false_positive_rate: float) -> Floats:
    """The greatest recall (m,) that lets at most that share of the normal clips through; NaN of one class."""
    hits, alarms = _let_through(scores, labels, weights)
    total = alarms[:, -1:]
    allowed = alarms <= false_positive_rate * total + _ROUNDING
    recall = _divided(np.where(allowed, hits, 0).max(axis=1), hits[:, -1])
    return np.where(total[:, 0] > 0, recall, np.nan)


def average_precision(scores: Floats, labels: Labels, weights: Floats) -> Floats:
    """Area under the precision-recall curve (m,), by steps; NaN of one class."""
    hits, alarms = _let_through(scores, labels, weights)
    said = hits + alarms
    precision = np.divide(hits, said, out=np.zeros_like(hits), where=said > 0)
    area = (np.diff(hits, axis=1) * precision[:, 1:]).sum(axis=1)
    return _divided(area, np.where(alarms[:, -1] > 0, hits[:, -1], 0))


def equal_error_rate(points: Curve) -> float:
    """Where misses and false positives are equally frequent, between two points linearly."""
    difference = points.false_positive_rate - (1 - points.recall)  # rises from -1 to 1
    after = int(np.argmax(difference >= 0))
    low, high = difference[after - 1], difference[after]
    share = -low / (high - low)
    at = points.false_positive_rate
    return float(at[after - 1] + share * (at[after] - at[after - 1]))


def probit(rates: Floats, least: float) -> Floats:
    """Rates on the axis of a DET plot (normal deviates), kept `least` away from 0 and 1.

    Source: Martin et al., "The DET curve in assessment of detection task performance", Eurospeech 1997.
    """
    return np.asarray(stats.norm.ppf(np.clip(rates, least, 1 - least)), dtype=np.float64)


def _let_through(scores: Floats, labels: Labels, weights: Floats) -> tuple[Floats, Floats]:
    """Weights of emergencies and of normal clips that score at least each distinct score, descending: (m, k + 1)."""
    order = np.argsort(-scores, kind="stable")
    ranked, is_emergency = scores[order], labels[order]
    firsts = np.flatnonzero(np.concatenate([[True], np.diff(ranked) != 0]))
    drawn = weights[:, order]

    def summed(part: Floats) -> Floats:
        sums = np.add.reduceat(part, firsts, axis=1).cumsum(axis=1)
        return np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)

    return summed(drawn * is_emergency), summed(drawn * ~is_emergency)


def _divided(numerator: Floats, denominator: Floats) -> Floats:
    quotient = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient
