"""Unary calls at a given rate, whether the service keeps up or not.

Arrivals are a Poisson process and wait for no answer; a call's time counts from when it was due, so that a service
that stalls is charged for every caller who would have come meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import grpc
import grpc.aio

from client.channel import ChannelSettings, open_aio_channel
from loadtest.lag import Distribution
from loadtest.pacing import keep_time
from preprocess_service.proto.wigeup.v1 import triage_pb2

METHOD: Final = f"/{triage_pb2.DESCRIPTOR.services_by_name['Triage'].full_name}/Classify"
HEAD_START_S: Final = 0.5


@dataclass(frozen=True)
class UnaryTarget:
    """Where calls go and how long they may take."""

    address: str
    deadline_s: float = 10.0
    channels: int = 4
    root_certificates: bytes | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """One call: its time from when it was due, by how much it was sent late, and its status."""

    took_s: float
    lateness_s: float
    status: str


@dataclass(frozen=True)
class OpenResult:
    """Figures of one rate."""

    rate: float  # asked for, calls a second
    seconds: float
    calls: int
    answered_per_s: float
    latency: Distribution  # of calls that were answered with a verdict
    latency_all: Distribution
    statuses: dict[str, int]
    lateness: Distribution
    lateness_limit_ms: float

    @property
    def is_valid(self) -> bool:
        """Whether calls were sent when they were due."""
        return self.lateness.count > 0 and self.lateness.p99_ms <= self.lateness_limit_ms

    @property
    def shortcomings(self) -> list[str]:
        """What failed; nothing where every call was answered."""
        return [f"{count} calls ended with {name}" for name, count in self.statuses.items() if name != "OK"]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "valid": self.is_valid, "shortcomings": self.shortcomings}


def arrivals_s(rate: float, seconds: float, seed: int) -> list[float]:
    """Moments of a Poisson process with `rate` events a second, for so many seconds."""
    chance, moments, now_s = random.Random(seed), [], 0.0
    while (now_s := now_s + chance.expovariate(rate)) < seconds:
        moments.append(now_s)
    return moments


async def send_openly(
    target: UnaryTarget, requests: Sequence[bytes], rate: float, seconds: float, seed: int, lateness_limit_ms: float
) -> OpenResult:
    """Sends serialised ClassifyRequests in turn at Poisson moments and waits for all answers."""
    settings = ChannelSettings(target.address, own_connection=True, root_certificates=target.root_certificates)
    channels = [open_aio_channel(settings) for _ in range(target.channels)]
    methods: list[Any] = [channel.unary_unary(METHOD) for channel in channels]  # no serialisers: bytes as they are
    begins_at = time.monotonic() + HEAD_START_S
    agenda = [(begins_at + at_s, number) for number, at_s in enumerate(arrivals_s(rate, seconds, seed))]
    tasks: list[asyncio.Task[Arrival]] = []

    def send(number: int) -> None:
        method, request = methods[number % len(methods)], requests[number % len(requests)]
        tasks.append(asyncio.create_task(_call(method, request, agenda[number][0], target.deadline_s)))

    try:
        await keep_time(agenda, send, tick_s=0)  # ticks would make a crowd of calls that come one by one
        arrivals = await asyncio.gather(*tasks)
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))
    return _summarise(arrivals, rate, seconds, lateness_limit_ms)


async def _call(method: Any, request: bytes, due_at: float, deadline_s: float) -> Arrival:
    lateness_s, status = time.monotonic() - due_at, grpc.StatusCode.OK
    try:
        await method(request, timeout=deadline_s)
    except grpc.aio.AioRpcError as error:
        status = error.code()
    return Arrival(time.monotonic() - due_at, lateness_s, status.name)


def _summarise(arrivals: Sequence[Arrival], rate: float, seconds: float, lateness_limit_ms: float) -> OpenResult:
    good = [each.took_s for each in arrivals if each.status == grpc.StatusCode.OK.name]
    return OpenResult(
        rate=rate,
        seconds=seconds,
        calls=len(arrivals),
        answered_per_s=round(len(good) / seconds, 2),
        latency=Distribution.of_seconds(good),
        latency_all=Distribution.of_seconds(each.took_s for each in arrivals),
        statuses=dict(Counter(each.status for each in arrivals)),
        lateness=Distribution.of_seconds(each.lateness_s for each in arrivals),
        lateness_limit_ms=lateness_limit_ms,
    )
