from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from preprocess_service.alert import AlertPolicy, AlertState
from preprocess_service.contract import FILE_NAME, ContractMismatch, read_contract
from preprocess_service.model_spec import CNN
from tests.alert_settings import levels, settings
from tests.unit.report_graphs import loudness_graph, put_model

WITH_WORDS, WITHOUT_WORDS = levels(0.7, 0.35), levels(0.5, 0.4)
POLICY = AlertPolicy(settings(WITH_WORDS, WITHOUT_WORDS, time_constant_s=2.0, clear_after_s=5.0))
LOWEST_RAISE = min(WITH_WORDS.raise_at, WITHOUT_WORDS.raise_at)
HIGHEST_CLEAR = max(WITH_WORDS.clear_at, WITHOUT_WORDS.clear_at)
ROUNDING = 1e-9
BEGINNING = AlertState()


@dataclass(frozen=True)
class Window:
    probability: float | None
    hop_s: float
    has_words: bool


# Probabilities at the ends move the alert most; a quarter of the windows carries no evidence.
CALLS = st.lists(
    st.builds(
        Window,
        probability=st.one_of(st.none(), st.just(0.0), st.just(1.0), st.floats(0, 1)),
        hop_s=st.floats(0.25, 10),
        has_words=st.booleans(),
    ),
    max_size=80,
)


def states_of(windows, state=BEGINNING, policy=POLICY):
    states = []
    for window in windows:
        state = policy.step(state, window.probability, state.covered_s + window.hop_s, has_words=window.has_words)
        states.append(state)
    return states


def steady(probability, seconds, *, hop_s=1.0, has_words=True):
    return [Window(probability, hop_s, has_words)] * round(seconds / hop_s)


def changes(states):
    before = [BEGINNING, *states]
    return [new for old, new in zip(before, states, strict=False) if old.raised != new.raised]


@given(CALLS, st.data())
def test_a_call_goes_on_exactly_wherever_it_is_split(windows, data):
    where = data.draw(st.integers(0, len(windows)))
    whole = states_of(windows)

    first = states_of(windows[:where])
    handed_back = replace(first[-1]) if first else AlertState()

    assert first + states_of(windows[where:], handed_back) == whole


@given(CALLS)
def test_a_raised_alert_has_reached_its_level(windows):
    for window, old, new in zip(windows, [BEGINNING, *states_of(windows)], states_of(windows), strict=False):
        if new.raised and not old.raised:
            assert new.smoothed >= POLICY.settings.levels(window.has_words).raise_at


@given(CALLS)
def test_what_reaches_its_level_is_raised(windows):
    for window, state in zip(windows, states_of(windows), strict=True):
        if window.probability is not None and not state.raised:
            assert state.smoothed < POLICY.settings.levels(window.has_words).raise_at


@given(CALLS)
def test_an_alert_never_flaps(windows):
    """It stays for as long as it must be below; and from the level where it is cleared to the one where it is raised
    even certainty needs its time."""
    found = changes(states_of(windows))
    climb_s = POLICY.settings.time_constant_s * math.log((1 - HIGHEST_CLEAR) / (1 - LOWEST_RAISE))

    assert [each.raised for each in found] == [number % 2 == 0 for number in range(len(found))]
    for old, new in pairwise(found):
        least_s = POLICY.settings.clear_after_s if old.raised else climb_s
        assert new.changed_at_s - old.changed_at_s >= least_s - ROUNDING


@given(CALLS)
def test_alerts_are_counted_when_they_are_raised(windows):
    states = states_of(windows)

    assert [each.alerts for each in states] == [
        sum(change.raised for change in changes(states[: number + 1])) for number in range(len(states))
    ]


@given(CALLS)
def test_windows_without_evidence_move_nothing(windows):
    """The time below the lower level stands still, too."""
    for window, old, new in zip(windows, [BEGINNING, *states_of(windows)], states_of(windows), strict=False):
        if window.probability is None:
            assert replace(new, covered_s=old.covered_s, below_since_s=old.below_since_s) == old
            assert new.below_since_s < 0 or new.covered_s - new.below_since_s == pytest.approx(
                old.covered_s - old.below_since_s
            )


