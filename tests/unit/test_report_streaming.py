from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from preprocess_service.contract import Decision
from preprocess_service.features import text
from preprocess_service.features.audio import TELEPHONE_RATE_HZ
from preprocess_service.model_spec import CNN, MULTIMODAL
from tests.unit.recordings import speech_like
from tests.unit.report_graphs import ALARM_ID, HIGH, LOW, loudness_graph, scorer_of, word_graph
from training.report.ablations import mishear
from training.report.alarms import HeardCall, delays, false_alarms, merge_alarms, poisson_rate
from training.report.recordings import Asked, probabilities, row_probabilities, whole
from training.report.streaming import hear, join, listen, window_ends

WORDS = scorer_of(MULTIMODAL, word_graph(MULTIMODAL))
LOUDNESS = scorer_of(CNN, loudness_graph(CNN))
OTHER_ID = text.FIRST_WORD_ID
WINDOW_S = MULTIMODAL.window_s
LOW_THRESHOLD = {"threshold": LOW / 2, "uncertain_from": LOW / 2}


def clip(seconds, ids=()):
    return speech_like(seconds, TELEPHONE_RATE_HZ), list(ids)


def heard(scorer, stream):
    return hear(scorer, stream)[0]


def heard_call(stream, onset_s, end_s, scorer=WORDS):
    return HeardCall(heard(scorer, stream), onset_s, end_s)


def call(*, before_s, emergency, after_s=8.0):
    sound, ids = emergency
    stream = join([clip(before_s, [OTHER_ID] * 3), (sound, ids), clip(after_s, [OTHER_ID] * 2)])
    return heard_call(stream, before_s, before_s + len(sound) / TELEPHONE_RATE_HZ)


def test_words_are_heard_when_they_are_said():
    stream = join([clip(10), clip(4, [OTHER_ID, ALARM_ID, OTHER_ID, OTHER_ID]), clip(6)])

    assert stream.duration_s == 20
    assert stream.id_times_s == pytest.approx([11, 12, 13, 14])
    assert listen(WORDS, stream, np.array([11.0, 11.9, 12.0, 20.0])) == pytest.approx([LOW, LOW, HIGH, HIGH])


def test_words_leave_with_the_ones_that_come_after_them():
    stream = join([clip(4, [ALARM_ID]), clip(24, [OTHER_ID] * 24)])

    scores = listen(WORDS, stream, window_ends(stream, WINDOW_S))

    heard_until_s = 4 + text.TOKENS - 1  # eleven words later it is still among the last twelve
    assert scores == pytest.approx(np.where(window_ends(stream, WINDOW_S) <= heard_until_s, HIGH, LOW))


def test_a_window_of_a_stream_is_the_window_of_a_recording():
    sound = speech_like(20, TELEPHONE_RATE_HZ)
    stream = join([(sound, [])])
    part = sound[5 * TELEPHONE_RATE_HZ : 12 * TELEPHONE_RATE_HZ]

    streamed = listen(LOUDNESS, stream, np.array([12.0]))

    assert streamed == pytest.approx(probabilities(LOUDNESS, [whole(LOUDNESS, part, [])]), abs=2e-3)  # resampler edges


def test_alarms_close_to_each_other_are_one():
    ends_s = np.arange(7.0, 60)
    alarming = np.isin(ends_s, [10, 11, 19, 29, 40])

    assert merge_alarms(ends_s, alarming) == [10, 40]
    assert merge_alarms(ends_s, np.zeros_like(alarming)) == []


def test_false_alarms_are_counted_by_the_hour():
    def stream(said):
        return join([clip(20), clip(10, said), clip(30, [OTHER_ID] * 30)])

    measured = false_alarms(WORDS, (heard(WORDS, stream([each])) for each in (ALARM_ID, OTHER_ID)))

    windows = 2 * (60 - WINDOW_S + 1)
    assert (measured.recordings, measured.alarms) == (2, 1)
    assert measured.hours == pytest.approx(windows / 3600)
    assert measured.per_hour.value == pytest.approx(3600 / windows)
    assert measured.alarming_share.value == pytest.approx(12 / windows)  # seconds 30 to 41
    assert len(measured.trace) == windows / 2


