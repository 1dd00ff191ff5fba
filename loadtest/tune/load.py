"""Callers of Triton itself who wait for their answers: so many at once, each asks the next as soon as it is told.

Requests are serialised ahead and answers are left as bytes, so that the client, which shares the machine with the
server, costs little; what it does cost is measured.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import grpc.aio

from loadtest.lag import Distribution
from loadtest.triton_channel import CHANNEL_OPTIONS
from preprocess_service.triton import INFER_METHOD

CHANNELS: Final = 2
SETTLING_S: Final = 0.15  # at the beginning: connections, and callers who all come at once
LIMIT_S: Final = 30.0


@dataclass(frozen=True)
class Served:
    """What came of a stretch of load; answers after the settling time count."""

    per_s: float
    latency: Distribution
    failures: dict[str, int] = field(default_factory=dict)  # by gRPC status


def send_in_turn(address: str, requests: Sequence[bytes], callers: int, seconds: float, at_least: int = 1) -> Served:
    """Sends serialised ModelInferRequests until the time is over, and waits for all answers.

    Every caller has `at_least` so many answers that count, however long they take, up to LIMIT_S more.
    """
    return asyncio.run(_send(address, requests, callers, seconds, at_least))


async def _send(address: str, requests: Sequence[bytes], callers: int, seconds: float, at_least: int) -> Served:
    channels = [grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) for _ in range(min(CHANNELS, callers))]
    # No serialisers: bytes as they are.
    methods: list[Any] = [channel.unary_unary(INFER_METHOD) for channel in channels]
    turns, failures = itertools.cycle(requests), Counter[str]()
    counts_from = time.monotonic() + SETTLING_S
    until = counts_from + seconds
    try:
        calling = [
            _call_until(methods[number % len(methods)], turns, (counts_from, until), at_least, failures)
            for number in range(callers)
        ]
        answers = [answer for each in await asyncio.gather(*calling) for answer in each]
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))
    ended = sorted(ended_s for _, ended_s in answers if ended_s >= counts_from)
    within = [ended_s for ended_s in ended if ended_s < until]
    # A stretch in which nothing was answered in time is as long as it took in the end.
    per_s = len(within) / seconds if within else len(ended) / (ended[-1] - counts_from) if ended else 0.0
    times = [ended_s - began_s for began_s, ended_s in answers if began_s >= counts_from]
    return Served(per_s, Distribution.of_seconds(times), dict(failures))


async def _call_until(
    method: Any, turns: Iterator[bytes], stretch: tuple[float, float], at_least: int, failures: Counter[str]
) -> list[tuple[float, float]]:
    """When every answered call began and ended."""
    counts_from, until = stretch
    answers: list[tuple[float, float]] = []
    counted = 0
    while (began := time.monotonic()) < until or (counted < at_least and began < until + LIMIT_S):
        try:
            await method(next(turns), timeout=LIMIT_S)
        except grpc.aio.AioRpcError as error:
            failures[error.code().name] += 1
            await asyncio.sleep(0.01)  # a server that refuses at once must not be asked in a circle
        else:
            answers.append((began, time.monotonic()))
            counted += began >= counts_from
    return answers
