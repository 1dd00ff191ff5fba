"""False alarms per hour of normal sound, and how long it takes to hear an emergency.

A window alarms from the threshold on, that of heard calls until the first word is said; alarms less than MERGED_S
apart are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from training.recordings import Scorer
from training.report.intervals import LEVEL, Estimate, Floats, wilson
from training.report.streaming import HOP_S, Heard, Stream, thresholds

MERGED_S: Final = 10.0
LEAD_IN_WINDOWS: Final = 3  # looked at before the emergency begins: whether an alarm is sounding already


@dataclass(frozen=True)
class FalseAlarms:
    """Alarms on normal sound only; `trace` is the probability at every second of the first recording."""

    recordings: int
    hours: float
    alarms: int
    per_hour: Estimate
    alarming_share: Estimate  # of the windows
    trace: tuple[float, ...]


@dataclass(frozen=True)
class Delays:
    """Seconds from the beginning of an emergency to the end of the first window that alarms.

    A call whose alarm was sounding before the emergency began counts as `early` and nowhere else. The quantiles are
    over all other calls, the missed ones as infinitely late: NaN where they are not reached, and where there is no
    other call (see `counted`).
    """

    calls: int
    early: int
    missed: Estimate
    median_s: float
    p90_s: float
    delays_s: tuple[float, ...]  # of the detected calls

    @property
    def counted(self) -> int:
        """The calls that were silent until their emergency began."""
        return self.calls - self.early


def merge_alarms(ends_s: Floats, alarming: NDArray[np.bool_]) -> list[float]:
    """When each alarm begins: an alarming window with none in the MERGED_S before it."""
    starts: list[float] = []
    last_s = -np.inf
    for end_s in ends_s[alarming]:
        if end_s - last_s > MERGED_S:
            starts.append(float(end_s))
        last_s = end_s
    return starts


def false_alarms(scorer: Scorer, streams: Iterable[Heard]) -> FalseAlarms:
    """Alarms of whole windows on streams of normal sound."""
    whole = [each.at(each.ends_s >= scorer.spec.window_s) for each in streams]
    said = [each.probabilities >= thresholds(scorer, each) for each in whole]
    alarms = sum(len(merge_alarms(each.ends_s, alarming)) for each, alarming in zip(whole, said, strict=True))
    return counted(alarms, said, whole[0].probabilities if whole else np.zeros(0))


def counted(alarms: int, alarming: Sequence[NDArray[np.bool_]], trace: Floats) -> FalseAlarms:
    """So many alarms on recordings whose windows alarm or not; the rate's interval is Poisson's (Garwood, Biometrika
    28, 1936)."""
    windows = sum(len(each) for each in alarming)
    hours = windows * HOP_S / 3600
    return FalseAlarms(
        recordings=len(alarming),
        hours=hours,
        alarms=alarms,
        per_hour=poisson_rate(alarms, hours),
        alarming_share=wilson(sum(int(each.sum()) for each in alarming), windows),
        trace=tuple(float(each) for each in trace),
    )


def poisson_rate(events: int, hours: float) -> Estimate:
    """Events an hour with the exact 95 % interval; `n` is the number of events. NaN in no time."""
    if hours == 0:
        return Estimate(np.nan, np.nan, np.nan, events)
    tail = (1 - LEVEL) / 2
    low = stats.chi2.ppf(tail, 2 * events) / 2 if events else 0.0
    high = stats.chi2.ppf(1 - tail, 2 * events + 2) / 2
    return Estimate(events / hours, float(low) / hours, float(high) / hours, events)


@dataclass(frozen=True)
class Call:
    """A stream with an emergency between two moments, normal sound before and after."""

    stream: Stream
    onset_s: float
    end_s: float


@dataclass(frozen=True)
class HeardCall:
    """A call as a model has heard it."""

    heard: Heard
    onset_s: float
    end_s: float


def delays(scorer: Scorer, calls: Iterable[HeardCall]) -> Delays:
    """How long after its beginning every emergency raises an alarm; windows that hear none of it do not count."""
    return summed_up([_first_alarm_s(scorer, call) for call in calls])


def summed_up(first_alarms_s: Sequence[float | None]) -> Delays:
    """Of each call the seconds from the onset to the first alarm, infinite where none comes; None where one was
    sounding before."""
    counted = np.array([each for each in first_alarms_s if each is not None], dtype=np.float64)
    found = counted[np.isfinite(counted)]
    return Delays(
        calls=len(first_alarms_s),
        early=len(first_alarms_s) - len(counted),
        missed=wilson(len(counted) - len(found), len(counted)),
        median_s=_quantile(counted, 0.5),
        p90_s=_quantile(counted, 0.9),
        delays_s=tuple(float(each) for each in found),
    )


def _quantile(delays_s: Floats, share: float) -> float:
    """NaN where the share is not reached, and of nothing."""
    reached = np.quantile(delays_s, share, method="higher") if delays_s.size else np.inf
    return float(reached) if np.isfinite(reached) else np.nan


def _first_alarm_s(scorer: Scorer, call: HeardCall) -> float | None:
    """As `summed_up` takes it."""
    ends_s, window_s = call.heard.ends_s, scorer.spec.window_s
    heard = call.heard.at(
        (ends_s >= window_s) & (ends_s > call.onset_s - LEAD_IN_WINDOWS * HOP_S) & (ends_s < call.end_s + window_s)
    )
    alarms_s = heard.ends_s[heard.probabilities >= thresholds(scorer, heard)]
    if not alarms_s.size:
        return np.inf
    return float(alarms_s[0] - call.onset_s) if alarms_s[0] > call.onset_s else None