@given(CALLS)
def test_the_smoothed_probability_stays_within_what_was_heard(windows):
    heard = [0.0]
    for window, state in zip(windows, states_of(windows), strict=True):
        heard += [] if window.probability is None else [window.probability]
        assert min(heard) - ROUNDING <= state.smoothed <= max(heard) + ROUNDING


@given(st.floats(0, 1), st.integers(1, 40), st.integers(1, 10))
def test_steady_sound_is_smoothed_alike_at_any_hop(probability, seconds, parts):
    fine = states_of(steady(probability, seconds, hop_s=1 / parts))[-1]
    coarse = states_of(steady(probability, seconds))[-1]

    assert fine.smoothed == pytest.approx(coarse.smoothed, abs=1e-9)


@pytest.mark.parametrize("has_words", [True, False])
@pytest.mark.parametrize("hop_s", [0.25, 1.0, 2.0])
def test_an_emergency_from_the_first_second_on_is_raised_within_seconds(hop_s, has_words):
    states = states_of(steady(0.99, 6, hop_s=hop_s, has_words=has_words))

    assert next(each.covered_s for each in states if each.raised) <= 4


def test_one_strong_window_of_a_second_does_not_raise_alone():
    states = states_of([*steady(0.05, 10), *steady(0.9, 1), *steady(0.05, 10)])

    assert changes(states) == []


def test_an_alert_is_raised_once_and_cleared_once():
    states = states_of([*steady(0.05, 10), *steady(0.95, 10), *steady(0.05, 30)])

    raised, cleared = changes(states)
    assert (raised.raised, cleared.raised) == (True, False)
    assert raised.changed_at_s == 13  # 0.95 (1 - e^(-3/2)) is the first above 0.7
    assert cleared.changed_at_s == 28  # below 0.35 from 23 s on
    assert states[-1].alerts == 1


def test_a_dip_does_not_clear():
    dip = [*steady(0.0, 4), *steady(1.0, 4)]

    assert len(changes(states_of([*steady(1.0, 10), *dip * 5]))) == 1


def test_silence_does_not_clear():
    before = states_of([*steady(0.95, 10), *steady(0.05, 4)])[-1]
    silent = states_of(steady(None, 600), before)[-1]

    assert before.below_since_s >= 0
    assert silent.raised
    assert states_of(steady(0.05, 1), silent)[-1].raised
    assert not states_of(steady(0.05, 5), silent)[-1].raised


def test_each_kind_of_window_has_its_own_level():
    assert not states_of(steady(0.6, 60, has_words=True))[-1].raised
    assert states_of(steady(0.6, 60, has_words=False))[-1].raised


def test_audio_that_was_covered_before_changes_no_time():
    state = states_of(steady(0.5, 10))[-1]

    assert POLICY.step(state, 1.0, 8.0, has_words=True) == state


@pytest.mark.parametrize(
    ("with_words", "without_words"),
    [((0.5, 0.5), (0.5, 0.2)), ((0.5, 0.6), (0.5, 0.2)), ((0.9, 0.6), (0.5, 0.2)), ((0.5, 0.2), (0.9, 0.5))],
)
def test_levels_that_would_flap_are_refused(with_words, without_words):
    with pytest.raises(ValidationError, match="is not below raise_at"):
        settings(levels(*with_words), levels(*without_words))


@pytest.mark.parametrize("changes", [{"time_constant_s": 0.0}, {"time_constant_s": math.inf}, {"clear_after_s": -1.0}])
def test_times_must_be_positive_and_finite(changes):
    with pytest.raises(ValidationError, match="greater than 0|finite"):
        settings(**changes)


def test_a_version_of_a_format_without_a_policy_is_refused_by_that_name(tmp_path):
    folder = put_model(tmp_path, CNN, loudness_graph(CNN), "unknown")
    written = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    del written["alert"]
    (folder / FILE_NAME).write_text(json.dumps(written | {"format_version": 2}), encoding="utf-8")

    with pytest.raises(ContractMismatch, match="format_version is 2; this service needs 3"):
        read_contract(folder, CNN)
