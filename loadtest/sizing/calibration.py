"""The real thing, measured: the simulation's inputs, unary requests at several rates, live calls at several numbers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from loadtest import stages
from loadtest.clips import Clip
from loadtest.generators import TapePlan, start_generators
from loadtest.live import LiveTarget, hold_calls
from loadtest.live_result import Limits, summarise
from loadtest.open_loop import UnaryTarget, send_openly
from loadtest.pacing import starts_s
from loadtest.processes import listeners
from loadtest.readings import read
from loadtest.search import PAUSE_S
from loadtest.servers import Servers
from loadtest.sizing import inputs, triton_costs
from loadtest.sizing.inputs import Inputs, LiveLoad, Load, under_load
from loadtest.sizing.speeds import measure_speeds
from loadtest.tapes import Tape, make_tapes, mulaw_of
from preprocess_service.contract import Contract
from preprocess_service.model_spec import ModelSpec

Say = Callable[[str], None]

WARM_UP_RATE, WARM_UP_S = 20.0, 4.0
UNARY_S, LIVE_S = 8.0, 16.0
DEADLINE_S: Final = 10.0
CHANNELS: Final = 4
TAPES: Final = 32
LIGHT_CALLS, LIGHT_S, HEAD_START_S = 40, 10.0, 0.5
TOGETHER: Final = 8  # calls that begin at the same moment, so that their hops are judged in batches
STAGE_CALLS, STAGE_S = 20, 10


@dataclass(frozen=True)
class Place:
    """Where the servers are and what is sent to them."""

    servers: Servers
    clips: Sequence[Clip]
    plan: TapePlan
    model: str
    seed: int

    @property
    def address(self) -> str:
        return self.servers.address


@dataclass(frozen=True)
class UnaryStep:
    """One rate, as it was; `others` is how many cores other programs used meanwhile."""

    rate: float
    seconds: float
    others: float
    answered_per_s: float
    refused: int
    p50_ms: float
    p99_ms: float
    mean_batch: float
    cores_busy: float
    valid: bool


@dataclass(frozen=True)
class LiveStep:
    """So many live calls, as they went."""

    calls: int
    seconds: float
    others: float
    p50_ms: float
    p99_ms: float
    skipped_hops: int
    mean_batch: float
    cores_busy: float
    carried: bool
    valid: bool


def measure_inputs(place: Place, spec: ModelSpec, contract: Contract, say: Say) -> Inputs:
    """Takes about 80 s; raises ValueError where the servers' processes are not found."""
    pid, model = os.getpid(), spec.name
    speeds = measure_speeds()
    say(f"cores together: {', '.join(f'{each:.2f}' for each in speeds)}")
    _warm_up(place)
    speed = speeds[-1] / len(speeds)
    unary, alone_ms, loads = inputs.unary_costs(place.address, place.servers, place.clips, place.model, pid, speed)
    used = ", ".join(f"{load.others:.2f}" for load in loads)
    say(f"one caller alone: {alone_ms:.1f} ms; others used {used} cores")
    shape = triton_costs.read_shape(place.servers.triton_address, model)
    requests = triton_costs.row_requests(place.address, place.clips, place.model)
    triton, computing_ms = triton_costs.measure_triton(place.servers, requests, shape, speeds)
    say("Triton, ms a batch: " + ", ".join(f"{rows}: {1000 * cost:.2f}" for rows, cost in triton.batch_s.items()))
    light = [_light_calls(place, message_s, together) for message_s, together in ((0.2, 1), (0.1, 1), (0.2, TOGETHER))]
    say(f"light live calls, others used {', '.join(f'{each.load.others:.2f}' for each in light)} cores")
    spoken = [(mulaw_of(clip.path), clip) for clip in place.clips[: 4 * STAGE_CALLS]]
    by_stage = stages.measure(spoken, spec, contract, STAGE_CALLS, STAGE_S)
    features_s = sum(by_stage[stage] for stage in ("words", "sound", "window")) / 1000
    rows = sum(each.inferences for each in (light[0].load.cost.models or {}).values())
    live = inputs.live_costs(light, features_s, min(1.0, rows / light[0].hops))
    port = int(place.address.rpartition(":")[2])
    return Inputs(
        model=model,
        speeds=speeds,
        processes=max(1, len(place.servers.pids.get("service", ()) or listeners(port))),
        batcher=shape,
        triton=triton,
        unary=unary,
        live=live,
        unary_alone_ms=alone_ms,
        triton_computing_ms=computing_ms,
    )