def test_until_the_first_word_the_threshold_of_heard_calls_applies():
    """The word graph answers LOW to all of this: an alarm only where heard calls have a threshold below it."""
    point = WORDS.contract.decision.with_transcript
    decision = Decision(with_transcript=point, without_transcript=point.model_copy(update=LOW_THRESHOLD))
    eager = replace(WORDS, contract=WORDS.contract.model_copy(update={"decision": decision}))
    stream = join([clip(20), clip(10, [OTHER_ID])])

    measured = false_alarms(eager, [heard(eager, stream)])

    assert measured.alarming_share.value == pytest.approx(23 / 24)  # the window that ends at 30 s has heard the word
    assert delays(eager, [heard_call(stream, 20, 30, eager)]).early == 1


def test_the_rate_has_its_exact_poisson_interval():
    measured = poisson_rate(4, 2.0)

    assert stats.poisson.sf(3, 2 * measured.low) == pytest.approx(0.025)
    assert stats.poisson.cdf(4, 2 * measured.high) == pytest.approx(0.025)
    assert (poisson_rate(0, 2.0).low, poisson_rate(0, 2.0).high) == pytest.approx((0, 1.844), abs=1e-3)


def test_delays_count_from_the_onset_to_the_first_window_that_alarms():
    late = call(before_s=12.5, emergency=clip(6, [OTHER_ID, OTHER_ID, ALARM_ID]))  # said at 18.5 s, heard at 19 s

    measured = delays(WORDS, [late])

    assert measured.delays_s == pytest.approx([6.5])
    assert (measured.calls, measured.early, measured.missed.value) == (1, 0, 0)


def test_missed_emergencies_are_infinitely_late():
    heard = call(before_s=12, emergency=clip(6, [ALARM_ID]))
    silent = call(before_s=12, emergency=clip(6, [OTHER_ID]))

    measured = delays(WORDS, [heard, heard, silent])

    assert measured.missed.value == pytest.approx(1 / 3)
    assert measured.median_s == pytest.approx(6)
    assert np.isnan(measured.p90_s)


def test_an_alarm_that_was_sounding_before_is_no_detection():
    sound, ids = clip(6, [OTHER_ID])
    stream = join([clip(12, [OTHER_ID, ALARM_ID]), (sound, ids), clip(8)])

    measured = delays(WORDS, [heard_call(stream, 12, 18)])

    assert (measured.calls, measured.early, measured.delays_s) == (1, 1, ())
    assert np.isnan(measured.median_s)


def test_alarms_of_windows_that_hear_nothing_of_the_emergency_do_not_count():
    stream = join([clip(12), clip(6, [OTHER_ID]), clip(20, [OTHER_ID] * 19 + [ALARM_ID])])

    assert delays(WORDS, [heard_call(stream, 12, 18)]).missed.value == 1


def test_questions_are_answered_alike_alone_and_together():
    questions = [whole(LOUDNESS, speech_like(3 + 2 * each, TELEPHONE_RATE_HZ, each), []) for each in range(20)]

    together = probabilities(LOUDNESS, questions)

    assert together == pytest.approx([probabilities(LOUDNESS, [each])[0] for each in questions], abs=1e-6)
    assert len(np.unique(together)) == 20


def test_every_row_of_a_question_is_answered():
    recording = whole(LOUDNESS, speech_like(20, TELEPHONE_RATE_HZ), [])

    (answers,) = row_probabilities(LOUDNESS, [Asked(recording.samples, [], recording.rows)])

    assert len(answers) == len(recording.rows) > 1


@pytest.mark.parametrize("rate", [0.0, 0.2, 1.0])
def test_so_many_syllables_are_misheard(rate):
    sentence = "가나다라 마바사 " * 500
    heard = mishear(sentence, rate, np.random.default_rng(1))
    syllables = sentence.replace(" ", "")

    kept = sum(each in syllables[:7] for each in heard if each != " ")
    untouched = 1 - rate + rate / 3  # the doubled ones stay, too
    assert kept / len(syllables) == pytest.approx(untouched, abs=0.02)
    assert heard.count(" ") == sentence.count(" ")
