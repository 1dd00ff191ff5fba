"""The simulation beside what was measured: the same loads, and where each saturates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

from loadtest.live_result import Limits
from loadtest.pacing import starts_s
from loadtest.sizing.calibration import LIVE_S, LiveStep, UnaryStep
from loadtest.sizing.inputs import Inputs
from loadtest.sizing.live import LiveOutcome, Rhythm, simulate_live
from loadtest.sizing.path import Node, between
from loadtest.sizing.unary import UnaryOutcome, simulate_unary
from preprocess_service.settings import Settings

TOLERANCE: Final = 0.15
SEED: Final = 1
MOST_BY_OTHERS: Final = 0.15  # of the cores: beyond, a measurement tells of them as much as of the service
LEAST_LEFT: Final = 0.05  # of the cores: others never take all
LAG_LIMIT_S: Final = Limits.lag_ms / 1000
PRECISION: Final = 0.01  # of a search
PACE: Final = 1.25  # of its first steps
SEARCH_S: Final = 15.0
SEARCHES: Final = 4  # from far too many requests to FRACTIONS[-1] times what is answered
FRACTIONS: Final = (0.3, 0.6, 0.9, 1.3)  # of the simulated saturation: the rates that are measured
FIRST_FRACTION, STEP, MOST_STEPS = 0.9, 0.15, 4
HOP: Final = Rhythm()


def this_node(inputs: Inputs, settings: Settings, *, others: float = 0.0, has_generator: bool = True) -> Node:
    """The machine that was measured; `others` is how many of its cores other programs use."""
    left = max(LEAST_LEFT, 1 - others / len(inputs.speeds))

    def share(total: int) -> int:  # of one process: settings are totals
        return -(-total // inputs.processes)

    return Node(
        speeds=tuple(speed * left for speed in inputs.speeds) if others else inputs.speeds,
        processes=inputs.processes,
        batcher=inputs.batcher,
        max_in_flight=share(settings.max_in_flight),
        max_waiting=share(settings.max_waiting),
        live_workers=share(settings.live_workers),
        live_batch=min(settings.live_batch, inputs.batcher.max_batch),
        live_gather_s=settings.live_gather_s,
        longest_lag_s=settings.live_longest_lag_s,
        has_generator=has_generator,
    )


def unary_at(inputs: Inputs, node: Node, rate: float, seconds: float) -> UnaryOutcome:
    return simulate_unary(node, inputs.unary, inputs.triton, rate, seconds, SEED)


def live_at(inputs: Inputs, node: Node, calls: int, seconds: float) -> LiveOutcome:
    """Calls as `python -m loadtest live` holds them: spread evenly over the hop, watched while all are up."""
    starts = starts_s(calls, HOP.hop_s)
    watch_s = (max(starts), min(starts) + seconds)
    each = [(start, seconds) for start in starts]
    return simulate_live(node, inputs.live, inputs.triton, each, watch_s, HOP, SEED)


def unary_saturation(inputs: Inputs, node: Node, seconds: float = SEARCH_S) -> float:
    """Requests a second that are answered when a good deal more come."""
    answered = guessed_rate(inputs, node)
    for _ in range(SEARCHES):
        answered = unary_at(inputs, node, FRACTIONS[-1] * answered, seconds).answered_per_s
    return answered


def guessed_rate(inputs: Inputs, node: Node) -> float:
    """About as many requests a second as fill the cores if each is a batch: refusals would take the service's time if
    it were far too many."""
    unary = inputs.unary
    each_s = unary.loop_s + (unary.generator_s if node.has_generator else 0)
    each_s += fmean(each.features_s + between(inputs.triton.batch_s, each.rows) for each in unary.requests)
    return node.speeds[-1] / each_s


def live_saturation(inputs: Inputs, node: Node, seconds: float = LIVE_S) -> int:
    """The most calls that are carried; 0 for none."""
    return most(
        lambda calls: live_at(inputs, node, calls, seconds).is_carried(LAG_LIMIT_S), first=guessed_calls(inputs, node)
    )


def guessed_calls(inputs: Inputs, node: Node) -> int:
    """About as many live calls as fill the cores if every hop is judged alone."""
    live, triton = inputs.live, inputs.triton
    each_s = live.message_s * HOP.hop_s / HOP.message_s + live.batch_s + live.hop_s + live.features_s
    each_s += live.asked * between(triton.batch_s, 1) + (live.generator_s if node.has_generator else 0)
    return max(1, round(node.speeds[-1] * HOP.hop_s / each_s))


def most(is_carried: Callable[[int], bool], first: int) -> int:
    """The largest number that is carried, to a hundredth, if every smaller one is, too; `first` is a guess, from which
    it goes up or down; 0 where none is carried."""
    low, high = 0, 0
    number = max(1, first)
    while not (low and high):
        if is_carried(number):
            low, number = number, max(number + 1, round(number * PACE))
        else:
            high, number = number, min(number - 1, round(number / PACE))
            if not number:
                return 0
    while high - low > max(1, PRECISION * high):
        middle = (low + high) // 2
        low, high = (middle, high) if is_carried(middle) else (low, middle)
    return low


def rates(saturation: float) -> list[float]:
    """The rates at which the real thing is measured."""
    return [round(fraction * saturation, 1) for fraction in FRACTIONS]


def next_calls(simulated: int) -> Callable[[Sequence[LiveStep]], int | None]:
    """Chooses how many live calls are held next: up or down from below the simulated saturation, until there is a
    number that is carried and a larger one that is not."""

    def following(steps: Sequence[LiveStep]) -> int | None:
        if not steps:
            return max(1, round(FIRST_FRACTION * simulated))
        carried, failed = bracket(steps)
        if (carried and failed) or len(steps) >= MOST_STEPS or not steps[-1].valid:
            return None
        return round(carried * (1 + STEP)) if carried else max(1, round((failed or 1) / (1 + STEP)))

    return following


def bracket(steps: Sequence[LiveStep]) -> tuple[int, int | None]:
    """The most calls that were carried, 0 for none, and the fewest beyond that were not."""
    valid = [step for step in steps if step.valid]
    carried = max((step.calls for step in valid if step.carried), default=0)
    failed = [step.calls for step in valid if not step.carried and step.calls > carried]
    return carried, min(failed, default=None)


@dataclass(frozen=True)
class Saturation:
    """Measured and simulated; None where the measurement did not find it."""

    measured: float | None
    simulated: float
    why: str = ""

    @property
    def apart(self) -> float | None:
        """The simulated one's distance from the measured, as a share of that."""
        return None if self.measured is None else self.simulated / self.measured - 1

    @property
    def is_reproduced(self) -> bool:
        return self.apart is not None and abs(self.apart) <= TOLERANCE


