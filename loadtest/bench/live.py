"""Live calls: whether the number to be reached is held, and what they cost beside their arithmetic."""

from __future__ import annotations

from typing import Any, Final

from loadtest.bench.rows import LIVE, LIVE_CPU, Row
from loadtest.bench.setting import Setting
from loadtest.generators import TapePlan, start_generators
from loadtest.live import LiveTarget
from loadtest.live_result import Limits, LiveResult, summarise
from loadtest.servers import Cost, Meter, Servers

CALLS: Final = 240
TAPES: Final = 64
WITH_TRANSCRIPT: Final = 0.5  # of the calls
CALL_S: Final = 24.0  # windows are whole after 7 s
FEATURES: Final = ("sound", "words", "window")  # of loadtest.stages; the rest is what a service adds
STAGE_CALLS, STAGE_S = 20, 10
TURNS: Final = 2  # of the arithmetic; Java is warm by then


def live(setting: Setting) -> list[Row]:
    """One run of CALLS calls for both rows; `make live-capacity` searches how many more are held."""
    result, cost = _hold(setting)
    lag = f"{result.lag.p50_ms:.0f} ms p50, {result.lag.max_ms:.0f} ms longest"
    found = list(result.shortcomings)
    if not result.is_valid:
        found.append(f"not valid: the generator was {result.lateness.p99_ms:.0f} ms late (p99)")
    precision = setting.graph.precision
    rows = [Row(LIVE, precision, [result.lag.p99_ms], [lag], found)]
    each_ms = cost.server_cpu_ms_per(result.audio_s)
    if each_ms is None:
        return [*rows, Row(LIVE_CPU, precision, shortcomings=["the servers' processes were not found"])]
    return [*rows, _cost(setting, each_ms, cost, result)]


def _hold(setting: Setting) -> tuple[LiveResult, Cost]:
    stack = setting.stack
    target = LiveTarget(stack.address)
    plan = TapePlan(setting.plan.clips, TAPES, CALL_S, transcript_share=WITH_TRANSCRIPT, seed=setting.plan.seed)
    servers = Servers(stack.address, stack.triton_address, stack.metrics_url, stack.pids)
    with start_generators(target, plan, 1) as generators:
        meter = Meter(servers, generators.pids)
        readings = generators.hold(CALLS)
        return summarise(readings, Limits()), meter.stop()


def _cost(setting: Setting, each_ms: float, cost: Cost, result: LiveResult) -> Row:
    """Against the features of a second of a call, words only where there are transcripts, and one inference."""
    workers = setting.workers
    workers.ask("live", calls=STAGE_CALLS, seconds=1)
    turns = [workers.ask("live", calls=STAGE_CALLS, seconds=STAGE_S)["ms_a_second"] for _ in range(TURNS)]
    inference = [workers.do("graph", batch=1, seconds=setting.plan.stretch_s / 2).cpu_ms for _ in range(TURNS)]
    arithmetic = [_features_ms(stages) + graph_ms for stages, graph_ms in zip(turns, inference, strict=True)]
    spent = ", ".join(f"{name} {1000 * seconds / result.audio_s:.2f}" for name, seconds in cost.cpu_s.items())
    parts = ", ".join(f"{stage} {_share(stage) * min(each[stage] for each in turns):.2f}" for stage in FEATURES)
    note = f"{each_ms:.2f} ms ({spent}) against {min(arithmetic):.2f} ms ({parts}, inference {min(inference):.2f})"
    behind = [
        setting.figure("live-cpu", "servers", "ms", "lower", [each_ms]),
        setting.figure("live-cpu", "arithmetic", "ms", "lower", arithmetic),
    ]
    return Row(LIVE_CPU, setting.graph.precision, [each_ms / least for least in arithmetic], [note], (), behind)


def _features_ms(stages: dict[str, Any]) -> float:
    return sum(_share(stage) * float(stages[stage]) for stage in FEATURES)


def _share(stage: str) -> float:
    """Of the calls that have that stage."""
    return WITH_TRANSCRIPT if stage == "words" else 1.0
