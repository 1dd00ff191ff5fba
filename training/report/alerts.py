"""The alert policy of live calls on calls that a model has heard: what it raises wrongly, and how soon rightly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from preprocess_service.alert import AlertPolicy, AlertState
from training.report.alarms import Delays, FalseAlarms, HeardCall, counted, summed_up
from training.report.streaming import Heard


@dataclass(frozen=True)
class AlertFindings:
    """What a policy makes of normal calls and of calls with an emergency; an alarm is an alert that it raises."""

    false_alarms: FalseAlarms
    delays: Delays


def judge(policy: AlertPolicy, normal: Sequence[Heard], calls: Sequence[HeardCall], window_s: float) -> AlertFindings:
    """A call whose alert was raised before its emergency began is early, as in Delays; one that is raised by windows
    that hear none of the emergency is missed."""
    followed = [follow(policy, each) for each in normal]
    alarming = [np.array([state.raised for state in states], dtype=np.bool_) for states in followed]
    alerts = sum(states[-1].alerts for states in followed if states)
    smoothed = np.array([state.smoothed for state in (followed[0] if followed else ())], dtype=np.float64)
    first = [_first_alert_s(policy, call, window_s) for call in calls]
    return AlertFindings(counted(alerts, alarming, smoothed), summed_up(first))


def follow(policy: AlertPolicy, heard: Heard) -> list[AlertState]:
    """The state after every window, from the beginning of the call."""
    state, states = AlertState(), []
    for at_s, probability, has_words in zip(heard.ends_s, heard.probabilities, heard.has_words, strict=True):
        state = policy.step(state, float(probability), float(at_s), has_words=bool(has_words))
        states.append(state)
    return states


def _first_alert_s(policy: AlertPolicy, call: HeardCall, window_s: float) -> float | None:
    """As `summed_up` takes it."""
    states = follow(policy, call.heard)
    before = [state for state in states if state.covered_s <= call.onset_s]
    if before and before[-1].raised:
        return None
    during = states[len(before) :]
    raised = (each.covered_s for each in during if each.raised and each.covered_s < call.end_s + window_s)
    return next((at_s - call.onset_s for at_s in raised), np.inf)
