from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy import stats

from training.report import curves
from training.report.calibration import calibration, fit_temperature, tempered
from training.report.intervals import Estimate, envelope, resampling, wilson
from training.report.metrics import Confusion, confusion, histogram, measure, ppv, recall_by_kind

RANDOM = np.random.default_rng(3)
SCORES = np.round(RANDOM.random(300), 2)  # with ties
LABELS = RANDOM.random(300) < 0.2 + 0.6 * SCORES
ONCE = np.ones((1, 300))
WEIGHTS = RANDOM.integers(0, 4, (5, 300)).astype(float)


def auc_by_pairs(scores, labels):
    up, down = scores[labels][:, None], scores[~labels]
    return float(np.mean((up > down) + 0.5 * (up == down)))


def repeated(values, weights):
    return np.repeat(values, weights.astype(int))


def test_auc_is_the_share_of_pairs_in_order():
    assert curves.auc(SCORES, LABELS, ONCE)[0] == pytest.approx(auc_by_pairs(SCORES, LABELS))


def test_weights_count_as_repeated_clips():
    repeats = [(repeated(SCORES, row), repeated(LABELS, row)) for row in WEIGHTS]

    expected = [auc_by_pairs(*each) for each in repeats]
    recalls = [curves.recall_at(*each, np.ones((1, len(each[0]))), 0.05)[0] for each in repeats]
    precisions = [curves.average_precision(*each, np.ones((1, len(each[0]))))[0] for each in repeats]

    assert curves.auc(SCORES, LABELS, WEIGHTS) == pytest.approx(expected)
    assert curves.recall_at(SCORES, LABELS, WEIGHTS, 0.05) == pytest.approx(recalls)
    assert curves.average_precision(SCORES, LABELS, WEIGHTS) == pytest.approx(precisions)


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.07, 0.5, 1.0])
def test_recall_at_a_rate_is_the_best_of_all_thresholds(rate):
    allowed = [
        np.mean(SCORES[LABELS] >= threshold)
        for threshold in [*np.unique(SCORES), 2.0]
        if np.sum(SCORES[~LABELS] >= threshold) <= rate * np.sum(~LABELS) + 1e-9
    ]

    assert curves.recall_at(SCORES, LABELS, ONCE, rate)[0] == pytest.approx(max(allowed))


def test_one_class_has_no_curve_figures():
    nobody = np.zeros(300, dtype=bool)

    for figure in (curves.auc, curves.average_precision):
        assert np.isnan(figure(SCORES, nobody, ONCE)[0])
    assert np.isnan(curves.recall_at(SCORES, ~nobody, ONCE, 0.01)[0])


def test_the_curve_holds_every_operating_point():
    points = curves.curve(SCORES, LABELS)

    for threshold, recall, false, precision in zip(
        points.thresholds[1:], points.recall[1:], points.false_positive_rate[1:], points.precision[1:], strict=True
    ):
        said = threshold <= SCORES
        assert recall == pytest.approx(said[LABELS].mean())
        assert false == pytest.approx(said[~LABELS].mean())
        assert precision == pytest.approx(LABELS[said].mean())
    assert (points.recall[0], points.recall[-1]) == (0, 1)


def test_equal_error_rate_of_two_normal_distributions():
    labels = np.arange(200_000) % 2 == 0
    scores = np.random.default_rng(1).standard_normal(200_000) + 2 * labels

    assert curves.equal_error_rate(curves.curve(scores, labels)) == pytest.approx(stats.norm.cdf(-1), abs=2e-3)


def test_det_axis_makes_normal_distributions_a_line():
    rates = stats.norm.cdf(np.linspace(-2, 2, 9))

    assert np.diff(curves.probit(rates, 1e-6)) == pytest.approx(0.5)
    assert np.isfinite(curves.probit(np.array([0.0, 1.0]), 1e-3)).all()


def test_wilson_knows_the_textbook_interval():
    measured = wilson(81, 263)  # Newcombe, Statistics in Medicine 17, 1998, table I

    assert (measured.low, measured.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20).low == 0
    assert wilson(20, 20).high == 1
    assert np.isnan(wilson(0, 0).value)


def test_an_envelope_keeps_the_value_and_the_widest_limits():
    joined = envelope(Estimate(0.5, 0.4, 0.7, 10), Estimate(0.6, 0.45, 0.8, 10), Estimate(0.5, np.nan, np.nan, 0))

    assert joined == Estimate(0.5, 0.4, 0.8, 10)


def test_the_bootstrap_draws_whole_groups():
    bootstrap = resampling([f"caller {index // 10}" for index in range(100)])

    for block in bootstrap.weights():
        assert (block.reshape(len(block), 10, 10) == block.reshape(len(block), 10, 10)[:, :, :1]).all()
        assert (block.sum(axis=1) == 100).all()
    assert (bootstrap.groups, bootstrap.by_clip) == (10, False)


def test_too_few_groups_make_it_draw_clips():
    bootstrap = resampling(["one"] * 50 + ["two"] * 50)

    assert (bootstrap.groups, bootstrap.by_clip) == (100, True)


def test_the_bootstrap_is_repeatable():
    once, again = (resampling([""] * 300).estimate(lambda w: curves.auc(SCORES, LABELS, w)) for _ in range(2))

    assert once == again


def test_bootstrap_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(7)
    truth = stats.norm.cdf(1 / np.sqrt(2))
    held = 0
    for _ in range(100):
        labels = np.arange(160) % 2 == 0
        scores = rng.standard_normal(160) + labels
        estimate = resampling([""] * 160).estimate(partial(curves.auc, scores, labels))
        held += estimate.low <= truth <= estimate.high

    assert held >= 88  # 95 expected; fewer than 88 once in 400 seeds


