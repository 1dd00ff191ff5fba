"""Findings of a load report made by hand, for what it says about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from client.results import ModelInfo
from loadtest.closed_loop import ClosedResult
from loadtest.lag import Distribution
from loadtest.live_result import Limits, LiveResult
from loadtest.open_loop import OpenResult
from loadtest.report.findings import Findings
from loadtest.report.measuring import Full, Live, LiveStep, Round, Step, Unary
from loadtest.report.plan import Plan
from loadtest.search import find_most
from loadtest.servers import Cost
from loadtest.triton_statistics import ModelCounts

CPU_S = {"service": 1.0, "triton": 0.5, "generator": 0.1, "others": 0.0}
AROUND = {
    "date": "2026-11-25T12:00:00+00:00",
    "commit": "0123456789abcdef",
    "uncommitted_changes": False,
    "machine": {
        "processor": "a <processor>",
        "cores": 2,
        "memory_gib": 8.0,
        "system": "Linux",
        "load_before": [0.1, 0.1, 0.1],
    },
    "versions": {"python": "3.11", "triton": "2.51.0"},
}


def model(version: str = "1") -> ModelInfo:
    return ModelInfo(
        *("multimodal", version, True, 7.0, True, (), (), 0.5, 0.5, 0.3, 0.3, (), True, "int8", "CPU"), {}, "corpus"
    )


def times(p50_ms: float, p99_ms: float) -> Distribution:
    return Distribution(100, p50_ms, (p50_ms + p99_ms) / 2, p99_ms, p99_ms)


def cost(seconds: float = 1.5, others_s: float = 0.0) -> Cost:
    counts = ModelCounts(120, 100, 110, 110_000_000, 550_000_000, Counter({1: 80, 2: 20}))
    return Cost(seconds, {**CPU_S, "others": others_s}, {"multimodal 1": counts}, {})


def step(
    rate: float, p50_ms: float, p99_ms: float, *, failed: int = 0, late_ms: float = 1.0, others_s: float = 0.0
) -> Step:
    statuses = {"OK": 100} | ({"RESOURCE_EXHAUSTED": failed} if failed else {})
    late = Distribution(100, late_ms, late_ms, late_ms, late_ms)
    answered = rate * 100 / (100 + failed)
    shared = (times(p50_ms, p99_ms), times(p50_ms, p99_ms), statuses, late, 50.0)
    return Step(OpenResult(rate, 1.0, 100 + failed, answered, *shared), cost(others_s=others_s))


def unary(rounds: Sequence[Sequence[Step]], saturation: float = 100.0) -> Unary:
    stages = {"wait_ms": 0.1, "decode_ms": 1, "audio_ms": 2, "text_ms": 1, "inference_ms": 4, "total_ms": 8}
    alone = ClosedResult(1, 1.0, 100, 100.0, times(10, 20), {"OK": 100}, stages)
    full = ClosedResult(32, 1.0, 100, saturation, times(200, 400), {"OK": 100}, stages)
    rates = tuple(each.result.rate for each in rounds[0])
    made = tuple(Round(alone, Full(full, cost()), tuple(steps)) for steps in rounds)
    return Unary(saturation, rates, tuple(rate / saturation for rate in rates), made)


def live_step(calls: int, p99_ms: float) -> LiveStep:
    lag = times(p99_ms / 2, p99_ms)
    late = Distribution(10, 1, 1, 1, 1)
    result = LiveResult(
        *(calls, 10.0, lag, lag, lag, lag, {}, 10, 10, 10, 0, {}, 0, {"OK": calls}, [], late, 0, [], Limits())
    )
    return LiveStep(result, cost())


def live(calls: int, p99s_ms: Sequence[float]) -> Live:
    """A search from so many calls whose steps have these lags."""
    searched: list[LiveStep] = []

    def measure(number: int) -> LiveResult:
        searched.append(live_step(number, p99s_ms[len(searched)]))
        return searched[-1].result

    found = find_most(measure, calls, 5000, 60 if len(p99s_ms) > 1 else 0, pause_s=0)
    return Live((live_step(calls, p99s_ms[0]), live_step(calls, p99s_ms[0] * 1.1)), tuple(searched), found)


def findings(made: Unary, calls: Live | None = None, *, after: str = "1", **plan: object) -> Findings:
    around = {**AROUND}
    number = calls.repeats[0].result.calls if calls else 0
    planned = Plan(rounds=len(made.rounds), live_calls=number, **plan)  # type: ignore[arg-type]
    return Findings(around, model(), model(after), planned, 100.0, made, calls, {"sound": 0.8, "words": 0.4})
