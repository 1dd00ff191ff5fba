"""The part of the page that is about calls under way: single windows, and the alert policy of live calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from preprocess_service.contract import AlertFigures, AlertSettings
from training.report import plots
from training.report.alarms import MERGED_S, Delays, FalseAlarms
from training.report.findings import Findings, Model
from training.report.html import Markup, notice, paragraph, picture, table
from training.report.words import measured_on, share, waited

_ROWS: Final[Mapping[str, Callable[[FalseAlarms, Delays], str]]] = {
    "normal sound listened to": lambda alarms, _: f"{alarms.hours:.2f} h in {alarms.recordings} calls",
    "false alarms an hour": lambda alarms, _: share(alarms.per_hour, 1),
    "false alarms counted": lambda alarms, _: str(alarms.alarms),
    "share of windows that alarm": lambda alarms, _: share(alarms.alarming_share),
    "calls with an emergency": lambda _, delays: str(delays.calls),
    "of these, alarms sounding before it began": lambda _, delays: str(delays.early),
    "missed, of the others": lambda _, delays: share(delays.missed),
    "delay, median": lambda _, delays: waited(delays, delays.median_s),
    "delay, 90th percentile": lambda _, delays: waited(delays, delays.p90_s),
}


def streams(findings: Findings, model: Model) -> list[Markup]:
    """One table with a column for each way of listening, the policy and what was promised of it, and a picture."""
    alarms, delays = model.measured.false_alarms, model.measured.delays
    calls = f"n = {alarms.recordings} long calls and {delays.calls} calls with an emergency, made of test clips"
    note = measured_on(findings, calls, model.name)
    columns = {f"single windows (alarms within {MERGED_S:g} s are one)": (alarms, delays)}
    for given, found in model.measured.alerts.items():
        columns[f"alert policy, {given}"] = (found.false_alarms, found.delays)
    rows = [[name, *(figure(*each) for each in columns.values())] for name, figure in _ROWS.items()]
    drawn = plots.streams(alarms, delays, model.measured.metrics.thresholds)
    return [
        table("Listening to calls under way", ["figure (95 %)", *columns], rows, note),
        *_policy(model.contract.alert, with_words=model.contract.text is not None),
        picture(drawn, "Probability over a long normal call, and emergencies heard over time", note),
    ]


def _policy(alert: AlertSettings, *, with_words: bool) -> list[Markup]:
    """What the policy is, and what validation showed of it."""
    named = {"without words": alert.without_transcript}
    if with_words:
        named = {"with words": alert.with_transcript, **named}
    levels = " and ".join(
        f"{name} from {each.raise_at:g} on and until it has been below {each.clear_at:g} for {alert.clear_after_s:g} s"
        for name, each in named.items()
    )
    text = (
        "The alert policy smooths the probability of calls under way with a time constant of "
        f"{alert.time_constant_s:g} s. An alert stands {levels}."
    )
    shown = [_shown(name, each.validation, alert.false_alarms_per_hour) for name, each in named.items()]
    is_kept = all(_keeps(each.validation, alert.false_alarms_per_hour) for each in named.values())
    promise = paragraph(
        f"It was chosen on validation calls for at most {alert.false_alarms_per_hour:g} false alarms an hour: ",
        "; ".join(shown),
        ".",
    )
    return [paragraph(text), promise if is_kept else notice("warn", promise)]


def _keeps(found: AlertFigures, allowed: float) -> bool:
    return found.hours > 0 and found.false_alarms <= allowed * found.hours


def _shown(name: str, found: AlertFigures, allowed: float) -> str:
    if found.at_most_per_hour is None:
        return f"{name} nothing was measured"
    counted = f"{name} there were {found.false_alarms} in {found.hours:.2f} h"
    if not _keeps(found, allowed):
        return f"{counted}, the fewest of all policies tried"
    few = ", too few hours to show it" if found.at_most_per_hour > allowed else ""
    return f"{counted} (at 95 % up to {found.at_most_per_hour:.1f} an hour{few})"
