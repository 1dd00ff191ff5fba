"""All figures of one set of scored clips, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.report import curves
from training.report.curves import Labels
from training.report.intervals import SEED, Estimate, Floats, Resampling, envelope, from_draws, jeffreys_draws, wilson

FALSE_POSITIVE_RATES: Final = (0.001, 0.01, 0.015)
PREVALENCES: Final = (0.008, 0.2)
HISTOGRAM_BINS: Final = 20
EVEN: Final = 0.5


@dataclass(frozen=True)
class Confusion:
    """Counts at the threshold."""

    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int


@dataclass(frozen=True)
class Metrics:
    """Figures of calibrated scores (n,): `accuracy` at one half; confusion, recall, false positives and PPV at the
    model's thresholds, which are set for few false positives; the others over all thresholds."""

    thresholds: tuple[float, ...]  # those that apply: clips without words have their own
    confusion: Confusion
    accuracy: Estimate
    larger_class: float  # the accuracy of who always says the same
    beats_chance: bool  # whether the accuracy's whole interval lies above that
    accuracy_at_threshold: Estimate
    recall: Estimate
    false_positive_rate: Estimate
    auc: Estimate
    average_precision: Estimate
    equal_error_rate: float
    recall_at: dict[float, Estimate]  # by the false-positive rate
    ppv: dict[float, Estimate]  # by the prevalence


def measure(scores: Floats, labels: Labels, thresholds: Floats | float, bootstrap: Resampling) -> Metrics:
    """Figures of scores (n,), each with its threshold, against labels (n,), True for an emergency; needs both classes.

    Limits of shares are the wider of Wilson's and the group bootstrap's: the first forgets that a caller's clips are
    alike, the second sees no doubt where all clips were right.
    """
    counts = confusion(scores, labels, thresholds)
    positives, negatives = int(labels.sum()), int((~labels).sum())

    def share(of: Labels, right: Labels) -> Estimate:
        drawn = bootstrap.estimate(lambda weights: _weighted_share(weights, of, right))
        return envelope(wilson(int((of & right).sum()), int(of.sum())), drawn)

    def recall_at(rate: float) -> Estimate:
        drawn = bootstrap.estimate(lambda weights: curves.recall_at(scores, labels, weights, rate))
        return envelope(Estimate(drawn.value, drawn.low, drawn.high, positives), _about(drawn.value, positives))

    said, everything = scores >= thresholds, np.ones_like(labels)
    accuracy = share(everything, (scores >= EVEN) == labels)
    larger_class = max(positives, negatives) / len(labels)
    return Metrics(
        thresholds=distinct(thresholds),
        confusion=counts,
        accuracy=accuracy,
        larger_class=larger_class,
        beats_chance=bool(accuracy.low > larger_class),
        accuracy_at_threshold=share(everything, said == labels),
        recall=share(labels, said),
        false_positive_rate=share(~labels, said),
        auc=bootstrap.estimate(lambda weights: curves.auc(scores, labels, weights)),
        average_precision=bootstrap.estimate(lambda weights: curves.average_precision(scores, labels, weights)),
        equal_error_rate=curves.equal_error_rate(curves.curve(scores, labels)),
        recall_at={rate: recall_at(rate) for rate in FALSE_POSITIVE_RATES},
        ppv={each: ppv(counts, positives, negatives, each) for each in PREVALENCES},
    )


def distinct(thresholds: NDArray[np.floating[Any]] | float) -> tuple[float, ...]:
    """The different ones, in order."""
    return tuple(float(each) for each in np.unique(thresholds))


def confusion(scores: Floats, labels: Labels, thresholds: Floats | float) -> Confusion:
    """Counts of what is judged an emergency at the clips' thresholds (n,)."""
    said = scores >= thresholds
    counts = [(said & labels), (~said & labels), (said & ~labels), (~said & ~labels)]
    return Confusion(*(int(each.sum()) for each in counts))


def ppv(counts: Confusion, positives: int, negatives: int, prevalence: float) -> Estimate:
    """The share of alarms that are emergencies where `prevalence` of all calls are.

    The interval comes from both rates' posteriors: with no false positive in 100 clips a PPV of 1 is seen, not known.
    """
    rng = np.random.default_rng(SEED)
    recalls = jeffreys_draws(counts.true_positives, positives, rng)
    rates = jeffreys_draws(counts.false_positives, negatives, rng)
    draws = prevalence * recalls / (prevalence * recalls + (1 - prevalence) * rates)
    right = prevalence * counts.true_positives / positives
    wrong = (1 - prevalence) * counts.false_positives / negatives
    return from_draws(right / (right + wrong) if right + wrong else np.nan, draws, positives + negatives)


def recall_by_kind(scores: Floats, kinds: Sequence[str], thresholds: Floats | float) -> dict[str, Estimate]:
    """The share of each kind's clips that is judged an emergency, with Wilson's interval; kinds in order of name."""
    said, kind_of = scores >= thresholds, np.array(kinds, dtype=np.str_)
    return {
        str(kind): wilson(int(said[kind_of == kind].sum()), int((kind_of == kind).sum())) for kind in np.unique(kind_of)
    }


def histogram(scores: Floats, labels: Labels) -> dict[str, list[int]]:
    """Clips of each class in HISTOGRAM_BINS bins over [0, 1]."""
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    return {
        "emergency": np.histogram(scores[labels], edges)[0].tolist(),
        "normal": np.histogram(scores[~labels], edges)[0].tolist(),
    }


def _about(share: float, n: int) -> Estimate:
    return wilson(round(share * n), n)


def _weighted_share(weights: Floats, of: Labels, right: Labels) -> Floats:
    total = weights[:, of].sum(axis=1)
    hits = weights[:, of & right].sum(axis=1)
    return np.asarray(np.where(total > 0, hits / np.maximum(total, 1), np.nan), dtype=np.float64)
