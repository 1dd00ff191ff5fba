"""The figures that a later run is compared by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from loadtest.figures import Figure
from loadtest.report.points import Band

if TYPE_CHECKING:
    from loadtest.report.findings import Findings


def figures(findings: Findings) -> list[Figure]:
    """All that could be measured."""
    return [*_unary(findings), *_live(findings)]


def _unary(findings: Findings) -> Iterator[Figure]:
    yield _higher("answered at saturation", "calls/s", findings.saturation)
    yield _lower("p50 alone", "ms", findings.alone)
    yield _lower("p99 alone", "ms", Band.of(each.alone.latency.p99_ms for each in findings.unary.rounds))
    if findings.held is not None:
        yield _higher(f"load held with p99 up to {findings.limit_ms:g} ms", "calls/s", findings.held)
    if findings.knee is not None:
        yield _higher("knee", "calls/s", findings.knee)
    point, at = findings.compared, _where(findings)
    if point.p50.low > 0:  # else a round answered nothing: no time is not a short one
        yield _lower(f"p50 {at}", "ms", point.p50)
        yield _lower(f"p90 {at}", "ms", point.p90)
        yield _lower(f"p99 {at}", "ms", point.p99)
    if point.server_cpu_ms is not None:
        yield _lower(f"servers' processor time a call {at}", "ms", point.server_cpu_ms)
    last = findings.points[-1]
    yield _higher(f"answered {_at(findings, last.fraction, last.rate)}", "calls/s", last.answered_per_s)


def _live(findings: Findings) -> Iterator[Figure]:
    live, calls = findings.live, findings.plan.live_calls
    if live is None:
        return
    results = [step.result for step in live.repeats if step.result.lag.count]
    if results:
        yield _lower(f"p50 lag of {calls} live calls", "ms", Band.of(each.lag.p50_ms for each in results))
        yield _lower(f"p99 lag of {calls} live calls", "ms", Band.of(each.lag.p99_ms for each in results))
    costs = [step.cost.server_cpu_ms_per(step.result.audio_s) for step in live.repeats]
    known = [cost for cost in costs if cost is not None]
    if known:
        yield _lower(f"servers' processor time a second of call at {calls} live calls", "ms", Band.of(known))
    if findings.live_carried is not None and findings.plan.live_search_s:
        # The bracket that the search ends with is all that is known of its noise.
        yield _higher("live calls carried", "calls", Band.of(float(each) for each in findings.live_carried))


def _where(findings: Findings) -> str:
    return _at(findings, findings.compared.fraction, findings.compared.rate)


def _at(findings: Findings, fraction: float, rate: float) -> str:
    """The load as its share of saturation, or as it was given."""
    return f"at {rate:g} calls/s" if findings.plan.rates else f"at {fraction:.0%} of saturation"


def _lower(name: str, unit: str, band: Band) -> Figure:
    return Figure(name, unit, "lower", band.values)


def _higher(name: str, unit: str, band: Band) -> Figure:
    return Figure(name, unit, "higher", band.values)