def test_alike_clips_of_a_caller_widen_the_interval():
    labels = np.arange(400) % 2 == 0
    scores = np.repeat(np.random.default_rng(5).standard_normal(20), 20) + 0.5 * labels
    callers = [str(index // 20) for index in range(400)]

    def width(groups):
        estimate = resampling(groups).estimate(lambda w: (w @ (scores > 0)) / w.sum(axis=1))
        return estimate.high - estimate.low

    assert width(callers) > 2 * width([""] * 400)


def test_no_error_seen_is_not_no_error_possible():
    labels = np.arange(100) % 2 == 0
    perfect = measure(np.where(labels, 0.9, 0.1), labels, 0.5, resampling([""] * 100))

    assert perfect.accuracy.value == perfect.recall_at[0.01].value == perfect.auc.value == 1
    assert 0.95 < perfect.accuracy.low < 0.97
    assert 0.91 < perfect.recall_at[0.01].low < 0.94
    assert perfect.false_positive_rate.high > 0.05
    assert perfect.ppv[0.008].value == 1
    assert perfect.ppv[0.008].low < 0.5


@pytest.mark.parametrize(("right", "beats"), [(62, True), (58, False)])
def test_chance_is_beaten_where_the_whole_interval_lies_above_the_larger_class(right, beats):
    """Half of 100 clips are normal: Wilson's interval begins at 0.522 for 62 right, at 0.482 for 58."""
    labels = np.arange(100) % 2 == 0
    scores = np.where(labels == (np.arange(100) < right), 0.9, 0.1)

    measured = measure(scores, labels, np.full(100, 0.5), resampling([""] * 100))

    assert measured.larger_class == 0.5
    assert measured.accuracy.value == right / 100
    assert measured.beats_chance is beats


def test_always_saying_the_larger_class_does_not_beat_chance():
    labels = np.arange(1000) % 10 == 0

    measured = measure(np.linspace(0, 0.4, 1000), labels, np.full(1000, 0.5), resampling([""] * 1000))

    assert measured.accuracy.value == measured.larger_class == 0.9
    assert not measured.beats_chance


def test_figures_at_the_threshold_are_counted():
    scores = np.array([0.9, 0.8, 0.3, 0.7, 0.2, 0.1])
    labels = np.array([True, True, True, False, False, False])

    measured = measure(scores, labels, 0.5, resampling([""] * 6))

    assert measured.confusion == confusion(scores, labels, 0.5) == Confusion(2, 1, 1, 2)
    assert measured.accuracy.value == pytest.approx(4 / 6)
    assert (measured.accuracy.n, measured.recall.n, measured.false_positive_rate.n) == (6, 3, 3)
    assert measured.auc.value == pytest.approx(8 / 9)


def test_ppv_is_bayes_rule():
    measured = ppv(Confusion(90, 10, 5, 95), 100, 100, 0.2)

    assert measured.value == pytest.approx(0.2 * 0.9 / (0.2 * 0.9 + 0.8 * 0.05))
    assert measured.low < measured.value < measured.high
    assert ppv(Confusion(90, 10, 5, 95), 100, 100, 0.008).value < measured.low


def test_ppv_is_unknown_without_an_alarm():
    assert np.isnan(ppv(Confusion(0, 10, 0, 10), 10, 10, 0.2).value)


def test_recall_is_counted_for_every_kind():
    measured = recall_by_kind(np.array([0.9, 0.1, 0.8]), ["화재", "화재", "낙상"], 0.5)

    assert {kind: (each.value, each.n) for kind, each in measured.items()} == {"낙상": (1.0, 1), "화재": (0.5, 2)}


def test_the_histogram_holds_every_clip():
    bins = histogram(np.array([0.0, 0.5, 1.0]), np.array([True, False, True]))

    assert (sum(bins["emergency"]), sum(bins["normal"])) == (2, 1)


def test_calibrated_probabilities_have_no_calibration_error():
    rng = np.random.default_rng(2)
    probabilities = rng.random(200_000)
    measured = calibration(probabilities, rng.random(200_000) < probabilities)

    assert measured.ece < 0.005
    assert measured.brier == pytest.approx(1 / 6, abs=0.002)
    assert measured.log_loss == pytest.approx(0.5, abs=0.005)


def test_the_calibration_error_of_a_constant_is_its_distance_from_the_share():
    measured = calibration(np.full(1000, 0.9), np.arange(1000) % 2 == 0)

    assert measured.ece == pytest.approx(0.4)
    assert measured.brier == pytest.approx(0.41)
    assert [each.share.n for each in measured.bins] == [0] * 9 + [1000]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_spoilt_a_probability_is_found(temperature):
    rng = np.random.default_rng(4)
    honest = rng.beta(0.5, 0.5, 100_000)
    labels = rng.random(100_000) < honest
    spoilt = tempered(honest, 1 / temperature)

    assert fit_temperature(spoilt, labels) == pytest.approx(temperature, rel=0.03)
    assert calibration(tempered(spoilt, temperature), labels).ece < 0.01


def test_certain_and_wrong_is_finite():
    measured = calibration(np.array([0.0, 1.0]), np.array([True, False]))

    assert np.isfinite(measured.log_loss)
    assert np.isfinite(fit_temperature(np.array([0.0, 1.0, 0.3]), np.array([True, False, True])))
