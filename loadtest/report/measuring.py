"""What the report is about, measured: unary calls in rounds, live calls, and the stages of a live call."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import psutil  # type: ignore[import-untyped]

from loadtest.closed_loop import OK, ClosedResult, send_in_turn
from loadtest.generators import TapePlan, start_generators
from loadtest.live import LiveTarget
from loadtest.live_result import Limits, LiveResult, summarise
from loadtest.open_loop import OpenResult, UnaryTarget, send_openly
from loadtest.report.plan import Plan
from loadtest.search import PAUSE_S, Found, calls_up, find_most
from loadtest.servers import SERVERS, Cost, Meter, Servers

Say = Callable[[str], None]

REST_S: Final = 0.3  # between two loads: what is queued is answered by then
OTHERS: Final = "others"  # programs that have nothing to do with the measurement
LIVE_MOST: Final = 5000


class NothingAnswered(Exception):
    """The service answered no call, so that there is nothing to report."""


@dataclass(frozen=True)
class Full:
    """So many callers at once that there is always more to do."""

    result: ClosedResult
    cost: Cost


@dataclass(frozen=True)
class Step:
    """One offered load in one round."""

    result: OpenResult
    cost: Cost


@dataclass(frozen=True)
class Round:
    """One caller, many callers, and every load once."""

    alone: ClosedResult
    full: Full
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Unary:
    """All rounds; `rates` are the loads of each of them, `fractions` what part of saturation they were meant to be."""

    first_guess_per_s: float
    rates: tuple[float, ...]
    fractions: tuple[float, ...]
    rounds: tuple[Round, ...]


@dataclass(frozen=True)
class LiveStep:
    """So many live calls, held once."""

    result: LiveResult
    cost: Cost


@dataclass(frozen=True)
class Live:
    """Live calls: the same number several times, and a search for the most that are carried, which starts there."""

    repeats: tuple[LiveStep, ...]
    searched: tuple[LiveStep, ...]
    found: Found


def measure_unary(
    target: UnaryTarget, servers: Servers, requests: Sequence[bytes], plan: Plan, seed: int, limit_ms: float, say: Say
) -> Unary:
    """Measures in rounds; raises NothingAnswered."""

    def closed(callers: int, seconds: float, first: int = 0) -> ClosedResult:
        return asyncio.run(send_in_turn(target, requests, callers, seconds, first))

    say(f"warming up for {plan.warm_up_s:g} s")
    closed(plan.full_callers // 2, plan.warm_up_s)
    guess = closed(plan.full_callers, plan.full_s)
    _check_answered(target, guess)
    rates = tuple(plan.rates) or tuple(_rounded(guess.answered_per_s * each) for each in plan.fractions)
    rounds = []
    for number in range(plan.rounds):
        say(f"round {number + 1} of {plan.rounds}: {', '.join(f'{rate:g}' for rate in rates)} calls a second")
        alone = closed(1, plan.alone_s, first=number * len(requests) // plan.rounds)
        with _metered(servers) as costs:
            full = closed(plan.full_callers, plan.full_s)
        _check_answered(target, alone)
        _check_answered(target, full)
        steps = []
        for rate in rates:
            time.sleep(REST_S)
            with _metered(servers) as step_costs:
                run = send_openly(target, requests, rate, plan.seconds, seed + number, limit_ms)
                result = asyncio.run(run)
            steps.append(Step(result, step_costs[0]))
        rounds.append(Round(alone, Full(full, costs[0]), tuple(steps)))
    saturation = statistics.median(each.full.result.answered_per_s for each in rounds)
    fractions = tuple(rate / saturation for rate in rates) if plan.rates else tuple(plan.fractions)
    return Unary(guess.answered_per_s, rates, fractions, tuple(rounds))


def measure_live(
    target: LiveTarget, servers: Servers, tapes: TapePlan, plan: Plan, limits: Limits, processes: int, say: Say
) -> Live:
    """Holds `plan.live_calls` once to warm up and several times more, then searches; raises GeneratorFailed."""
    searched: list[LiveStep] = []
    with start_generators(target, tapes, processes) as generators:

        def hold(calls: int) -> LiveStep:
            meter = Meter(servers, generators.pids)
            readings = generators.hold(calls)
            step = LiveStep(summarise(readings, limits), meter.stop())
            say(f"{calls} live calls: p99 lag {step.result.lag.p99_ms:.0f} ms")
            return step

        generators.hold(plan.live_calls)  # warms up what only live calls need; not counted
        repeats = []
        for _ in range(plan.live_repeats):
            repeats.append(hold(plan.live_calls))
            time.sleep(PAUSE_S)
        first = sorted(repeats, key=lambda each: each.result.lag.p99_ms)[len(repeats) // 2]

        def measure(calls: int) -> LiveResult:
            searched.append(first if not searched else hold(calls))
            return searched[-1].result

        found = find_most(measure, plan.live_calls, LIVE_MOST, plan.live_search_s)
    return Live(tuple(repeats), tuple(searched), found)


def bracket(found: Found) -> tuple[int, int] | None:
    """The most calls that were carried, and how many more would not have been or were not tried; None if none were."""
    if not found.calls:
        return None
    failed = [step.calls for step in found.steps if step.calls > found.calls]
    return found.calls, min(failed, default=calls_up(found.calls))


@contextmanager
def _metered(servers: Servers) -> Iterator[list[Cost]]:
    """What the servers, this process, which makes the load, and all others spend; in the list after the block."""
    meter, busy_s, costs = Meter(servers, [os.getpid()]), _busy_s(), list[Cost]()
    yield costs
    busy_s = _busy_s() - busy_s
    cost = meter.stop()
    if all(name in cost.cpu_s for name in SERVERS):  # else they would be among the others
        others_s = max(0.0, busy_s - sum(cost.cpu_s.values()))
        cost = replace(cost, cpu_s={**cost.cpu_s, OTHERS: round(others_s, 3)})
    costs.append(cost)


def _busy_s() -> float:
    """Processor seconds so far of all that runs on this machine."""
    times = psutil.cpu_times()
    return float(times.user + times.system + sum(getattr(times, name, 0.0) for name in ("nice", "irq", "softirq")))


def _rounded(rate: float) -> float:
    """To a whole number of calls a second, where there are enough."""
    return float(max(1, round(rate))) if rate >= 10 else round(rate, 2)


def _check_answered(target: UnaryTarget, result: ClosedResult) -> None:
    if not result.statuses.get(OK):
        statuses = ", ".join(f"{name} {count}" for name, count in sorted(result.statuses.items())) or "none was sent"
        raise NothingAnswered(f"{target.address} answered none of {result.calls} calls: {statuses}")
