"""The tables of the sizing page, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from loadtest.markdown import number, table
from loadtest.sizing.capacity import Capacity, calls_need, unary_need
from loadtest.sizing.comparison import TOLERANCE, Saturation, live_at, this_node, unary_at
from loadtest.sizing.inputs import Inputs
from preprocess_service.settings import Settings

if TYPE_CHECKING:
    from loadtest.sizing.command import Measured

CALLS = (1_000, 100_000)
UNARY_RATE = 1_000
MS_A_S = 1000


def tables(
    inputs: Inputs,
    settings: Settings,
    measured: Measured,
    unary: Saturation | None,
    live: Saturation | None,
    machines: Sequence[Capacity],
    peak_to_mean: float,
) -> str:
    """Everything that is measured or simulated, under the headings of the page."""
    parts = [
        ("Inputs", _where(measured), _inputs(inputs)),
        ("Measured and simulated", _unary(inputs, settings, measured), _live(inputs, settings, measured),
         _saturation(unary, live)),
        ("What one machine carries", _machines(machines)),
        ("What is needed", _needs(machines, peak_to_mean)),
    ]  # fmt: skip
    return "\n\n".join(f"### {title}\n\n" + "\n\n".join(filter(None, texts)) for title, *texts in parts)


def _where(measured: Measured) -> str:
    lines = []
    for part, around in measured.around.items():
        machine, versions = around["machine"], around["versions"]
        commit = str(around["commit"])[:10] + (" and changes" if around["uncommitted_changes"] else "")
        lines.append(
            f"- {part}: {around['date']}, {machine['processor']}, {machine['cores']} cores, "
            f"Python {versions['python']}, Triton {versions['triton']}, commit {commit}"
        )
    return "\n".join(lines)


def _inputs(inputs: Inputs) -> str:
    unary, live, triton = inputs.unary, inputs.live, inputs.triton
    features_s = sum(each.features_s for each in unary.requests) / len(unary.requests)
    rows = sum(each.rows for each in unary.requests) / len(unary.requests)
    shape = inputs.batcher
    figures = [
        ("unary: gRPC and event loop of the service", _ms(unary.loop_s)),
        (f"unary: features (mean of {len(unary.requests)} requests, {rows:.2f} rows each)", _ms(features_s)),
        ("unary: load generator", _ms(unary.generator_s)),
        ("live: a message of 200 ms", _ms(live.message_s)),
        ("live: a batch of hops, in the event loop", _ms(live.batch_s)),
        ("live: a hop in it, in the event loop", _ms(live.hop_s)),
        ("live: a hop in it, features", _ms(live.features_s)),
        ("live: load generator, a second of a call", _ms(live.generator_s)),
        *((f"Triton: one request of {rows} rows", _ms(cost)) for rows, cost in triton.batch_s.items()),
        ("Triton: each further request of a batch", _ms(triton.request_s)),
        ("live: share of hops for which Triton is asked", number(live.asked, 2)),
        ("cores together, in cores alone", number(inputs.speeds[-1], 2)),
        ("processes of the service", str(inputs.processes)),
        ("Triton: instances, rows of a batch at most", f"{shape.instances}, {shape.max_batch}"),
    ]
    return table(("ms of one core, unless said otherwise", inputs.model), figures)


def _unary(inputs: Inputs, settings: Settings, measured: Measured) -> str:
    rows = []
    for step in measured.unary:
        there = unary_at(inputs, this_node(inputs, settings, others=step.others), step.rate, step.seconds)
        rows.append(
            (
                number(step.rate, 0),
                *_beside(step.answered_per_s, there.answered_per_s, 0),
                *_beside(step.p50_ms, there.latency.p50_ms, 0),
                *_beside(step.p99_ms, there.latency.p99_ms, 0),
                *_beside(step.mean_batch, _mean(there.batches), 2),
                *_beside(step.cores_busy, there.cores_busy, 2),
                number(step.others, 2),
            )
        )
    names = ("answered /s", "p50 ms", "p99 ms", "rows a batch", "cores busy")
    return table(("unary /s", *_twice(names), "cores used by others"), rows, texts=0) if rows else ""


def _live(inputs: Inputs, settings: Settings, measured: Measured) -> str:
    rows = []
    for step in sorted(measured.live, key=lambda each: each.calls):
        there = live_at(inputs, this_node(inputs, settings, others=step.others), step.calls, step.seconds)
        rows.append(
            (
                str(step.calls),
                *_beside(step.p50_ms, there.lag.p50_ms, 0),
                *_beside(step.p99_ms, there.lag.p99_ms, 0),
                *_beside(step.skipped_hops, there.skipped_hops, 0),
                *_beside(step.mean_batch, _mean(there.batches), 2),
                *_beside(step.cores_busy, there.cores_busy, 2),
                number(step.others, 2),
            )
        )
    names = ("lag p50 ms", "lag p99 ms", "skipped hops", "rows a batch", "cores busy")
    return table(("live calls", *_twice(names), "cores used by others"), rows, texts=0) if rows else ""


def _saturation(unary: Saturation | None, live: Saturation | None) -> str:
    rows = []
    for name, found in (("unary, answered a second", unary), ("live calls", live)):
        if found is None:
            rows.append((name, "not measured", "–", "–", "no"))
            continue
        apart = "–" if found.apart is None else f"{found.apart:+.0%}"
        within = "yes" if found.is_reproduced else f"no: {found.why}" if found.why else "no"
        rows.append((name, number(found.measured, 0), number(found.simulated, 0), apart, within))
    return table(("saturation", "measured", "simulated", "apart", f"within {TOLERANCE:.0%}"), rows)


def _machines(machines: Sequence[Capacity]) -> str:
    rows = [
        (
            str(each.cores),
            str(each.calls),
            number(each.calls / each.cores, 0),
            number(each.outcome.lag.p99_ms, 0),
            number(_mean(each.outcome.batches), 2),
            number(each.outcome.cores_busy / each.cores, 2),
            number(each.unary_per_s, 0),
            number(each.unary_per_s / each.cores, 0),
            number(each.unary.latency.p99_ms, 0),
            str(each.with_gpu_calls),
            number(each.with_gpu_unary_per_s, 0),
        )
        for each in machines
    ]
    header = (
        *("cores", "live calls", "a core", "lag p99 ms", "rows a batch", "share of cores busy"),
        *("unary /s at 70 %", "a core", "p99 ms", "live calls, inference elsewhere", "unary /s at 70 %, the same"),
    )
    return table(header, rows, texts=0)


def _needs(machines: Sequence[Capacity], peak_to_mean: float) -> str:
    rows = []
    for calls in CALLS:
        for peak, why in ((1.0, "in the busiest hour"), (peak_to_mean, "on the day's mean")):
            for each in machines:
                need = calls_need(calls, peak, each.calls, each.cores)
                gpu = calls_need(calls, peak, each.with_gpu_calls, each.cores)
                name = f"{calls:,} live calls at once {why}"
                figures = (need.provided, need.machines, need.cores, gpu.cores)
                rows.append((name, str(each.cores), *(f"{figure:,}" for figure in figures)))
    for each in machines:
        need = unary_need(UNARY_RATE, each.unary_per_s, each.cores)
        gpu = unary_need(UNARY_RATE, each.with_gpu_unary_per_s, each.cores)
        figures = (need.provided, need.machines, need.cores, gpu.cores)
        rows.append((f"{UNARY_RATE:,} unary a second", str(each.cores), *(f"{figure:,}" for figure in figures)))
    header = ("wanted", "cores of a machine", "provided for", "machines", "cores in all", "cores, inference on GPUs")
    return table(header, rows)


def _mean(batches: dict[int, int]) -> float:
    count = sum(batches.values())
    return sum(rows * times for rows, times in batches.items()) / count if count else 0.0


def _beside(measured: float, simulated: float, digits: int) -> tuple[str, str]:
    return number(measured, digits), number(simulated, digits)


def _twice(names: Sequence[str]) -> list[str]:
    return [each for name in names for each in (name, "simulated")]


def _ms(seconds: float) -> str:
    return number(MS_A_S * seconds, 2)
