"""Live calls survive their service, their Triton, their own silence and each other."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from client import (
    AsyncTriageClient,
    AudioFormat,
    CallUpdate,
    DeadlineExceeded,
    LiveCall,
    LiveOptions,
    Overloaded,
    Priority,
)
from preprocess_service.model_spec import MULTIMODAL
from preprocess_service.proto.wigeup.v1 import triage_pb2 as pb
from preprocess_service.proto.wigeup.v1 import triage_pb2_grpc
from tests.e2e.live_callers import LIMIT_S, PATIENT, RATE_HZ, Caller, hold_all, mulaw
from tests.e2e.live_stream import Stream, audio, config
from tests.e2e.tiny_models import add_version, make_repository
from tests.service_process import ServiceProcess
from tests.silent_proxy import proxy_to
from tests.triton_process import TritonProcess, wait_until

CALLS, VOICES, SECONDS = 20, 4, 15.6
SECOND = mulaw(1)
# No hop is skipped, unanswered or refused because the machine has other work.
PATIENT_SERVICE: dict[str, Any] = {
    "canary_interval_s": 0.2,
    "live_longest_lag_s": 600,
    "live_deadline_s": 60,
    "triton_timeout_s": 120,
}
IDLE_S = 1.0
MOST_TAKEN_S = 500  # of a call whose updates nobody reads, gRPC's own buffers included; 4 MB


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("live")


@pytest.fixture(scope="module")
def own_triton(folder: Path) -> Iterator[TritonProcess]:
    repository = make_repository(folder / "models", MULTIMODAL.name)
    options = ("--model-control-mode", "explicit")
    with TritonProcess(repository, log=folder / "triton.log", options=options) as process:
        yield process


@contextmanager
def run_service(triton: TritonProcess, log: Path, **settings: Any) -> Iterator[ServiceProcess]:
    where = {"model_repository": triton.model_repository, "triton_address": triton.grpc_address}
    with ServiceProcess(log=log, **(PATIENT_SERVICE | where | settings)) as process:
        yield process
    # Of its own: gRPC logs an error where a caller is gone before its status has left.
    faults = [line for line in process.log_lines() if "exception" in line and line["logger"].startswith("preprocess")]
    assert faults == []


@pytest.fixture(scope="module")
def own_service(own_triton: TritonProcess, folder: Path) -> Iterator[ServiceProcess]:
    with run_service(own_triton, folder / "service.log", shutdown_grace_s=LIMIT_S) as process:
        yield process


@pytest.fixture(scope="module")
def impatient_service(own_triton: TritonProcess, folder: Path) -> Iterator[ServiceProcess]:
    with run_service(own_triton, folder / "impatient.log", live_idle_s=IDLE_S) as process:
        yield process


@pytest.fixture
def callers() -> list[Caller]:
    return [Caller(f"call-{number}", mulaw(SECONDS, number % VOICES)) for number in range(CALLS)]


@pytest.fixture(scope="module")
def undisturbed(own_service: ServiceProcess) -> list[Caller]:
    async def nothing() -> None:
        pass

    calls = [Caller(f"calm-{number}", mulaw(SECONDS, number)) for number in range(VOICES)]
    asyncio.run(hold_all(own_service.address, calls, nothing))
    assert not any(call.reconnections for call in calls)
    return calls


def check_as_if_undisturbed(callers: list[Caller], undisturbed: list[Caller]) -> None:
    end = round(SECONDS * RATE_HZ)
    positions = [*range(RATE_HZ, end, RATE_HZ), end]
    for caller, calm in zip(callers, itertools.cycle(undisturbed)):
        assert caller.summary is not None
        assert calm.summary is not None
        assert caller.reconnections >= 1
        for each in (caller, calm):
            assert [update.number for update in each.updates] == list(range(1, len(positions) + 1))
            assert [update.state.position_frames for update in each.updates] == positions
            assert all(update.caller.scored for update in each.updates)
        for update, other in zip(caller.updates, calm.updates, strict=True):
            assert update.caller.probability == pytest.approx(other.caller.probability, abs=1e-4)
            assert update.smoothed == pytest.approx(other.smoothed, abs=1e-4)
            assert update.caller.degradations == other.caller.degradations
        assert caller.summary.audio_s == calm.summary.audio_s == SECONDS
        assert caller.summary.updates == calm.summary.updates == len(positions)
        assert len(caller.summary.timeline) == len(calm.summary.timeline) == len(positions)
        assert (caller.summary.lost_s, caller.summary.skipped_hops) == (0, 0)


async def test_a_killed_service_costs_no_call_anything(
    own_service: ServiceProcess, callers: list[Caller], undisturbed: list[Caller]
) -> None:
    async def kill() -> None:
        os.kill(own_service.pid, signal.SIGKILL)
        await asyncio.to_thread(own_service.wait)
        await asyncio.to_thread(own_service.start)

    await hold_all(own_service.address, callers, kill)

    check_as_if_undisturbed(callers, undisturbed)


async def test_a_stopped_service_lets_its_calls_go_on_at_its_successor(
    own_service: ServiceProcess, callers: list[Caller], undisturbed: list[Caller]
) -> None:
    codes: list[int] = []

    async def restart() -> None:
        codes.append(await asyncio.to_thread(own_service.stop))  # its grace is longer than that would wait
        await asyncio.to_thread(own_service.start)

    with Stream(own_service.address) as bare:
        bare.send(config())
        bare.send(audio(1, SECOND))
        bare.update()
        await hold_all(own_service.address, callers, restart)
        with pytest.raises(grpc.RpcError) as raised:
            bare.update()

    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "resume the call" in str(raised.value.details())
    assert codes == [0]
    check_as_if_undisturbed(callers, undisturbed)


async def say(call: LiveCall, seconds: int) -> list[CallUpdate]:
    """Sends so much and waits for the updates."""
    for _ in range(seconds):
        await call.send_audio(SECOND)
    return [await anext(call) for _ in range(seconds)]


async def test_without_triton_calls_are_not_monitored_and_nothing_is_lost(
    own_triton: TritonProcess, own_service: ServiceProcess
) -> None:
    async with (
        asyncio.timeout(LIMIT_S),
        AsyncTriageClient(own_service.address) as client,
        client.live_call(format=AudioFormat.mulaw(), options=PATIENT) as call,
    ):
        before = await say(call, 4)
        assert call.monitored
        await asyncio.to_thread(own_triton.kill)
        meanwhile = await say(call, 3)
        assert not call.monitored
        await asyncio.to_thread(own_triton.start)
        assert await asyncio.to_thread(wait_until, own_service.is_serving, LIMIT_S)
        after = await say(call, 3)
        summary = await call.finish()

    assert {update.monitored for update in before + after} == {True}
    assert all(update.caller.scored for update in before + after)
    assert {(update.monitored, update.caller.probability, update.caller.scored) for update in meanwhile} == {
        (False, None, False)
    }
    assert {update.smoothed for update in meanwhile} == {before[-1].smoothed}
    assert [update.number for update in before + meanwhile + after] == list(range(1, 11))
    assert [update.covered_s for update in before + meanwhile + after] == pytest.approx(range(1, 11), abs=0.05)
    assert (summary.audio_s, summary.updates, summary.skipped_hops) == (10, 10, 0)
    assert "not_monitored" in summary.degradations


async def test_a_promotion_in_mid_call_loses_nothing(own_triton: TritonProcess, own_service: ServiceProcess) -> None:
    async with (
        asyncio.timeout(LIMIT_S),
        AsyncTriageClient(own_service.address) as client,
        client.live_call(format=AudioFormat.mulaw(), options=PATIENT) as call,
    ):
        updates = await say(call, 2)
        await asyncio.to_thread(add_version, own_triton.model_repository, MULTIMODAL.name, 2, probability=0.9)
        while updates[-1].model_version != "2":
            updates += await say(call, 1)
            await asyncio.sleep(0.1)
        updates += await say(call, 2)
        summary = await call.finish()

    versions = [update.model_version for update in updates]
    assert versions == sorted(versions)
    assert set(versions) == {"1", "2"}
    assert [update.number for update in updates] == list(range(1, len(updates) + 1))
    assert all(update.caller.scored for update in updates)
    assert updates[-1].caller.probability == pytest.approx(0.9, abs=0.01)
    assert (summary.updates, summary.model_version, summary.skipped_hops) == (len(updates), "2", 0)


class Deaf:
    """A caller that talks without end and never reads; `sent` counts the seconds of audio that gRPC has taken."""

    def __init__(self, address: str, call_id: str) -> None:
        options = (("grpc.enable_http_proxy", 0), ("grpc.http2.bdp_probe", 0))  # as little as possible in gRPC itself
        self._channel, self._is_over = grpc.insecure_channel(address, options=options), threading.Event()
        self.sent = 0
        self._call = triage_pb2_grpc.TriageStub(self._channel).ClassifyStream(self._talk(call_id))

    def _talk(self, call_id: str) -> Iterator[pb.StreamRequest]:
        yield config(hop_s=0.25, call_id=call_id)
        while not self._is_over.is_set():
            self.sent += 1
            yield audio(self.sent, SECOND)

    def is_stuck(self) -> bool:
        before = self.sent
        threading.Event().wait(2)
        return self.sent == before > 100

    def close(self) -> None:
        self._is_over.set()
        self._call.cancel()
        self._channel.close()


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def test_callers_that_never_read_stall_nobody_and_fill_no_memory(own_service: ServiceProcess) -> None:
    async def nothing() -> None:
        pass

    before, deaf = resident_bytes(own_service.pid), [Deaf(own_service.address, f"deaf-{n}") for n in range(3)]
    try:
        assert await asyncio.to_thread(wait_until, deaf[0].is_stuck, LIMIT_S)
        beside = [Caller(f"beside-{voice}", mulaw(SECONDS, voice)) for voice in range(VOICES)]
        await hold_all(own_service.address, beside, nothing)
        sent, grown = [each.sent for each in deaf], resident_bytes(own_service.pid) - before
    finally:
        for each in deaf:
            each.close()

    assert [len(each.updates) for each in beside] == [16] * VOICES
    assert not any(each.reconnections for each in beside)
    assert max(sent) < MOST_TAKEN_S
    assert grown < 64 * 2**20


def is_given_up(service: ServiceProcess, call_id: str) -> bool:
    """Whether the service has ended the call since nothing comes or is taken."""
    ends = [line for line in service.log_lines() if line["message"] == "live call ended"]
    return any(line["call_id"] == call_id and line["status"] == "DEADLINE_EXCEEDED" for line in ends)


async def test_a_call_from_which_nothing_comes_is_ended(impatient_service: ServiceProcess) -> None:
    async with (
        asyncio.timeout(LIMIT_S),
        AsyncTriageClient(impatient_service.address) as client,
        client.live_call(format=AudioFormat.mulaw(), resume=False) as call,
    ):
        await say(call, 1)
        with pytest.raises(DeadlineExceeded, match="nothing came or was taken for 1 s"):
            await anext(call)


async def test_a_peer_that_dies_without_a_word_gives_its_place_back(impatient_service: ServiceProcess) -> None:
    options = LiveOptions(stale_s=LIMIT_S, stalled_s=LIMIT_S)
    async with (
        asyncio.timeout(LIMIT_S),
        proxy_to(impatient_service.address) as proxy,
        AsyncTriageClient(proxy.address) as client,
        client.live_call(format=AudioFormat.mulaw(), resume=False, call_id="dead", options=options) as call,
    ):
        await say(call, 1)
        proxy.freeze()
        ended = await asyncio.to_thread(wait_until, lambda: is_given_up(impatient_service, "dead"), LIMIT_S)

    assert ended


async def test_a_caller_that_never_reads_gives_its_place_back(impatient_service: ServiceProcess) -> None:
    deaf = Deaf(impatient_service.address, "deaf")
    try:
        assert await asyncio.to_thread(wait_until, lambda: is_given_up(impatient_service, "deaf"), LIMIT_S)
    finally:
        deaf.close()


async def test_a_full_service_takes_urgent_calls_and_others_once_there_is_room(
    own_triton: TritonProcess, folder: Path
) -> None:
    with run_service(own_triton, folder / "full.log", max_live_calls=2) as service:
        async with asyncio.timeout(LIMIT_S), AsyncTriageClient(service.address) as client:

            def call(**options: object) -> LiveCall:
                return client.live_call(format=AudioFormat.mulaw(), options=PATIENT, **options)  # type: ignore[arg-type]

            async with call() as first, call() as second:
                assert [(await say(each, 1))[0].number for each in (first, second)] == [1, 1]
                async with call(resume=False) as third:
                    with pytest.raises(Overloaded, match="2 live calls; at most 2 are taken") as raised:
                        await third.finish()
                assert raised.value.retry_after_ms == 1000
                async with call(priority=Priority.URGENT) as urgent:
                    await say(urgent, 1)
                    await urgent.finish()
                async with call() as waiting:
                    saying = asyncio.create_task(say(waiting, 1))
                    await first.finish()
                    assert [update.number for update in await saying] == [1]
                    assert (await waiting.finish()).updates == 1
