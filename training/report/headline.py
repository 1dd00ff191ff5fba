"""The verdict in plain words, for whoever decides about a call centre."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from training.report.alerts import AlertFindings
from training.report.findings import Findings, Status
from training.report.measurement import Measured
from training.report.shortcuts import LARGEST_SILENCE_AUC


def headline(findings: Findings) -> list[str]:
    """Sentences, the most important one first."""
    sentences = [_STATUS[findings.status].format(findings.shortcuts.silence_auc, limit=LARGEST_SILENCE_AUC)]
    if (model := findings.first) is None:
        return [*sentences, "No model is in the repository yet, so there is nothing else to report."]
    measured, metrics = model.measured, model.measured.metrics
    alarms = 8 * metrics.recall.value + 992 * metrics.false_positive_rate.value
    known = "that it had never heard" if model.same_corpus else "(of another corpus than it was trained on)"
    sentences.append(
        f"{model.contract.model} judged {measured.test_clips} test clips {known}: it found "
        f"{metrics.recall.value:.0%} of the emergencies ({metrics.recall.low:.0%} to {metrics.recall.high:.0%}) and "
        f"flagged {metrics.false_positive_rate.value:.1%} of the normal clips."
    )
    sentences.append(
        f"Of 1,000 calls with 8 emergencies among them it would flag about {alarms:.0f}, and about "
        f"{8 * metrics.recall.value:.1f} of those rightly."
    )
    sentences += [_while_it_goes_on(measured), *_as_live_calls(measured)]
    if findings.surroundings.synthetic_share and findings.status != "SYNTHETIC":
        sentences.append(f"{findings.surroundings.synthetic_share:.0%} of the test clips are synthetic speech.")
    if findings.surroundings.quick:
        sentences.append("This is a quick run on few clips: look at the widths of the intervals.")
    return sentences


_STATUS: Final[Mapping[Status, str]] = {
    "INVALID": "Do not use these figures. From the silence in the recordings alone, without one word, emergencies can "
    "be told from normal calls (AUC {0:.2f}, at most {limit} may be); the models may have learnt which collection a "
    "recording comes from, and nothing below shows that they recognise an emergency.",
    "UNPROVEN": "It could not be checked whether the recordings give the class away without words (too few groups of "
    "clips of both classes), so the figures below may be worth nothing.",
    "SYNTHETIC": "These figures come from synthetic speech: they show that the system works from end to end, and say "
    "nothing about real callers. The silence in the recordings does not give the class away (AUC {0:.2f}, at most "
    "{limit} may be).",
    "VALID": "The silence in the recordings does not give the class away (AUC {0:.2f}, at most {limit} may be), so the "
    "figures below are about what callers say and how they sound.",
}


def _as_live_calls(measured: Measured) -> list[str]:
    """What the alert policy makes of calls under way, with words and without."""
    return [_of_policy(given, found) for given, found in measured.alerts.items()]


def _of_policy(given: str, found: AlertFindings) -> str:
    alarms, delays = found.false_alarms, found.delays
    start = (
        f"The alert policy of live calls, given {given}, raises {alarms.per_hour.value:.1f} false alerts an hour "
        f"({alarms.per_hour.low:.1f} to {alarms.per_hour.high:.1f})"
    )
    if delays.counted == 0:
        return f"{start}; in all {delays.calls} calls one was raised before the emergency began."
    if np.isnan(delays.median_s):
        return f"{start}; in half of the emergencies or more it raises none."
    return (
        f"{start}; in half of the emergencies it raises one within {delays.median_s:.1f} s, in "
        f"{delays.missed.value:.0%} none."
    )


def _while_it_goes_on(measured: Measured) -> str:
    alarms, delays = measured.false_alarms, measured.delays
    rate = (
        f"Listening all the time to normal sound it would raise {alarms.per_hour.value:.1f} false alarms an hour "
        f"({alarms.per_hour.low:.1f} to {alarms.per_hour.high:.1f})"
    )
    if delays.counted == 0:
        return f"{rate}; in all {delays.calls} calls under way one was sounding before the emergency began."
    early = f" (in {delays.early / delays.calls:.0%} an alarm was sounding before)" if delays.early else ""
    if np.isnan(delays.median_s):
        return f"{rate}; in calls under way{early} it missed half of the emergencies or more."
    return (
        f"{rate}; half of the emergencies in calls under way{early} are heard within {delays.median_s:.1f} s, "
        f"{delays.missed.value:.0%} are missed."
    )
