"""A service of several workers: they share its port and its work, and one that dies takes only its own calls along."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from client import AsyncTriageClient, AudioFormat, TriageClient
from loadtest.processes import listeners
from tests.e2e.frozen import Frozen
from tests.e2e.live_callers import LIMIT_S, Caller, mulaw
from tests.e2e.tiny_models import add_version, load_slowly, make_repository
from tests.service_process import ServiceProcess
from tests.triton_process import TritonProcess, wait_until
from tests.unit.recordings import file_bytes, speech_like

MULAW = AudioFormat.mulaw()
GOOD = file_bytes(speech_like(2, 8000), 8000, "WAV")
MINUTE = bytes(60 * 8000)  # mu-law: more windows than Triton takes at once
CONNECTIONS = 24  # so many that no worker is left without one, but for one try in four million
CALLERS, SECONDS = 12, 15.6
WORKERS: dict[str, Any] = {"workers": 2, "loaded_models": "multimodal", "triton_timeout_s": 120}
CALM = {"live_longest_lag_s": 600, "live_deadline_s": 60}  # nothing is skipped because the machine has other work


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonProcess]:
    folder = tmp_path_factory.mktemp("workers")
    repository = make_repository(folder / "models", "multimodal")
    for name in ("cnn", "lstm"):
        add_version(repository, name, 1)
        load_slowly(repository, name, 400)
    options = ("--model-control-mode", "explicit")
    with TritonProcess(repository, log=folder / "triton.log", options=options) as process:
        yield process


@pytest.fixture(scope="module")
def settings(triton: TritonProcess) -> dict[str, Any]:
    return {**WORKERS, "model_repository": triton.model_repository, "triton_address": triton.grpc_address}


@pytest.fixture(scope="module")
def service(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    log = tmp_path_factory.mktemp("service") / "log"
    demand = {"max_on_demand": 1, "min_stay_s": 0, "canary_interval_s": 0.2}
    with ServiceProcess(log=log, **settings, **demand, **CALM) as process:
        yield process


def ask(service: ServiceProcess, name: str, **request: Any) -> dict[str, int]:
    """One call over each of many connections, at once; which worker has answered it, by call id."""

    def call(number: int) -> str:
        with TriageClient(service.address, deadline_s=120, own_connection=True) as client:
            return client.classify(GOOD, call_id=f"{name}-{number}", **request).call_id

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        answered = set(pool.map(call, range(CONNECTIONS)))
    return workers_of(service, "classified", answered)


def workers_of(service: ServiceProcess, message: str, calls: set[str]) -> dict[str, int]:
    found = {line["call_id"]: line["worker"] for line in service.log_lines() if line["message"] == message}
    assert calls <= set(found)
    return {call: found[call] for call in calls}


def loads(triton: TritonProcess, model: str) -> int:
    return triton.log.read_text(encoding="utf-8").count(f'"loading: {model}:1"')


def test_connections_are_spread_over_the_workers(service):
    workers = listeners(service.port)

    assert len(workers) == 2
    assert {psutil.Process(worker).ppid() for worker in workers} == {service.pid}
    assert set(ask(service, "spread").values()) == {1, 2}


def test_a_model_is_loaded_once_for_all_workers_and_known_to_all(triton, service):
    before = loads(triton, "cnn")

    assert set(ask(service, "cnn", model="cnn").values()) == {1, 2}
    assert loads(triton, "cnn") == before + 1
    with ExitStack() as stack:
        connect = lambda: stack.enter_context(TriageClient(service.address, own_connection=True))  # noqa: E731
        clients = [connect() for _ in range(CONNECTIONS)]
        assert wait_until(lambda: all(each.health("wigeup.v1.Triage/cnn").serving for each in clients), LIMIT_S)


def test_a_model_that_one_worker_has_unloaded_is_loaded_again_for_any(triton, service):
    ask(service, "first", model="cnn")
    before = loads(triton, "cnn"), loads(triton, "lstm")

    with TriageClient(service.address, deadline_s=120) as client:
        client.classify(GOOD, model="lstm")
    assert set(ask(service, "again", model="cnn").values()) == {1, 2}

    assert (loads(triton, "cnn"), loads(triton, "lstm")) == (before[0] + 1, before[1] + 1)


def test_a_killed_worker_takes_only_its_own_calls_along_and_is_started_anew(service):
    callers = [Caller(f"live-{number}", mulaw(SECONDS, number % 4)) for number in range(CALLERS)]
    before = listeners(service.port)
    (victim, *_) = before

    asyncio.run(hold(service.address, callers, lambda: os.kill(victim, signal.SIGKILL)))

    (ended,) = (line for line in service.log_lines() if line["message"] == "worker ended")
    assert ended["reason"] == "killed by SIGKILL"
    begun = [line for line in service.log_lines() if line["message"] == "live call"]
    first = {line["call_id"]: line["worker"] for line in reversed(begun)}
    assert set(first.values()) == {1, 2}
    for caller in callers:
        assert (caller.reconnections > 0) == (first[caller.call_id] == ended["worker"])
        assert caller.summary is not None
        assert [update.number for update in caller.updates] == list(range(1, len(caller.updates) + 1))
    assert wait_until(lambda: len(listeners(service.port)) == 2, 240)
    assert victim not in listeners(service.port)
    assert set(before) & set(listeners(service.port))
    assert set(ask(service, "after").values()) == {1, 2}


async def hold(address: str, callers: list[Caller], disturb: Any) -> None:
    """Lets all callers speak, each over a connection of its own; `disturb` comes once all have had updates."""
    has_begun = asyncio.Barrier(len(callers) + 1)
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as tasks:
        for caller in callers:
            tasks.create_task(speak(address, caller, has_begun))
        await has_begun.wait()
        disturb()


async def speak(address: str, caller: Caller, has_begun: asyncio.Barrier) -> None:
    async with AsyncTriageClient(address, own_connection=True) as client:
        await caller.hold(client, 8.3, has_begun)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_taken_port_stops_the_start(service, tmp_path, workers):
    second = ServiceProcess(log=tmp_path / "log", workers=workers)
    second.settings["PORT"] = str(service.port)
    second.start(wait=False)

    assert second.wait(LIMIT_S) == 2
    assert f"cannot listen on 127.0.0.1:{service.port}" in second.log_text()
    assert service.is_serving()


def test_a_service_of_one_worker_is_one_process_that_keeps_its_port(settings, tmp_path):
    with ServiceProcess(log=tmp_path / "log", **{**settings, "workers": 1}) as alone:
        assert listeners(alone.port) == [alone.pid]
        assert psutil.Process(alone.pid).children() == []
        assert all("worker" not in line for line in alone.log_lines())
        second = ServiceProcess(log=tmp_path / "second", workers=2)
        second.settings["PORT"] = str(alone.port)
        second.start(wait=False)
        assert second.wait(LIMIT_S) == 2


def test_a_contract_that_does_not_fit_ends_all_workers_at_once(settings, tmp_path):
    repository = make_repository(tmp_path / "models", "multimodal")
    path = repository / "multimodal/1/contract.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"model": "cnn"}), encoding="utf-8")

    service = ServiceProcess(log=tmp_path / "log", **{**settings, "model_repository": repository})
    service.start(wait=False)

    assert service.wait(LIMIT_S) == 2
    (refusal,) = service.log_lines()
    assert "model is 'cnn'; this service needs 'multimodal'" in refusal["reason"]


def test_sigterm_lets_calls_under_way_end_in_every_worker(triton, settings, tmp_path):
    calm = {"shutdown_grace_s": 120, "canary_interval_s": 3600}  # only callers ask Triton, after the first check
    with ServiceProcess(log=tmp_path / "log", **settings, **calm) as service, ExitStack() as stack:
        clients = one_of_each(service, stack)
        pool = stack.enter_context(ThreadPoolExecutor(2))
        with Frozen(triton, "multimodal") as frozen:
            calls = [pool.submit(each.classify, MINUTE, format=MULAW) for each in clients]
            # Each has two batches under way, of which the model's two instances hold two: a third is of the other call.
            assert wait_until(frozen.has_waiting_requests, LIMIT_S)
            os.kill(service.pid, signal.SIGTERM)
            assert wait_until(lambda: service.log_text().count('"stopping"') == 2, LIMIT_S)
            assert not any(call.done() for call in calls)

        assert [call.result().audio_s for call in calls] == [60, 60]
        assert service.wait(LIMIT_S) == 0
        assert service.log_lines()[-1]["message"] == "stopped"


def one_of_each(service: ServiceProcess, stack: ExitStack) -> list[TriageClient]:
    """A client of each worker."""
    clients = {}
    for number in range(CONNECTIONS):
        client = stack.enter_context(TriageClient(service.address, deadline_s=150, own_connection=True))
        call = client.classify(GOOD, call_id=f"whose-{number}").call_id
        clients[workers_of(service, "classified", {call})[call]] = client
    assert set(clients) == {1, 2}
    return list(clients.values())


def test_workers_end_with_a_killed_supervisor(settings, tmp_path):
    with ServiceProcess(log=tmp_path / "log", **settings) as service:
        workers = [psutil.Process(each) for each in listeners(service.port)]

        os.kill(service.pid, signal.SIGKILL)

        gone, alive = psutil.wait_procs(workers, LIMIT_S)
        assert len(gone) == 2, alive
        assert service.log_text().count('"stopped"') == 2
