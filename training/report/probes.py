"""What a small classifier can tell from given features: grouped cross-validation of logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from training.report import curves
from training.report.curves import Labels
from training.report.intervals import SEED, Estimate, Floats, resampling

FOLDS: Final = 5
PENALTY: Final = 1.0  # on half the squared weights, against the summed log loss
_LEAST_SPREAD: Final = 1e-9  # of a feature; below, it is constant
_FARTHEST: Final = 5.0  # standard deviations; one odd clip must not bend the fit


@dataclass(frozen=True)
class Probe:
    """How well features tell labels on clips of groups that were not fitted on; NaN where that cannot be measured."""

    auc: Estimate
    folds: int
    groups: int
    features: int


def probe(features: Floats, labels: Labels, groups: Sequence[str]) -> Probe:
    """Cross-validates features (n, d) against labels (n,); clips of one group, "" standing alone, share a fold.

    The AUC counts pairs within a fold only: scores of two fits cannot be compared.
    """
    bootstrap = resampling(groups)
    fold_of = folds(groups, labels)
    scores = np.full(len(labels), np.nan)
    for fold in range(FOLDS):
        held_out = fold_of == fold
        if held_out.any() and 0 < labels[~held_out].sum() < (~held_out).sum():
            scores[held_out] = _fit(features[~held_out], labels[~held_out]).decide(features[held_out])
    measured = [fold_of == fold for fold in range(FOLDS)]
    measured = [each for each in measured if np.isfinite(scores[each]).all() and 0 < labels[each].sum() < each.sum()]

    def auc(weights: Floats) -> Floats:
        pairs = [weights[:, each & labels].sum(1) * weights[:, each & ~labels].sum(1) for each in measured]
        areas = [curves.auc(scores[each], labels[each], weights[:, each]) for each in measured]
        return _mean(np.array(areas), np.array(pairs))

    if not measured:
        nothing = Estimate(np.nan, np.nan, np.nan, len(labels))
        return Probe(nothing, 0, bootstrap.groups, features.shape[1])
    return Probe(bootstrap.estimate(auc), len(measured), bootstrap.groups, features.shape[1])


def folds(groups: Sequence[str], labels: Labels) -> NDArray[np.int64]:
    """The fold (n,) of every clip: groups stay whole, and folds are alike in size and classes as far as that allows."""
    named = np.array([group or f"\0{index}" for index, group in enumerate(groups)], dtype=np.str_)
    names, group_of = np.unique(named, return_inverse=True)
    counts = np.stack([np.bincount(group_of[labels == each], minlength=len(names)) for each in (False, True)], axis=1)
    shuffled = np.random.default_rng(SEED).permutation(len(names))
    filled = np.zeros((FOLDS, 2))
    fold_of_group = np.zeros(len(names), np.int64)
    for group in sorted(shuffled, key=lambda each: -counts[each].sum()):
        share = filled / np.maximum(counts.sum(axis=0), 1)
        fold_of_group[group] = np.argmin(share @ counts[group])  # where its classes are scarcest
        filled[fold_of_group[group]] += counts[group]
    return np.asarray(fold_of_group[group_of], dtype=np.int64)


@dataclass(frozen=True)
class _Fit:
    mean: Floats
    spread: Floats
    weights: Floats  # (2 d + 1,), the last is the offset

    def decide(self, features: Floats) -> Floats:
        return np.asarray(_columns(features, self.mean, self.spread) @ self.weights, dtype=np.float64)


def _fit(features: Floats, labels: Labels) -> _Fit:
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > _LEAST_SPREAD, spread, np.inf)  # a constant feature becomes 0
    columns = _columns(features, mean, spread)
    share = labels.mean()
    balance = np.where(labels, 0.5 / share, 0.5 / (1 - share))  # both classes weigh alike

    def loss(weights: Floats) -> tuple[float, Floats]:
        margin = columns @ weights
        value = balance @ (np.logaddexp(0, margin) - labels * margin) + PENALTY / 2 * weights[:-1] @ weights[:-1]
        gradient = columns.T @ (balance * (special.expit(margin) - labels))
        gradient[:-1] += PENALTY * weights[:-1]
        return float(value), gradient

    best = optimize.minimize(loss, np.zeros(columns.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return _Fit(mean, spread, best.x)


def _columns(features: Floats, mean: Floats, spread: Floats) -> Floats:
    """Standardised features, their squares (a shortcut may be "neither long nor short") and a 1: (n, 2 d + 1)."""
    standard = np.clip((features - mean) / spread, -_FARTHEST, _FARTHEST)
    return np.concatenate([standard, standard**2, np.ones((len(features), 1))], axis=1)


def _mean(areas: Floats, pairs: Floats) -> Floats:
    """The mean over folds of areas (folds, m), weighted by pairs; a fold that a resample robbed of a class is out."""
    known = np.where(np.isfinite(areas), pairs, 0)
    total = known.sum(axis=0)
    summed = (np.nan_to_num(areas) * known).sum(axis=0)
    return np.asarray(np.where(total > 0, summed / np.maximum(total, 1), np.nan), dtype=np.float64)
