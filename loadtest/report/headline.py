"""The answer in plain words, for whoever runs the platform."""

from __future__ import annotations

from dataclasses import dataclass

from loadtest.report.findings import Findings
from loadtest.report.points import Point


@dataclass(frozen=True)
class Answer:
    """One question's answer: a figure large enough to be seen first, and what it means."""

    figure: str
    meaning: str


def answers(findings: Findings) -> list[Answer]:
    """The most important one first."""
    return [_held(findings), _knee(findings), _saturation(findings), _alone(findings), *_live(findings)]


def headline(findings: Findings) -> str:
    """All of it in one line, for a terminal."""
    return "; ".join(f"{each.figure} {each.meaning}" for each in answers(findings))


def _held(findings: Findings) -> Answer:
    limit, rate = findings.limit_ms, findings.held_rate
    if rate is None:
        lowest = findings.points[0]
        return Answer("no load", f"is held with a p99 of at most {limit:g} ms: at {lowest.rate:g}/s {_why(lowest)}")
    point = next(each for each in findings.points if each.rate == rate)
    meaning = f"are held: every call is answered, 99 of 100 within {point.p99.median:.0f} ms (limit {limit:g} ms)"
    above = next((each for each in findings.points if each.rate > rate), None)
    if above is not None:
        meaning += f"; at {above.rate:g}/s, the next load that was tried, {_why(above)}"
    return Answer(f"{rate:g} calls/s", meaning)


def _why(point: Point) -> str:
    """What is wrong with a load that is not held."""
    if point.failed:
        return f"{sum(point.failed.values())} of {point.calls} calls failed"
    if not point.is_valid:
        return "the generator was late"
    return f"the p99 is {point.p99.median:.0f} ms"


def _knee(findings: Findings) -> Answer:
    if findings.knee is None:
        return Answer("no knee", "among the loads that were tried: it lies below the lowest or above the highest")
    share = findings.knee.median / findings.saturation.median
    return Answer(
        f"{findings.knee.median:.0f} calls/s",
        f"is the knee, at {share:.0%} of saturation: beyond it one per cent more load costs more than one per cent "
        "more time",
    )


def _saturation(findings: Findings) -> Answer:
    band = findings.saturation
    return Answer(
        f"{band.median:.0f} calls/s",
        f"is what it answers when there is always more to do ({findings.plan.full_callers} callers who wait; in single "
        f"rounds {band.low:.0f} to {band.high:.0f})",
    )


def _alone(findings: Findings) -> Answer:
    return Answer(f"{findings.alone.median:.1f} ms", "is what a call takes in the median while no other is under way")


def _live(findings: Findings) -> list[Answer]:
    live = findings.live
    if live is None:
        return []
    carried = findings.live_carried
    if carried is None:
        fewest = min(live.found.steps, key=lambda step: step.calls)
        reason = "; ".join(fewest.shortcomings) or "the generator was late"
        return [Answer("no live calls", f"were carried; with {fewest.calls} at once: {reason}")]
    step = next(each for each in live.found.steps if each.calls == carried[0] and not each.shortcomings)
    p99 = f"99 of 100 updates came within {step.lag.p99_ms:.0f} ms of their audio (limit {step.limits.lag_ms:g} ms)"
    failed = [each for each in live.found.steps if each.calls > carried[0]]
    if failed:
        tried = min(failed, key=lambda each: each.calls)
        reason = "; ".join(tried.shortcomings) or "the generator was late"
        return [Answer(f"{carried[0]} live calls", f"at once are carried: {p99}; {tried.calls} are not: {reason}")]
    return [Answer(f"{carried[0]} live calls", f"at once are carried, and more were not tried: {p99}")]
