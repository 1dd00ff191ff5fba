"""The alert policy of a model, chosen on calls made of validation clips and heard as live calls are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from preprocess_service.alert import AlertPolicy
from preprocess_service.contract import AlertFigures, AlertLevels, AlertSettings, Decision
from preprocess_service.model_spec import PICTURE, WAVEFORM, ModelSpec
from training.dataset import Corpus, Rows
from training.recordings import Scorer
from training.report.alarms import HeardCall
from training.report.alerts import AlertFindings, judge
from training.report.simulation import Simulator
from training.report.streaming import HOP_S, Heard, hear

ALLOWED_FALSE_ALARMS_PER_HOUR: Final = 1.0
CLEAR_AFTER_S: Final = 10.0
TIME_CONSTANTS_S: Final = (1.0, 2.0, 3.0, 5.0, 8.0)
RAISE_LEVELS: Final = (0.98, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)  # the strictest first
CLEAR_SHARE: Final = 0.5  # of the level where it is raised
LONG_CALL_S: Final = 120.0
NORMAL_SHARE: Final = 0.6  # of the windows; the others are those of calls with an emergency
# A window of a picture or of YAMNet's takes ten times as long as one of the other networks.
MOST_WINDOWS: Final = 3000
MOST_WINDOWS_OF_COSTLY: Final = 300
_UNTRIED: Final = AlertFigures(
    hours=0,
    false_alarms=0,
    at_most_per_hour=None,
    emergency_calls=0,
    raised_before=0,
    missed=0,
    median_delay_s=None,
    p90_delay_s=None,
)


@dataclass(frozen=True)
class Calls:
    """Calls that a model has heard, all with their words or all without."""

    normal: tuple[Heard, ...]
    emergencies: tuple[HeardCall, ...]


def untried(decision: Decision) -> AlertSettings:
    """What would raise alerts where single windows do, smoothed a little: no call has shown what it is worth."""
    return alert_settings(2.0, decision.with_transcript.threshold, decision.without_transcript.threshold)


def choose(scorer: Scorer, corpus: Corpus, rows: Rows) -> AlertSettings:
    """The policy with the shortest median delay on validation among those with at most the allowed false alarms an
    hour; equal ones are told apart by the 90th percentile, then by what they miss, then by their false alarms.

    Where none is among those, the one with the fewest false alarms; the figures in the result then say so, as they say
    how few hours there were. Calls without transcripts get a level of their own, found on the same calls heard again
    without words; the smoothing is chosen for both together, calls with words first.
    """
    return best_for(*hear_calls(scorer, corpus, rows, most_windows(scorer.spec)), scorer.spec)


def best_for(read: Calls, heard: Calls, spec: ModelSpec) -> AlertSettings:
    """The policy that `choose` would choose if these were the calls with words and those without."""
    return min((_best(each, read, heard, spec) for each in TIME_CONSTANTS_S), key=_rank).measured()


@dataclass(frozen=True)
class _Candidate:
    """A policy and what it makes of the calls with and without words."""

    settings: AlertSettings
    read: AlertFindings
    heard: AlertFindings

    def measured(self) -> AlertSettings:
        """The settings with these findings in them."""
        found = {"with_transcript": self.read, "without_transcript": self.heard}
        levels = {
            name: getattr(self.settings, name).model_copy(update={"validation": _figures(each)})
            for name, each in found.items()
        }
        return self.settings.model_copy(update=levels)


def most_windows(spec: ModelSpec) -> int:
    """How many are heard in about a minute."""
    return MOST_WINDOWS_OF_COSTLY if spec.audio in (PICTURE, WAVEFORM) else MOST_WINDOWS


def hear_calls(scorer: Scorer, corpus: Corpus, rows: Rows, most: int) -> tuple[Calls, Calls]:
    """Calls of validation clips, with their words and without: about so many windows at most, and every clip about
    once."""
    clips = np.flatnonzero(rows.splits == "validation")
    normal, emergency = clips[~rows.is_emergency[clips]], clips[rows.is_emergency[clips]]
    simulator = Simulator(scorer, corpus, normal, emergency)
    there_s = sum(corpus.clips[index].duration_s for index in normal)
    normal_s = min(most * NORMAL_SHARE * HOP_S, there_s)
    count = max(1, round(normal_s / LONG_CALL_S))
    long = [hear(scorer, stream) for stream in simulator.long_calls(count, normal_s / count)]
    calls = list(_emergencies(simulator, len(emergency), most * (1 - NORMAL_SHARE)))
    read, heard = (_calls([each[number] for each in long], [each[number] for each in calls]) for number in range(2))
    return read, heard


def _calls(long: Sequence[Heard], emergencies: Sequence[HeardCall]) -> Calls:
    """What comes before an emergency is normal, too: most calls begin so, with short windows."""
    before = [each.heard.at(each.heard.ends_s <= each.onset_s) for each in emergencies]
    return Calls((*long, *before), tuple(emergencies))


def _emergencies(simulator: Simulator, count: int, most: float) -> Iterator[tuple[HeardCall, HeardCall]]:
    """Calls with an emergency, heard with and without words: at least one, until so many windows were heard."""
    windows = 0
    for call in simulator.emergencies(count):
        if windows >= most:
            return
        read, heard = hear(simulator.scorer, call.stream)
        windows += len(read.ends_s)
        yield HeardCall(read, call.onset_s, call.end_s), HeardCall(heard, call.onset_s, call.end_s)


def _best(time_constant_s: float, read: Calls, heard: Calls, spec: ModelSpec) -> _Candidate:
    """With that smoothing: first the best level without words, then with it the best one with words."""

    def tried(raise_read: float, raise_heard: float, calls: Calls) -> AlertFindings:
        policy = AlertPolicy(alert_settings(time_constant_s, raise_read, raise_heard))
        return judge(policy, calls.normal, calls.emergencies, spec.window_s)

    without = min(RAISE_LEVELS, key=lambda level: _order(tried(level, level, heard)))
    if not spec.tokens:
        found = tried(without, without, heard)
        return _Candidate(alert_settings(time_constant_s, without, without), found, found)
    with_words = min(RAISE_LEVELS, key=lambda level: _order(tried(level, without, read)))
    settings = alert_settings(time_constant_s, with_words, without)
    return _Candidate(settings, tried(with_words, without, read), tried(with_words, without, heard))


def alert_settings(time_constant_s: float, raise_read: float, raise_heard: float) -> AlertSettings:
    """Settings with these levels for calls with and without words, which no call has been judged by."""
    return AlertSettings(
        time_constant_s=time_constant_s,
        clear_after_s=CLEAR_AFTER_S,
        with_transcript=_levels(raise_read, raise_heard),
        without_transcript=_levels(raise_heard, raise_read),
        false_alarms_per_hour=ALLOWED_FALSE_ALARMS_PER_HOUR,
    )


def _levels(raise_at: float, other_raise_at: float) -> AlertLevels:
    """The alert is cleared well below both levels that raise one: the first word must not raise it anew."""
    return AlertLevels(
        raise_at=raise_at, clear_at=min(CLEAR_SHARE * raise_at, 0.9 * other_raise_at), validation=_UNTRIED
    )


def _rank(candidate: _Candidate) -> tuple[float, ...]:
    """Smaller is better; calls with words come first in everything."""
    return tuple(each for pair in zip(_order(candidate.read), _order(candidate.heard), strict=True) for each in pair)


def _order(found: AlertFindings) -> tuple[float, ...]:
    """Smaller is better."""
    rate = found.false_alarms.per_hour.value
    excess = rate if rate > ALLOWED_FALSE_ALARMS_PER_HOUR else 0.0
    delays = found.delays
    missed = delays.missed.value if delays.counted else 1.0
    return (excess, _or_never(delays.median_s), _or_never(delays.p90_s), missed, 0.0 if np.isnan(rate) else rate)


def _or_never(delay_s: float) -> float:
    return np.inf if np.isnan(delay_s) else delay_s


def _figures(found: AlertFindings) -> AlertFigures:
    alarms, delays = found.false_alarms, found.delays
    return AlertFigures(
        hours=alarms.hours,
        false_alarms=alarms.alarms,
        at_most_per_hour=_or_none(alarms.per_hour.high),
        emergency_calls=delays.calls,
        raised_before=delays.early,
        missed=delays.counted - len(delays.delays_s),
        median_delay_s=_or_none(delays.median_s),
        p90_delay_s=_or_none(delays.p90_s),
    )


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
