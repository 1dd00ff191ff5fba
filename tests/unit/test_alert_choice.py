"""The alert policy that an export chooses: on calls whose right answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from preprocess_service.alert import AlertPolicy
from preprocess_service.contract import Decision, OperatingPoint
from preprocess_service.model_spec import CNN, MULTIMODAL
from tests.unit import small_corpus
from tests.unit.report_graphs import HIGH, LOW, loudness_graph, scorer_of, word_graph
from training.alerting import (
    ALLOWED_FALSE_ALARMS_PER_HOUR,
    RAISE_LEVELS,
    TIME_CONSTANTS_S,
    Calls,
    alert_settings,
    best_for,
    choose,
    hear_calls,
    untried,
)
from training.dataset import Rows, read_corpus
from training.report.alarms import HeardCall
from training.report.alerts import follow, judge
from training.report.streaming import Heard

ONSET_S, EMERGENCY_S, CALL_S = 20, 10, 40
HOUR_S = 3600


def heard(probabilities, *, words=False):
    scores = np.asarray(probabilities, np.float64)
    return Heard(np.arange(1.0, len(scores) + 1), scores, np.full(len(scores), words))


def emergency(before, during, *, words=False):
    scores = np.full(CALL_S, float(before))
    scores[ONSET_S : ONSET_S + EMERGENCY_S] = during
    return HeardCall(heard(scores, words=words), ONSET_S, ONSET_S + EMERGENCY_S)


def calls(normal, *, before=0.05, during=0.9, words=False, count=4):
    return Calls((heard(normal, words=words),), (emergency(before, during, words=words),) * count)


def bursts(height, seconds, *, every_s=300):
    """An hour of normal sound that sounds like an emergency for so many seconds, again and again."""
    scores = np.full(HOUR_S, 0.02)
    scores[np.arange(HOUR_S) % every_s >= every_s - seconds] = height
    return scores


def test_where_nothing_disturbs_the_fastest_policy_is_chosen():
    quiet = calls(np.full(HOUR_S, 0.02))

    chosen = best_for(quiet, quiet, CNN)

    assert chosen.without_transcript.validation.median_delay_s == 1
    assert chosen.without_transcript.validation.missed == 0
    assert chosen.with_transcript == chosen.without_transcript


@pytest.mark.parametrize(("height", "seconds"), [(0.95, 1), (0.95, 2), (0.6, 8)])
def test_bursts_are_waited_out_as_far_as_must_be(height, seconds):
    """The allowed rate is kept, and nothing is given up for it that another policy would keep."""
    disturbed = calls(bursts(height, seconds), during=0.97)

    chosen = best_for(disturbed, disturbed, CNN)

    found = chosen.without_transcript.validation
    assert found.false_alarms <= ALLOWED_FALSE_ALARMS_PER_HOUR * found.hours
    assert found.missed == 0
    others = [
        judge(AlertPolicy(alert_settings(tau, level, level)), disturbed.normal, disturbed.emergencies, CNN.window_s)
        for tau in TIME_CONSTANTS_S
        for level in RAISE_LEVELS
    ]
    kept = [each for each in others if each.false_alarms.per_hour.value <= ALLOWED_FALSE_ALARMS_PER_HOUR]
    assert found.median_delay_s == np.nanmin([each.delays.median_s for each in kept])


def test_where_no_policy_keeps_to_the_rate_the_figures_say_so():
    hopeless = calls(bursts(0.999, 60), during=0.9)

    found = best_for(hopeless, hopeless, CNN).without_transcript.validation

    assert found.false_alarms > ALLOWED_FALSE_ALARMS_PER_HOUR * found.hours
    assert found.at_most_per_hour is not None
    assert found.at_most_per_hour > found.false_alarms / found.hours


def test_few_hours_promise_little():
    short = calls(np.full(120, 0.02))

    found = best_for(short, short, CNN).without_transcript.validation

    assert found.hours == pytest.approx(120 / HOUR_S)
    assert found.false_alarms == 0
    assert found.at_most_per_hour == pytest.approx(3.689 / found.hours, rel=1e-3)


def test_calls_with_and_without_words_get_levels_of_their_own():
    read = calls(np.full(HOUR_S, 0.5), before=0.5, during=0.99, words=True)
    silent = calls(np.full(HOUR_S, 0.02), before=0.02, during=0.2)

    chosen = best_for(read, silent, MULTIMODAL)

    assert chosen.with_transcript.raise_at > 0.5
    assert chosen.without_transcript.raise_at < 0.2
    assert chosen.with_transcript.validation.missed == chosen.without_transcript.validation.missed == 0
    assert chosen.with_transcript.clear_at < chosen.without_transcript.raise_at


def test_emergencies_that_cannot_be_told_are_missed_and_not_promised():
    blind = calls(np.full(HOUR_S, 0.3), before=0.3, during=0.3)

    found = best_for(blind, blind, CNN).without_transcript.validation

    assert (found.missed, found.emergency_calls, found.raised_before) == (4, 4, 0)
    assert found.median_delay_s is None


def test_an_alert_before_the_emergency_is_neither_found_nor_missed():
    policy = AlertPolicy(alert_settings(1.0, 0.5, 0.5))

    found = judge(policy, [], [emergency(0.9, 0.9), emergency(0.05, 0.9)], CNN.window_s)

    assert (found.delays.calls, found.delays.early, found.delays.missed.value) == (2, 1, 0)
    assert found.delays.delays_s == (1.0,)
    assert np.isnan(found.false_alarms.per_hour.value)


def test_an_untried_policy_promises_nothing():
    read, silent = (OperatingPoint(scale=1, offset=0, threshold=each, uncertain_from=0.01) for each in (0.9, 0.02))

    settings = untried(Decision(with_transcript=read, without_transcript=silent))

    assert (settings.with_transcript.raise_at, settings.without_transcript.raise_at) == (0.9, 0.02)
    assert settings.with_transcript.validation.hours == 0
    assert settings.with_transcript.validation.at_most_per_hour is None


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    small_corpus.write_corpus(folder, clips_per_class_and_split=8, duration_s=4)
    return read_corpus(folder)


def rows_of(corpus):
    """What the choice asks of rows: the split and the class of every clip."""
    index = np.arange(len(corpus.clips))
    is_emergency = np.array([clip.label == "emergency" for clip in corpus.clips])
    splits = np.array([clip.split for clip in corpus.clips])
    audio: Any = np.zeros((len(index), 1), np.float32)
    return Rows(audio, None, index, index, is_emergency, splits)


def test_words_are_heard_as_in_a_live_call(corpus):
    """The word graph knows every emergency by one word, which the first half of its clip says."""
    chosen = choose(scorer_of(MULTIMODAL, word_graph(MULTIMODAL)), corpus, rows_of(corpus))

    read, silent = chosen.with_transcript.validation, chosen.without_transcript.validation
    assert (read.emergency_calls, read.missed, read.false_alarms) == (8, 0, 0)
    assert read.median_delay_s is not None
    assert read.median_delay_s <= 4
    assert LOW < chosen.with_transcript.raise_at < HIGH
    assert (silent.missed, silent.median_delay_s) == (8, None)
    assert read.hours == silent.hours == pytest.approx((8 * 4 + 8 * 12) / HOUR_S)  # long calls, and before emergencies


def test_live_windows_begin_short(corpus):
    scorer = scorer_of(CNN, loudness_graph(CNN))

    read, silent = hear_calls(scorer, corpus, rows_of(corpus), 3000)

    assert read.normal[0] is silent.normal[0]
    long = read.normal[0]
    assert long.ends_s.tolist() == list(range(1, 33))
    assert np.all(np.diff(long.probabilities[:7]) > 0)  # louder on average, the less of the window is padding
    assert len(follow(AlertPolicy(untried(scorer.contract.decision)), long)) == 32


@pytest.mark.parametrize("most", [1, 60])
def test_no_more_windows_are_heard_than_there_is_time_for(corpus, most):
    read, _ = hear_calls(scorer_of(CNN, loudness_graph(CNN)), corpus, rows_of(corpus), most)

    windows = [len(each.heard.ends_s) for each in read.emergencies]
    assert sum(windows[:-1]) <= most
    assert windows
    assert [len(each.ends_s) for each in read.normal[-len(windows) :]] == [12] * len(windows)  # before the emergency