def unary_compared(inputs: Inputs, settings: Settings, steps: Sequence[UnaryStep]) -> Saturation:
    """Answers a second at the highest rate, which must be more than the service answers."""
    top = max(steps, key=lambda step: step.rate)
    simulated = unary_at(inputs, this_node(inputs, settings, others=top.others), top.rate, top.seconds).answered_per_s
    if disturbed := _disturbed(inputs, [top]):
        return Saturation(None, simulated, disturbed)
    if not top.refused and top.answered_per_s > 0.95 * top.rate:
        return Saturation(None, simulated, f"{top.rate:g} a second did not saturate the service")
    if not top.valid:
        return Saturation(None, simulated, "the generator was late")
    return Saturation(top.answered_per_s, simulated)


def live_compared(inputs: Inputs, settings: Settings, steps: Sequence[LiveStep]) -> Saturation:
    """The most calls, taken as midway between those that were carried and those that were not."""
    others = sum(step.others for step in steps) / len(steps)
    simulated = live_saturation(inputs, this_node(inputs, settings, others=others))
    if disturbed := _disturbed(inputs, steps):
        return Saturation(None, simulated, disturbed)
    carried, failed = bracket(steps)
    if not carried or failed is None:
        return Saturation(None, simulated, f"carried: {carried or 'none'}, not carried: {failed or 'none'}")
    return Saturation(round(math.sqrt(carried * failed)), simulated)


def _disturbed(inputs: Inputs, steps: Sequence[UnaryStep] | Sequence[LiveStep]) -> str:
    """Why a measurement cannot be believed, or nothing."""
    others = max(step.others for step in steps)
    limit = MOST_BY_OTHERS * len(inputs.speeds)
    return f"other programs used {others:.2f} cores, above {limit:.2f}" if others > limit else ""


def scaled(node: Node, cores: int) -> Node:
    """A larger machine of the same cores, with programs set up alike: as many processes, instances and so on for each
    core. Cores are taken to slow each other as little as here, and threads of one process no more than here."""
    times = cores / node.cores
    together = node.speeds[-1] / node.cores if node.cores > 1 else 1.0
    speeds = tuple(busy * (1 - (1 - together) * (busy - 1) / max(1, cores - 1)) for busy in range(1, cores + 1))
    return replace(
        node,
        speeds=speeds,
        processes=max(1, round(node.processes * times)),
        batcher=replace(node.batcher, instances=max(1, round(node.batcher.instances * times))),
    )