def run_unary(place: Place, rates: Sequence[float], say: Say) -> list[UnaryStep]:
    """Each rate for UNARY_S, in open loop."""
    _warm_up(place)
    steps = []
    for rate in rates:
        time.sleep(PAUSE_S)
        steps.append(_unary(place, rate, UNARY_S))
        say(f"{rate:.0f} a second: {steps[-1].answered_per_s:g} answered, others used {steps[-1].others:.2f} cores")
    return steps


def run_live(place: Place, numbers: Callable[[Sequence[LiveStep]], int | None], say: Say) -> list[LiveStep]:
    """Holds calls; `numbers` says how many come next, None for no more."""
    _warm_up(place)
    steps: list[LiveStep] = []
    target = LiveTarget(place.address, model=place.model, channels=CHANNELS)
    plan = replace(place.plan, count=TAPES, seconds=LIVE_S)
    with start_generators(target, plan, 1) as generators:
        while (calls := numbers(steps)) is not None:
            time.sleep(PAUSE_S)
            readings, load = under_load(place.servers, generators.pids, partial(generators.hold, calls))
            result = summarise(readings, Limits())
            lag = result.lag
            steps.append(
                LiveStep(
                    calls=calls,
                    seconds=LIVE_S,
                    others=load.others,
                    p50_ms=lag.p50_ms,
                    p99_ms=lag.p99_ms,
                    skipped_hops=result.skipped_hops,
                    mean_batch=_mean_batch(load),
                    cores_busy=_cores(load),
                    carried=not result.shortcomings,
                    valid=result.is_valid,
                )
            )
            say(f"{calls} calls: p99 {lag.p99_ms:.0f} ms, others used {load.others:.2f} cores")
    return steps


def _warm_up(place: Place) -> None:
    _unary(place, WARM_UP_RATE, WARM_UP_S)


def _unary(place: Place, rate: float, seconds: float) -> UnaryStep:
    target = UnaryTarget(place.address, DEADLINE_S, CHANNELS)
    requests = [clip.request(place.model).SerializeToString() for clip in place.clips]
    run = send_openly(target, requests, rate, seconds, place.seed, Limits.lateness_ms)
    result, load = under_load(place.servers, [os.getpid()], lambda: asyncio.run(run))
    return UnaryStep(
        rate=rate,
        seconds=seconds,
        others=load.others,
        answered_per_s=result.answered_per_s,
        refused=result.calls - result.latency.count,
        p50_ms=result.latency.p50_ms,
        p99_ms=result.latency.p99_ms,
        mean_batch=_mean_batch(load),
        cores_busy=_cores(load),
        valid=result.is_valid,
    )


def _light_calls(place: Place, message_s: float, together: int) -> LiveLoad:
    """Some calls, so many of them at the same moments."""
    tapes = make_tapes(place.clips, TAPES, LIGHT_S, message_s, place.plan.transcript_share, place.seed)
    target = LiveTarget(place.address, model=place.model, channels=CHANNELS)
    groups = starts_s(LIGHT_CALLS // together, target.hop_s)
    begins_at = time.monotonic() + HEAD_START_S
    calls: list[tuple[str, Tape, float]] = [
        (f"sizing-{number}", tapes[number % TAPES], begins_at + groups[number // together])
        for number in range(len(groups) * together)
    ]

    def act() -> Any:
        return asyncio.run(hold_calls(target, calls))

    recordings, load = under_load(place.servers, [os.getpid()], act)
    readings = [read(recording, begins_at, target.hop_s) for recording in recordings]
    return LiveLoad(
        messages=sum(len(tape.messages) for _, tape, _ in calls),
        batches=sum(each.requests for each in (load.cost.models or {}).values()),
        hops=sum(reading.hops_judged for reading in readings),
        audio_s=sum(tape.audio_s for _, tape, _ in calls),
        load=load,
    )


def _mean_batch(load: Load) -> float:
    models = (load.cost.models or {}).values()
    executions = sum(each.executions for each in models)
    return round(sum(each.inferences for each in models) / executions, 2) if executions else 0.0


def _cores(load: Load) -> float:
    return round(sum(load.cost.cpu_s.values()) / load.cost.wall_s, 3)
