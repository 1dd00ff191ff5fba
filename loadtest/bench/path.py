"""The whole path under load: our service beside its arithmetic alone and beside the plain service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from statistics import median
from typing import Final

from loadtest.bench.measured import Work, ratios
from loadtest.bench.rows import CPU, PLAIN_FP32, PLAIN_INT8, TAIL, THROUGHPUT, Row
from loadtest.bench.saturation import Loaded, probability_of
from loadtest.bench.setting import Setting
from loadtest.live_result import Limits
from loadtest.open_loop import OpenResult, UnaryTarget, send_openly

COMPARED: Final = 20  # recordings of which both services' probabilities are compared
LARGEST_DIFFERENCE: Final = 1e-3
TAIL_SHARE: Final = 0.7  # of saturation
TAIL_ROUNDS: Final = 2
OPEN_S: Final = 8.0  # more than a thousand calls
MS_A_S: Final = 1000


def compare(setting: Setting) -> list[Row]:
    """Our service, its limit and, where it runs, the plain service, in turns."""
    ours: list[Loaded] = []
    limits: list[Work] = []
    plains: list[Loaded] = []
    for _ in range(setting.plan.rounds):
        ours.append(setting.saturate_service())
        limits.append(setting.workers.do("whole", seconds=setting.plan.stretch_s))
        if setting.plain is not None:
            plains.append(setting.saturate_plain())
    rows = [_cpu(setting, ours, limits), _throughput(setting, ours, limits)]
    return [*rows, _plain(setting, ours, plains)] if plains else rows


def tail(setting: Setting) -> list[Row]:
    """Calls that come by chance, at TAIL_SHARE of what saturates, beside a caller that is alone."""
    while len(setting.saturated_per_s) < setting.plan.rounds:  # not yet found by `compare`
        setting.saturate_service()
    rate = round(TAIL_SHARE * median(setting.saturated_per_s), 1)
    alone: list[float] = []
    opened: list[OpenResult] = []
    for number in range(TAIL_ROUNDS):
        alone.append(setting.ask_service(1, setting.plan.stretch_s).times.p50_ms)
        target = UnaryTarget(setting.stack.address)
        seed = setting.plan.seed + number
        run = send_openly(target, setting.requests, rate, OPEN_S, seed, Limits.lateness_ms)
        opened.append(asyncio.run(run))
    late = max(each.lateness.p99_ms for each in opened)
    found = [reason for each in opened for reason in each.shortcomings]
    if not all(each.is_valid for each in opened):
        found.append(f"not valid: the generator sent {late:.0f} ms late (p99)")
    p99s = [each.latency.p99_ms for each in opened]
    note = f"p99 {median(p99s):.1f} ms at {rate:g}/s, p50 {median(alone):.1f} ms alone"
    behind = [
        setting.figure("tail", "p99", "ms", "lower", p99s),
        setting.figure("tail", "p50", "ms", "lower", alone),
    ]
    return [Row(TAIL, setting.graph.precision, ratios(p99s, alone), [note], found, behind)]


def _cpu(setting: Setting, ours: Sequence[Loaded], limits: Sequence[Work]) -> Row:
    each, least = [loaded.work.cpu_ms for loaded in ours], [limit.cpu_ms for limit in limits]
    parts = ", ".join(f"{name} {median([loaded.cpu_ms[name] for loaded in ours]):.2f}" for name in ours[0].cpu_ms)
    note = f"{median(each):.2f} ms ({parts}) against {median(least):.2f}"
    behind = [
        setting.figure("cpu", "servers", "ms", "lower", each),
        setting.figure("cpu", "limit", "ms", "lower", least),
    ]
    return Row(CPU, setting.graph.precision, ratios(each, least), [note], (), behind)


def _throughput(setting: Setting, ours: Sequence[Loaded], limits: Sequence[Work]) -> Row:
    each, most = [loaded.work.per_s for loaded in ours], [limit.per_s for limit in limits]
    spent = median([MS_A_S * loaded.work.generator_s / loaded.work.units for loaded in ours])
    note = f"{median(each):.0f}/s against {median(most):.0f}/s; the load itself takes {spent:.2f} ms a request"
    behind = [
        setting.figure("throughput", "service", "1/s", "higher", each),
        setting.figure("throughput", "limit", "1/s", "higher", most),
    ]
    return Row(THROUGHPUT, setting.graph.precision, ratios(each, most), [note], (), behind)


def _plain(setting: Setting, ours: Sequence[Loaded], plains: Sequence[Loaded]) -> Row:
    each, his = [loaded.work.per_s for loaded in ours], [loaded.work.per_s for loaded in plains]
    cpu = median([loaded.work.cpu_ms for loaded in plains])
    notes = [f"{median(each):.0f}/s against {median(his):.0f}/s, which takes {cpu:.2f} ms of processor time each"]
    found, precision = [], setting.graph.precision
    if precision == "fp32":  # int8 answers otherwise, within its gate
        apart = difference(setting)
        notes.append(f"probabilities at most {apart:.1g} apart")
        if not apart <= LARGEST_DIFFERENCE:
            found.append(f"probabilities are {apart:.1g} apart; at most {LARGEST_DIFFERENCE:g}")
    behind = [setting.figure("plain", "plain", "1/s", "higher", his)]
    goal = PLAIN_FP32 if precision == "fp32" else PLAIN_INT8
    return Row(goal, precision, ratios(each, his), notes, found, behind)


def difference(setting: Setting) -> float:
    """By how much the two services' probabilities are apart, at most, over the first recordings."""
    ours, plain = setting.service_user(), setting.plain_user()
    try:
        pairs = [(probability_of(ours.ask(number)), probability_of(plain.ask(number))) for number in range(COMPARED)]
    finally:
        ours.close()
        plain.close()
    return max(abs(one - two) for one, two in pairs)
