"""Results for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from loadtest.lag import Distribution
from loadtest.live_result import LiveResult
from loadtest.open_loop import OpenResult
from loadtest.search import Found
from loadtest.servers import Cost

GOOD, BAD, DOUBTFUL = "green", "bold red", "bold yellow"
TIMES = ("n", "p50 ms", "p90 ms", "p99 ms", "max ms")


def live_panel(result: LiveResult, cost: Cost) -> Group:
    """One run of live calls."""
    rows = [
        ("lag, all calls up", result.lag),
        ("lag, whole run", result.lag_all),
        ("lag from sending", result.lag_from_sending),
        ("lag by the service's clock", result.service_lag),
        *((f"lag from {start_s:g} s", lag) for start_s, lag in result.lag_over_time.items()),
        ("generator late by", result.lateness),
    ]
    facts = [
        ("model", ", ".join(result.models)),
        (
            "updates",
            f"{result.updates}; {result.hops_judged} of {result.hops_expected} hops, {result.skipped_hops} skipped",
        ),
        ("degradations", _counts({key.removeprefix("DEGRADATION_"): n for key, n in result.degradations.items()})),
        ("calls", f"{_counts(result.statuses)}; {result.refused} refused"),
        *(("said", text) for text in result.details),
        ("held up", f"{result.held_up} messages: the service did not take the one before in time"),
        *_cost_facts(cost, result.audio_s, "ms a second of call audio"),
    ]
    title = f"{result.calls} live calls, {result.audio_s:.0f} s of audio"
    return Group(_times(title, rows), _facts(facts), verdict(result.is_valid, result.shortcomings))


def open_panel(results: Sequence[OpenResult], costs: Sequence[Cost]) -> Group:
    """A row for every rate: times of calls from when they were due, by how much they were sent late (p99), and the
    servers' processor time a call."""
    table = Table(title="unary calls, times from when they were due", title_justify="left")
    for name in ("rate /s", "answered /s", *TIMES[1:], "failed", "late ms", "CPU ms"):
        table.add_column(name, justify="right")
    for result, cost in zip(results, costs, strict=True):
        each = cost.server_cpu_ms_per(result.calls)
        answered, late = f"{result.answered_per_s:g}", f"{result.lateness.p99_ms:.1f}"
        costs_ms = "?" if each is None else f"{each:.1f}"
        failed = str(result.calls - result.latency.count)
        table.add_row(f"{result.rate:g}", answered, *_cells(result.latency)[1:], failed, late, costs_ms)
    reasons = [f"at {each.rate:g}/s {reason}" for each in results for reason in each.shortcomings]
    return Group(table, verdict(all(each.is_valid for each in results), reasons))


def search_panel(found: Found) -> Group:
    """A row for every step and the greatest number of calls that was carried."""
    table = Table(title="search", title_justify="left")
    for name in ("calls", "p50 ms", "p99 ms", "max ms", "skipped", "shortcomings"):
        table.add_column(name, justify="left" if name == "shortcomings" else "right")
    for step in found.steps:
        lag = step.lag
        reasons = "; ".join(step.shortcomings) if step.is_valid else "not valid: the generator was late"
        times = (f"{lag.p50_ms:.0f}", f"{lag.p99_ms:.0f}", f"{lag.max_ms:.0f}")
        table.add_row(str(step.calls), *times, str(step.skipped_hops), reasons)
    return Group(table, Text(f"{found.calls} calls are carried; ended by: {found.ended_by}", style=GOOD))


def verdict(is_valid: bool, shortcomings: Sequence[str]) -> Text:
    """Whether the run may be believed, and what it found wrong."""
    if not is_valid:
        return Text("NOT VALID: the generator was too late, or sent nothing", style=DOUBTFUL)
    if shortcomings:
        return Text("NOT CARRIED: " + "; ".join(shortcomings), style=BAD)
    return Text("carried", style=GOOD)


def _cost_facts(cost: Cost, units: float, unit: str) -> list[tuple[str, str]]:
    each = cost.server_cpu_ms_per(units)
    spent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in cost.cpu_s.items())
    of_servers = "not all servers' processes were found" if each is None else f"servers {each:g} {unit}"
    facts = [("processor time", f"{spent} in {cost.wall_s:.1f} s; {of_servers}")]
    for name, model in (cost.models or {}).items():
        figures = model.to_dict()
        batches = ", ".join(f"{size}: {count}" for size, count in figures["batches"].items())
        queue = f"queue {figures['mean_queue_ms']:g} ms, computing {figures['mean_compute_ms']:g} ms a request"
        facts.append((f"Triton, {name}", f"{model.inferences} rows, mean batch {figures['mean_batch']:g}; {queue}"))
        facts.append(("batches", f"{batches} (rows: executions)"))
    if cost.models is None:
        facts.append(("Triton", "did not give its statistics"))
    return facts


def _times(title: str, rows: Iterable[tuple[str, Distribution]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("time")
    for name in TIMES:
        table.add_column(name, justify="right")
    for name, times in rows:
        table.add_row(name, *_cells(times))
    return table


def _cells(times: Distribution) -> tuple[str, ...]:
    return (str(times.count), *(f"{each:.1f}" for each in (times.p50_ms, times.p90_ms, times.p99_ms, times.max_ms)))


def _facts(facts: Iterable[tuple[str, str]]) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    for name, text in facts:
        grid.add_row(Text(name, style="dim"), Text(text))
    return grid


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
