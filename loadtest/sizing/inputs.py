"""What the simulation is fed with, measured on a running service at loads at which next to nothing waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np
import psutil  # type: ignore[import-untyped]

from client.channel import ChannelSettings, open_channel
from loadtest.clips import Clip
from loadtest.closed_loop import send_in_turn
from loadtest.open_loop import METHOD, UnaryTarget
from loadtest.processes import cpu_s
from loadtest.servers import GENERATOR, SERVICE, TRITON, Cost, Meter, Servers
from loadtest.sizing.batcher import BatcherShape
from loadtest.sizing.path import LiveCosts, TritonCosts, UnaryCosts, UnaryRequest
from preprocess_service.proto.wigeup.v1 import triage_pb2

T = TypeVar("T")

LEAST_S: Final = 1e-6
UNARY_S: Final = 6.0
CALLERS: Final = 4
DEADLINE_S: Final = 10.0
MS_A_S: Final = 1000


@dataclass(frozen=True)
class Inputs:
    """All of it; `unary_alone_ms` is what one caller alone waits for an answer (median), for comparison."""

    model: str
    speeds: tuple[float, ...]
    processes: int
    batcher: BatcherShape
    triton: TritonCosts
    unary: UnaryCosts
    live: LiveCosts
    unary_alone_ms: float
    triton_computing_ms: dict[int, float] = field(default_factory=dict)  # by rows, on the clock


@dataclass(frozen=True)
class Load:
    """What programs used while a load went on: seconds of processor time, and cores that other programs used."""

    cost: Cost
    others: float

    def cpu_s(self, program: str) -> float:
        """Raises ValueError where its processes were not found: nothing can be said of its costs."""
        if program not in self.cost.cpu_s:
            raise ValueError(f"no process of {program} was found; --pids {program}=PID tells which it is")
        return self.cost.cpu_s[program]


def under_load(servers: Servers, pids: Sequence[int], act: Callable[[], T]) -> tuple[T, Load]:
    """Makes a load and reads what it cost; `pids` are those that make it."""
    meter, busy_s = Meter(servers, pids), _busy_s()
    result = act()
    cost, busy_s = meter.stop(), _busy_s() - busy_s
    return result, Load(cost, round(max(0.0, busy_s - sum(cost.cpu_s.values())) / cost.wall_s, 3))


def _busy_s() -> float:
    """Processor time of everything on this machine, and what a hypervisor gave to others, so far."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def unary_costs(
    address: str, servers: Servers, clips: Sequence[Clip], model: str, pid: int, speed: float
) -> tuple[UnaryCosts, float, tuple[Load, Load]]:
    """What a request costs, the median that one caller alone waits in ms, and the loads of both measurements.

    One caller alone tells what features take; a few at once tell all that the service spends on a request while it has
    always one to go on with, which is less than alone: nothing has to wake up. `speed` is that of a core while all are
    busy.
    """
    requests = [clip.request(model).SerializeToString() for clip in clips]
    with open_channel(ChannelSettings(address, own_connection=True)) as channel:
        ask: Any = channel.unary_unary(METHOD)  # no serialisers: bytes as they are

        def act() -> list[tuple[float, bytes]]:
            answers: list[tuple[float, bytes]] = []
            until = time.monotonic() + UNARY_S
            while (began := time.monotonic()) < until:
                answer = ask(requests[len(answers) % len(requests)], timeout=DEADLINE_S)
                answers.append((time.monotonic() - began, answer))
            return answers

        answers, alone = under_load(servers, [pid], act)
    target = UnaryTarget(address, DEADLINE_S)
    closed, busy = under_load(servers, [pid], lambda: asyncio.run(send_in_turn(target, requests, CALLERS, UNARY_S)))
    asked = [_request(triage_pb2.Verdict.FromString(answer)) for _, answer in answers]
    features_s = float(np.mean([each.features_s for each in asked]))
    loop_s = max(LEAST_S, busy.cpu_s(SERVICE) / closed.calls * speed - features_s)
    costs = UnaryCosts(loop_s, tuple(asked), busy.cpu_s(GENERATOR) / closed.calls * speed)
    return costs, MS_A_S * float(np.median([took_s for took_s, _ in answers])), (alone, busy)


def _request(verdict: triage_pb2.Verdict) -> UnaryRequest:
    times = verdict.times
    return UnaryRequest((times.decode_ms + times.audio_ms + times.text_ms) / MS_A_S, max(1, len(verdict.timeline)))


@dataclass(frozen=True)
class LiveLoad:
    """Counts of one light run of live calls."""

    messages: int
    batches: int  # requests to Triton
    hops: int
    audio_s: float
    load: Load


def live_costs(loads: Sequence[LiveLoad], features_s: float, asked: float) -> LiveCosts:
    """What a message, a batch and a hop cost: so that together they cost what each of the runs did, by least squares.

    `features_s` of a hop's time is arithmetic, measured alone; it is no more than what a hop costs.
    """
    counts = np.array([(each.messages, each.batches, each.hops) for each in loads], dtype=float)
    spent_s = np.array([each.load.cpu_s(SERVICE) for each in loads])
    message_s, batch_s, hop_s = (max(LEAST_S, float(each)) for each in np.linalg.lstsq(counts, spent_s, rcond=None)[0])
    features_s = min(features_s, hop_s)
    generator_s = sum(each.load.cpu_s(GENERATOR) for each in loads) / sum(each.audio_s for each in loads)
    return LiveCosts(message_s, batch_s, max(LEAST_S, hop_s - features_s), features_s, asked, generator_s)


def triton_cpu_s(servers: Servers) -> float:
    """Processor time of Triton so far; raises ValueError where it was not found."""
    programs = servers.programs()
    if TRITON not in programs:
        raise ValueError(f"no process listens at {servers.triton_address}; --pids triton=PID tells which is Triton")
    return cpu_s({TRITON: programs[TRITON]})[TRITON]
