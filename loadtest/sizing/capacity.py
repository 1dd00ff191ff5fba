"""What machines carry and how many are needed: the simulation used past the machine on which it was calibrated."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final

from loadtest.sizing.comparison import HOP, LAG_LIMIT_S, SEED, guessed_calls, most, scaled, unary_at, unary_saturation
from loadtest.sizing.demand import calls_at_once, most_at_once
from loadtest.sizing.inputs import Inputs
from loadtest.sizing.live import LiveOutcome, simulate_live
from loadtest.sizing.path import Node, TritonCosts
from loadtest.sizing.unary import UnaryOutcome

SECONDS, SETTLED_S = 10.0, 2.0
SPREADS: Final = (1, 2)  # seeds: calls fall together differently in each, and all must be carried
UNARY_LOAD: Final = 0.7  # of saturation: beyond, the slowest answers grow fast
UNARY_S: Final = 10.0
LIVE_LOAD: Final = 0.8  # of what a machine carries: the simulation is trusted to 15 %, and calls spread unevenly
SPARE: Final = 1  # machines that may fail at once


@dataclass(frozen=True)
class Capacity:
    """What one machine carries, without a load generator on it."""

    cores: int
    calls: int
    outcome: LiveOutcome  # with so many calls
    unary_per_s: float  # UNARY_LOAD of saturation
    unary: UnaryOutcome  # at that rate
    with_gpu_calls: int  # where Triton's batches cost its cores nothing
    with_gpu_unary_per_s: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**self.__dict__, "outcome": self.outcome.to_dict(), "unary": self.unary.to_dict()}


@dataclass(frozen=True)
class Need:
    """Machines for so many calls at once on average, or requests a second."""

    wanted: float
    provided: int  # calls at once that are carried with SPARE machines gone
    machines: int
    cores: int


def capacity(inputs: Inputs, node: Node, cores: int) -> Capacity:
    """Of a machine with so many cores, set up like `node`."""
    machine = replace(scaled(node, cores), has_generator=False)
    free = replace(inputs, triton=TritonCosts({1: inputs.triton.request_s}, inputs.triton.request_s))
    calls = live_capacity(inputs, machine)
    rate = UNARY_LOAD * unary_saturation(inputs, machine, UNARY_S)
    return Capacity(
        cores=cores,
        calls=calls,
        outcome=live(inputs, machine, calls, SEED),
        unary_per_s=round(rate, 1),
        unary=unary_at(inputs, machine, rate, UNARY_S),
        with_gpu_calls=live_capacity(free, machine),
        with_gpu_unary_per_s=round(UNARY_LOAD * unary_saturation(free, machine, UNARY_S), 1),
    )


def live_capacity(inputs: Inputs, machine: Node) -> int:
    """The most calls at once, on average, with which 99 of 100 updates come in time and no hop is skipped."""
    return most(
        lambda calls: all(live(inputs, machine, calls, seed).is_carried(LAG_LIMIT_S) for seed in SPREADS),
        first=guessed_calls(inputs, machine),
    )


def live(inputs: Inputs, machine: Node, calls: int, seed: int) -> LiveOutcome:
    """So many calls at once on average, that begin and end by chance."""
    each = calls_at_once(calls, SECONDS, HOP.hop_s, seed)
    return simulate_live(machine, inputs.live, inputs.triton, each, (SETTLED_S, SECONDS), HOP, seed)


def calls_need(mean_calls: float, peak_to_mean: float, carried: int, cores: int) -> Need:
    """Machines that carry `carried` calls each and get LIVE_LOAD of that: for the busiest hour, for chance within it,
    and SPARE to fail."""
    provided = most_at_once(mean_calls * peak_to_mean)
    return _need(mean_calls, provided, LIVE_LOAD * carried, cores)


def unary_need(rate: float, carried: float, cores: int) -> Need:
    """Machines for requests at that mean rate; what chance adds is in what they carry."""
    return _need(rate, math.ceil(rate), carried, cores)


def _need(wanted: float, provided: int, carried: float, cores: int) -> Need:
    if carried <= 0:
        raise ValueError("a machine that carries nothing; the inputs or the lag's limit must be wrong")
    machines = math.ceil(provided / carried) + SPARE
    return Need(wanted, provided, machines, machines * cores)
