"""Unary calls of callers who wait for their answers: so many at once, each the next as soon as the last is answered.

What this tells is how much the service answers when there is always more to do, and what a call takes that is alone.
How long callers wait under load it does not tell: they come less often when the service is slow (see open_loop).
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import grpc
import grpc.aio

from client.channel import ChannelSettings, open_aio_channel
from loadtest.lag import Distribution
from loadtest.open_loop import METHOD, UnaryTarget
from preprocess_service.proto.wigeup.v1 import triage_pb2

STAGES: Final = {  # fields of StageTimes, in the order of a call's way
    "wait_ms": "waiting for admission",
    "decode_ms": "decoding",
    "audio_ms": "spectrogram",
    "text_ms": "transcript to morphemes",
    "inference_ms": "Triton, the way there included",
}
OK: Final = grpc.StatusCode.OK.name


@dataclass(frozen=True, slots=True)
class Answer:
    """One call: its time, its status, and the bytes of its verdict if there is one."""

    took_s: float
    status: str
    verdict: bytes = b""


@dataclass(frozen=True)
class ClosedResult:
    """Figures of so many callers."""

    callers: int
    seconds: float
    calls: int
    answered_per_s: float
    latency: Distribution  # of calls that were answered with a verdict
    statuses: dict[str, int]
    stages_ms: dict[str, float]  # medians of what the service says of itself, by the field of StageTimes; total_ms too

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


async def send_in_turn(
    target: UnaryTarget, requests: Sequence[bytes], callers: int, seconds: float, first: int = 0
) -> ClosedResult:
    """Sends serialised ClassifyRequests, from the `first` on, until the time is over, and waits for all answers."""
    settings = ChannelSettings(target.address, own_connection=True, root_certificates=target.root_certificates)
    channels = [open_aio_channel(settings) for _ in range(min(target.channels, callers))]
    methods: list[Any] = [channel.unary_unary(METHOD) for channel in channels]  # no serialisers: bytes as they are
    turns = itertools.count(first)
    began = time.monotonic()
    until = began + seconds
    try:
        calling = (
            _call_until(methods[number % len(methods)], requests, turns, target.deadline_s, until)
            for number in range(callers)
        )
        answers = [answer for each in await asyncio.gather(*calling) for answer in each]
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))
    return _summarise(answers, callers, time.monotonic() - began)


async def _call_until(
    method: Any, requests: Sequence[bytes], turns: Iterator[int], deadline_s: float, until: float
) -> list[Answer]:
    answers = []
    while (began := time.monotonic()) < until:
        status, verdict = grpc.StatusCode.OK, b""
        try:
            verdict = await method(requests[next(turns) % len(requests)], timeout=deadline_s)
        except grpc.aio.AioRpcError as error:
            status = error.code()
        answers.append(Answer(time.monotonic() - began, status.name, verdict))
    return answers


def _summarise(answers: Sequence[Answer], callers: int, seconds: float) -> ClosedResult:
    good = [answer for answer in answers if answer.status == OK]
    times = [triage_pb2.Verdict.FromString(answer.verdict).times for answer in good]
    stages = (*STAGES, "total_ms")
    return ClosedResult(
        callers=callers,
        seconds=round(seconds, 3),
        calls=len(answers),
        answered_per_s=round(len(good) / seconds, 2),
        latency=Distribution.of_seconds(answer.took_s for answer in good),
        statuses=dict(Counter(answer.status for answer in answers)),
        stages_ms={name: round(statistics.median(getattr(each, name) for each in times), 3) for name in stages}
        if times
        else {},
    )
