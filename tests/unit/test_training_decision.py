from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from training.decision import figures, fit_operating_point, fit_temperature, missed_at, recall_at, threshold_at
from training.scoring import Judged

RANDOM = np.random.default_rng(11)
LABELS = np.arange(2000) % 2 == 1


def scores_of(logits):
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


OVERLAPPING = scores_of(np.where(LABELS, 1.5, -1.5) + RANDOM.standard_normal(2000))


def test_the_threshold_lets_one_percent_of_the_normal_through():
    threshold = threshold_at(OVERLAPPING, LABELS, 0.01)

    assert (OVERLAPPING[~LABELS] >= threshold).mean() == 0.01


@given(
    hnp.arrays(np.float32, 60, elements=st.floats(0, 1, width=32)),
    st.sampled_from([0.0, 0.01, 0.1, 0.5]),
)
def test_the_threshold_never_lets_more_through(scores, rate):
    labels = np.arange(60) % 3 == 0

    threshold = threshold_at(scores, labels, rate)

    assert 0 < threshold < 1
    if scores[~labels].max() < 1 - 1e-6:  # no threshold below 1 refuses a score of 1
        assert (scores[~labels] >= threshold).mean() <= rate


def test_calibration_makes_overconfident_scores_honest():
    overconfident = scores_of(4 * np.log(OVERLAPPING / (1 - OVERLAPPING)))

    calibrated = fit_operating_point(overconfident, LABELS).calibrate(overconfident)

    for low in np.arange(0.1, 0.9, 0.2):
        inside = (calibrated >= low) & (calibrated < low + 0.2)
        assert LABELS[inside].mean() == pytest.approx(calibrated[inside].mean(), abs=0.12)


def test_calibration_keeps_the_order():
    calibrated = fit_operating_point(OVERLAPPING, LABELS).calibrate(OVERLAPPING)

    order = np.argsort(OVERLAPPING)
    assert (np.diff(calibrated[order]) >= 0).all()


def test_separable_scores_do_not_become_certainties():
    point = fit_operating_point(np.where(LABELS, 0.99, 0.01).astype(np.float32), LABELS)

    low, high = point.calibrate(np.array([0.01, 0.99], np.float32))
    assert 0 < low < point.threshold < high < 1


def test_figures_of_a_known_case():
    scores = np.array([0.1, 0.2, 0.6, 0.4, 0.7, 0.9], np.float32)
    labels = np.array([False, False, False, True, True, True])

    constant = np.ones(6, np.float32)
    measured = figures(Judged(scores, 0.65 * constant, 0.4 * constant), labels)

    assert measured.accuracy == pytest.approx(4 / 6)  # at one half
    assert measured.recall == pytest.approx(2 / 3)
    assert measured.false_positive_rate == 0
    assert measured.uncertain == pytest.approx(2 / 6)  # 0.6 and 0.4
    assert measured.recall_at_1pct_fpr == pytest.approx(2 / 3)
    assert measured.auc == pytest.approx(8 / 9)


def test_every_clip_has_the_thresholds_that_apply_to_it():
    scores, labels = np.array([0.3, 0.6, 0.6], np.float32), np.array([False, False, True])

    judged = Judged(scores, np.array([0.5, 0.7, 0.5], np.float32), np.array([0.2, 0.6, 0.2], np.float32))

    measured = figures(judged, labels)
    assert measured.false_positive_rate == 0
    assert measured.recall == 1
    assert measured.uncertain == pytest.approx(2 / 3)


def test_recall_counts_nothing_where_normal_clips_score_as_high():
    scores = np.array([1, 1, 1, 1, 0.2, 0.9], np.float32)
    labels = np.array([True, True, False, False, False, False])

    assert recall_at(scores, labels, 0.01) == 0
    assert recall_at(np.where(labels, 1, 0.5).astype(np.float32), labels, 0.01) == 1


def test_half_a_percent_of_the_emergencies_stays_below_the_uncertain_band():
    least = missed_at(OVERLAPPING, LABELS, 0.005)

    assert (OVERLAPPING[LABELS] < least).mean() == 0.005


def test_the_uncertain_band_ends_at_the_threshold():
    separable = fit_operating_point(np.where(LABELS, 0.99, 0.01).astype(np.float32), LABELS)
    overlapping = fit_operating_point(OVERLAPPING, LABELS)

    assert separable.uncertain_from == separable.threshold  # nothing is left to a human
    assert overlapping.uncertain_from < overlapping.threshold


@given(st.floats(0.3, 4), st.integers(0, 2**31))
def test_the_temperature_of_kinds_is_found_again(temperature, seed):
    random = np.random.default_rng(seed)
    true_logits = 1.5 * random.standard_normal((4000, 14))
    honest = np.exp(true_logits) / np.exp(true_logits).sum(axis=1, keepdims=True)
    kinds = (honest.cumsum(axis=1) < random.random((4000, 1))).sum(axis=1)
    said = np.exp(true_logits * temperature)
    said /= said.sum(axis=1, keepdims=True)

    assert fit_temperature(said.astype(np.float32), kinds) == pytest.approx(temperature, rel=0.15)
