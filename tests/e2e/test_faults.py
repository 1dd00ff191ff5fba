"""Triton gone, wrong or slow; the service's own start and stop."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tritonclient import grpc as triton_grpc

from client import Overloaded, ServiceUnavailable, TriageClient
from preprocess_service.contract import MODEL_FILE, Canary, Graph
from preprocess_service.model_spec import CNN, VGG16
from preprocess_service.proto.wigeup.v1 import triage_pb2, triage_pb2_grpc
from tests.e2e.tiny_models import add_version, make_repository
from tests.service_process import ServiceProcess
from tests.triton_process import TritonProcess, wait_until
from tests.unit.recordings import file_bytes, speech_like

GOOD = file_bytes(speech_like(2, 8000), 8000, "WAV")
SECRET_TRANSCRIPT = "비밀스러운문장입니다"
GRAPH_FILES = (MODEL_FILE, VGG16.cpu.graph_file, VGG16.gpu.graph_file)
FAST_CANARY = {"canary_interval_s": 0.2}
CROWD = 800


@pytest.fixture
def repository(tmp_path):
    return make_repository(tmp_path / "models", "multimodal")


@pytest.fixture(scope="module")
def own_triton(tmp_path_factory):
    """One that serves a good model, one whose contract lies, and a graph that a contract does not know."""
    folder = tmp_path_factory.mktemp("faults")
    faulty = make_repository(folder / "models", "multimodal", "cnn")
    lie = Graph(precision="fp32", provider="none", canary=Canary(probability=0.7, tolerance=1e-3), gate={})
    add_version(faulty, "vgg16", 1, probability=0.3, graphs=dict.fromkeys(GRAPH_FILES, lie))
    path = faulty / "cnn/configs/cpu.pbtxt"
    path.write_text(path.read_text(encoding="utf-8").replace(CNN.cpu.graph_file, "other.onnx"), encoding="utf-8")
    shutil.copy(faulty / "cnn/1/model.onnx", faulty / "cnn/1/other.onnx")
    options = ("--model-control-mode", "explicit")
    with TritonProcess(faulty, log=folder / "triton.log", options=options) as process:
        yield process


@pytest.fixture(scope="module")
def own_service(own_triton, tmp_path_factory):
    settings = {"model_repository": own_triton.model_repository, "triton_address": own_triton.grpc_address}
    with ServiceProcess(log=tmp_path_factory.mktemp("service") / "log", **settings, **FAST_CANARY) as process:
        yield process


def test_a_lost_triton_is_told_and_found_again(own_triton, own_service):
    with TriageClient(own_service.address, deadline_s=60) as client:
        before = client.classify(GOOD)
        own_triton.kill()

        with pytest.raises(ServiceUnavailable, match="Triton at"):
            client.classify(GOOD)
        assert wait_until(lambda: own_service.health() == "NOT_SERVING", 60)

        own_triton.start()
        assert wait_until(own_service.is_serving, 60)
        assert client.classify(GOOD).probability == pytest.approx(before.probability, abs=1e-6)
    assert own_service.exit_code() is None


def test_a_frozen_triton_is_told_within_the_deadline(own_triton, own_service):
    os.kill(own_triton.pid, signal.SIGSTOP)
    try:
        with (
            TriageClient(own_service.address, deadline_s=60) as client,
            pytest.raises(ServiceUnavailable, match="did not answer within"),
        ):
            client.classify(GOOD)
        assert wait_until(lambda: own_service.health() == "NOT_SERVING", 60)
    finally:
        os.kill(own_triton.pid, signal.SIGCONT)
    assert wait_until(own_service.is_serving, 60)


def test_a_service_may_start_before_a_triton_that_loads_all_models_by_itself(repository, tmp_path):
    add_version(repository, "cnn", 1)
    triton = TritonProcess(repository, log=tmp_path / "triton.log")  # and lets nobody have models loaded
    settings = {"model_repository": repository, "triton_address": triton.grpc_address}
    service = ServiceProcess(log=tmp_path / "service.log", loaded_models="", **settings, **FAST_CANARY)
    for folder in repository.iterdir():  # it does not start with one that holds no version
        if folder.name not in ("multimodal", "cnn"):
            shutil.rmtree(folder)
    service.start(wait=False)
    try:
        assert wait_until(lambda: service.health() == "NOT_SERVING", 60)
        with triton, TriageClient(service.address, deadline_s=60) as client:
            assert wait_until(service.is_serving, 60)
            assert client.classify(GOOD, model="cnn").model == "cnn"
            add_version(repository, "lstm", 1)
            assert wait_until(lambda: service.health("wigeup.v1.Triage/lstm") == "NOT_SERVING", 60)
            with pytest.raises(ServiceUnavailable, match="refuses: .*not allowed"):
                client.classify(GOOD, model="lstm")
    finally:
        service.stop()


def test_a_model_that_answers_wrongly_is_not_ready(own_service):
    assert wait_until(lambda: "answers the canary of vgg16/1" in own_service.log_text(), 60)
    assert own_service.health("wigeup.v1.Triage/vgg16") == "NOT_SERVING"
    with TriageClient(own_service.address, deadline_s=60) as client:
        with pytest.raises(ServiceUnavailable, match="answers the canary of vgg16/1"):
            client.classify(GOOD, model="vgg16")  # no verdict is better than a wrong one
        assert client.classify(GOOD, model="multimodal").audio_s == 2
    assert own_service.is_serving("wigeup.v1.Triage/multimodal")
    assert own_service.is_serving("wigeup.v1.Triage")


def test_a_graph_that_the_contract_does_not_know_is_not_served(own_service):
    with (
        TriageClient(own_service.address, deadline_s=60) as client,
        pytest.raises(ServiceUnavailable, match="serves 'other.onnx' of cnn/1; its contract knows model.onnx, "),
    ):
        client.classify(GOOD, model="cnn")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda contract: contract["features"].update(hop=441), "features.hop is 441; this service needs 512"),
        (lambda contract: contract.update(model="cnn"), "model is 'cnn'; this service needs 'multimodal'"),
        (lambda contract: contract["files"].update({"model.onnx": "0" * 64}), "SHA-256 of model.onnx"),
        (lambda contract: contract.update(surprise=1), "surprise"),
        (lambda contract: contract["decision"]["with_transcript"].update(threshold=2), "threshold"),
    ],
)
def test_a_contract_that_does_not_fit_stops_the_start(repository, tmp_path, change, reason):
    path = repository / "multimodal/1/contract.json"
    contract = json.loads(path.read_text(encoding="utf-8"))
    change(contract)
    path.write_text(json.dumps(contract), encoding="utf-8")

    service = ServiceProcess(log=tmp_path / "log", model_repository=repository)
    service.start(wait=False)

    assert service.wait(60) == 2
    (line,) = service.log_lines()
    assert reason in line["reason"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_audio_seconds": 3}, "unknown setting WIGEUP_MAX_AUDIO_SECONDS"),
        ({"port": "eighty"}, "port"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"tls_key": "/nowhere.pem"}, "tls_key"),
        ({"model_repository": "/nowhere"}, "/nowhere holds no trained model"),
        ({"default_model": "resnet"}, "the default model is 'resnet'"),
        ({"loaded_models": "multimodal,resnet"}, "model 'resnet' is unknown; there are multimodal, vgg16"),
        ({"max_on_demand": 0}, "max_on_demand"),
    ],
)
def test_a_bad_setting_stops_the_start_by_name(tmp_path, settings, message):
    service = ServiceProcess(log=tmp_path / "log", **settings)
    service.start(wait=False)

    assert service.wait(60) == 2
    assert message in service.log_text()


def test_a_taken_port_stops_the_start(service, tmp_path):
    second = ServiceProcess(log=tmp_path / "log")
    second.settings["PORT"] = str(service.port)
    second.start(wait=False)

    assert second.wait(60) == 2
    assert f"cannot listen on 127.0.0.1:{service.port}" in second.log_text()


def test_sigterm_lets_calls_under_way_end(triton, tmp_path):
    settings = {"triton_address": triton.grpc_address, "triton_timeout_s": 120, "shutdown_grace_s": 120}
    minutes = file_bytes(speech_like(300, 8000), 8000, "WAV")
    with (
        ServiceProcess(log=tmp_path / "log", **settings) as service,
        TriageClient(service.address, deadline_s=120) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        before = _rows_beside_others(triton)
        call = pool.submit(client.classify, minutes)
        # Of its 84 windows; canaries are asked one by one.
        assert wait_until(lambda: _rows_beside_others(triton) >= before + 7, 60)

        assert service.stop(limit_s=150) == 0
        assert call.result().audio_s == 300

    assert service.log_lines()[-1]["message"] == "stopped"


def _rows_beside_others(triton):
    """How many rows more the default model has answered than it took runs."""
    with triton_grpc.InferenceServerClient(triton.grpc_address) as server:
        stats = server.get_inference_statistics("multimodal").model_stats[0]
    return stats.inference_count - stats.execution_count


def test_overload_is_refused_with_a_hint(triton, tmp_path):
    settings = {"max_in_flight": 1, "max_waiting": 1, "triton_address": triton.grpc_address, "triton_timeout_s": 120}
    long = file_bytes(speech_like(180, 8000), 8000, "WAV")  # the others come while the first is under way
    with ServiceProcess(log=tmp_path / "log", **settings) as service, TriageClient(service.address) as client:
        outcomes: list[Any] = []

        def call():
            try:
                outcomes.append(client.classify(long, deadline_s=120))
            except Overloaded as error:
                outcomes.append(error)

        callers = [threading.Thread(target=call) for _ in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(150)

    refused = [each for each in outcomes if isinstance(each, Overloaded)]
    assert len(outcomes) == 8
    assert 1 <= len(refused) <= 6
    assert {each.status for each in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert all((each.retry_after_ms or 0) >= 50 for each in refused)


async def test_of_a_crowd_of_short_calls_each_is_answered_or_refused(triton, tmp_path):
    settings = {"max_in_flight": 8, "max_waiting": 8, "triton_address": triton.grpc_address}
    with ServiceProcess(log=tmp_path / "log", **settings) as service:
        async with grpc.aio.insecure_channel(service.address) as channel:
            request = triage_pb2.ClassifyRequest(audio=GOOD)
            classify = triage_pb2_grpc.TriageStub(channel).Classify
            results = await asyncio.gather(*(classify(request) for _ in range(CROWD)), return_exceptions=True)
            last = await classify(request)

    statuses = Counter(each.code() if isinstance(each, grpc.aio.AioRpcError) else "verdict" for each in results)
    assert set(statuses) == {"verdict", grpc.StatusCode.RESOURCE_EXHAUSTED}
    # Those too many wait neither inside nor before the door.
    assert statuses["verdict"] < CROWD / 2, statuses
    assert last.audio_s == 2


def test_neither_audio_nor_text_is_logged(client, service):
    client.classify(GOOD, transcript=SECRET_TRANSCRIPT, call_id="logged-call")

    lines = service.log_lines()
    assert "logged-call" in {line["call_id"] for line in lines}
    assert all("call_id" in line for line in lines)
    assert SECRET_TRANSCRIPT not in service.log_text()
    assert SECRET_TRANSCRIPT.encode("unicode_escape").decode() not in service.log_text()


def test_reflection_names_the_api(service):
    with grpc.insecure_channel(service.address) as channel:
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        (answer,) = stub.ServerReflectionInfo(iter([request]))

    names = {each.name for each in answer.list_services_response.service}
    assert {"wigeup.v1.Triage", "grpc.health.v1.Health"} <= names


def test_the_service_imports_neither_tensorflow_nor_librosa():
    code = "import sys, preprocess_service.server; print({'tensorflow', 'keras', 'librosa'} & set(sys.modules))"

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "set()"


def test_the_default_address_is_loopback():
    from preprocess_service.settings import Settings

    assert Settings.model_fields["host"].default == "127.0.0.1"
