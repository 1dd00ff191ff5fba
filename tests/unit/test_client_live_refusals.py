"""A service that refuses a call at once, while its caller goes on sending: the caller learns what was said."""

import asyncio
import contextlib
from collections import Counter

import grpc

from client import AsyncTriageClient, AudioFormat, LiveOptions, Overloaded, TriageError
from client.live.ending import Ending
from preprocess_service.proto.wigeup.v1 import triage_pb2, triage_pb2_grpc
from tests.unit.live_stub import RETRY_AFTER_MS, LiveService, live_service

CALLS, AT_ONCE = 240, 20
MODEL = "fail-RESOURCE_EXHAUSTED"
OPTIONS = LiveOptions(piece_s=0.02)


async def refused(client: AsyncTriageClient) -> TriageError:
    """What ends a call whose caller never stops to send."""
    async with client.live_call(format=AudioFormat.mulaw(), model=MODEL, resume=False, options=OPTIONS) as call:
        try:
            while True:
                await call.send_audio(bytes(400))
                await asyncio.sleep(0)
        except TriageError as error:
            return error


async def test_a_refusal_is_never_taken_for_a_fault() -> None:
    async with live_service() as service, AsyncTriageClient(service.address) as client:
        errors = [
            error
            for _ in range(CALLS // AT_ONCE)
            for error in await asyncio.gather(*(refused(client) for _ in range(AT_ONCE)))
        ]

    assert Counter(type(error) for error in errors) == {Overloaded: CALLS}
    assert {error.retry_after_ms for error in errors} == {RETRY_AFTER_MS}
    assert {error.message for error in errors} == {"refused with RESOURCE_EXHAUSTED"}


async def ended_bare(service: LiveService) -> Ending:
    """How a stream ended whose caller wrote until gRPC said no; by then gRPC's own status is INTERNAL."""
    async with grpc.aio.insecure_channel(service.address, options=(("grpc.enable_http_proxy", 0),)) as channel:
        stream = triage_pb2_grpc.TriageStub(channel).ClassifyStream()
        ending = Ending(stream)
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
            await stream.write(triage_pb2.StreamRequest(config=triage_pb2.StreamConfig(model=MODEL)))
            for number in range(1, 1000):
                await stream.write(triage_pb2.StreamRequest(audio=triage_pb2.StreamAudio(sequence=number)))
        await stream.code()
        return ending


async def test_an_ending_is_what_the_server_said_whatever_grpc_makes_of_it() -> None:
    async with live_service() as service:
        endings = [await ended_bare(service) for _ in range(50)]

    assert {ending.status for ending in endings} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
