"""Models are loaded when they are needed: at the start, by their first request, after a restart of Triton."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from tritonclient import grpc as triton_grpc

from client import (
    AudioFormat,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    ServiceUnavailable,
    TriageClient,
)
from preprocess_service.model_spec import MODELS
from tests.e2e.frozen import Frozen, have_one_instance
from tests.e2e.tiny_models import LIKELIEST, PROVIDER, add_version, load_slowly, make_repository
from tests.e2e.traffic import Traffic
from tests.service_process import ServiceProcess
from tests.triton_process import TritonProcess, wait_until
from tests.unit.recordings import file_bytes, speech_like
from training.manifest import EMERGENCY_KINDS

GOOD = file_bytes(speech_like(2, 8000), 8000, "WAV")
EXPLICIT = ("--model-control-mode", "explicit")
MINUTE = bytes(60 * 8000)  # mu-law: more windows than Triton takes at once
FAST_CANARY = {"canary_interval_s": 0.2}
# Only callers ask Triton then, after the first check, and it may take its time.
CALLERS_ONLY = {"canary_interval_s": 3600, "triton_timeout_s": 120}
SLOW_RUNS = 1200  # seconds


def health_name(model):
    return f"wigeup.v1.Triage/{model}"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = make_repository(tmp_path_factory.mktemp("loading") / "models", "multimodal", "vgg16", "vgg16_lstm")
    add_version(folder, "cnn", 1, probability=0.1)
    add_version(folder, "lstm", 1, probability=0.9)
    for name in ("cnn", "lstm", "vgg16"):
        load_slowly(folder, name, SLOW_RUNS)
    add_version(folder, "yamnet", 1, broken=True)
    path = add_version(folder, "cnn_lstm", 1) / "contract.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"surprise": 1}), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def empty_triton(repository, tmp_path_factory):
    """A Triton that has loaded nothing by itself."""
    log = tmp_path_factory.mktemp("triton") / "log"
    with TritonProcess(repository, log=log, options=EXPLICIT) as process:
        yield process


@pytest.fixture(scope="module")
def loading_service(repository, empty_triton, tmp_path_factory):
    settings = {"model_repository": repository, "triton_address": empty_triton.grpc_address}
    log = tmp_path_factory.mktemp("service") / "log"
    with ServiceProcess(log=log, loaded_models="multimodal", **FAST_CANARY, **settings) as process:
        yield process


@pytest.fixture(scope="module")
def caller(loading_service):
    with TriageClient(loading_service.address, deadline_s=60) as client:
        yield client


def loads(triton, model):
    """How often that Triton has begun to load the model."""
    return triton.log.read_text(encoding="utf-8").count(f'"loading: {model}:1"')


def test_the_first_request_loads_a_model_while_others_are_answered(empty_triton, loading_service, caller):
    assert loading_service.health(health_name("cnn")) == "NOT_SERVING"
    assert loading_service.is_serving()

    with Traffic(loading_service.address, GOOD) as traffic, ThreadPoolExecutor(1) as pool:
        assert traffic.goes_on()
        call = pool.submit(caller.classify, GOOD, model="cnn")
        with Frozen(empty_triton, "cnn"):
            started_s = time.monotonic()
            assert traffic.goes_on(20)
            assert not call.done()
            held_ms = 1000 * (time.monotonic() - started_s)
        first = call.result()

    assert traffic.errors == []
    assert first.times.load_ms >= held_ms
    assert first.times.total_ms >= first.times.load_ms
    assert caller.classify(GOOD, model="cnn").times.load_ms < first.times.load_ms
    assert loads(empty_triton, "cnn") == 1
    assert wait_until(lambda: loading_service.is_serving(health_name("cnn")), 60)


def test_requests_at_once_wait_for_one_load(empty_triton, loading_service):
    def call(_):
        with TriageClient(loading_service.address, deadline_s=60) as client:
            return client.classify(GOOD, model="lstm")

    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(call, range(8)))

    assert {verdict.model for verdict in verdicts} == {"lstm"}
    assert sum(verdict.times.load_ms > 100 for verdict in verdicts) > 1
    assert loads(empty_triton, "lstm") == 1


def test_a_load_goes_on_when_nobody_waits_any_more(empty_triton, loading_service, caller):
    def load_has_begun():
        with pytest.raises(DeadlineExceeded, match="while Triton loaded vgg16|[Dd]eadline"):
            caller.classify(GOOD, model="vgg16", deadline_s=0.5)
        return loads(empty_triton, "vgg16") == 1

    assert wait_until(load_has_begun, 60)
    assert wait_until(lambda: loading_service.is_serving(health_name("vgg16")), 60)
    assert loads(empty_triton, "vgg16") == 1


def test_a_model_that_triton_cannot_load_says_why(loading_service, caller):
    for _ in range(2):  # the second within the pause: Triton is not asked again
        with pytest.raises(ServiceUnavailable, match="Triton cannot load yamnet: .*Protobuf parsing failed"):
            caller.classify(GOOD, model="yamnet")

    assert caller.classify(GOOD).model == "multimodal"
    assert loading_service.health(health_name("yamnet")) == "NOT_SERVING"


def test_a_model_whose_contract_does_not_fit_is_left_out(loading_service, caller):
    with pytest.raises(ModelNotFound, match="'cnn_lstm' cannot be asked: surprise: ") as refusal:
        caller.classify(GOOD, model="cnn_lstm")

    assert "/" not in str(refusal.value)  # where it lies is nobody's business
    assert "cnn_lstm/1/contract.json" in loading_service.log_text()
    assert "cnn_lstm" not in {model.name for model in caller.list_models()}
    assert loading_service.health(health_name("cnn_lstm")) == "SERVICE_UNKNOWN"
    assert loading_service.log_text().count("version left out") == 1


@pytest.mark.parametrize(
    ("audio", "audio_format"),
    [(b"\xff", AudioFormat.mulaw()), (b"\xff", AudioFormat()), (GOOD[:-1000], AudioFormat())],
    ids=["a byte of mu-law", "a byte of a file", "a cut file"],
)
def test_what_is_no_recording_loads_no_model(empty_triton, caller, audio, audio_format):
    with pytest.raises(InvalidRequest):
        caller.classify(audio, format=audio_format, model="vgg16_lstm")

    assert loads(empty_triton, "vgg16_lstm") == 0


def test_the_list_says_what_is_loaded_and_how(caller):
    caller.classify(GOOD)

    models = {model.name: model for model in caller.list_models()}

    assert (models["multimodal"].loaded, models["multimodal"].precision) == (True, "fp32")
    assert models["multimodal"].provider == PROVIDER
    assert models["multimodal"].kinds == EMERGENCY_KINDS
    assert (models["yamnet"].loaded, models["yamnet"].precision, models["yamnet"].kinds) == (False, "", ())


def test_a_verdict_lies_in_one_of_three_bands(caller):
    verdicts = {model: caller.classify(GOOD, model=model) for model in ("cnn", "multimodal", "lstm")}

    assert {model: verdict.decision for model, verdict in verdicts.items()} == {
        "cnn": "normal",
        "multimodal": "uncertain",
        "lstm": "emergency",
    }
    assert [verdict.emergency for verdict in verdicts.values()] == [False, False, True]
    assert {(verdict.uncertain_from, verdict.threshold) for verdict in verdicts.values()} == {(0.3, 0.8)}


def test_a_verdict_names_the_three_likeliest_kinds(caller):
    kinds = caller.classify(GOOD).kinds

    assert [kind.name for kind in kinds[:2]] == list(EMERGENCY_KINDS[LIKELIEST : LIKELIEST + 2])
    assert len(kinds) == 3
    assert kinds[0].probability == pytest.approx(7.389 / (7.389 + 2.718 + 12), abs=1e-3)
    assert kinds[0].probability > kinds[1].probability > kinds[2].probability > 0
    assert caller.classify(GOOD, model="cnn").kinds == ()


def test_a_second_service_takes_what_is_loaded_and_disturbs_nobody(repository, empty_triton, loading_service, tmp_path):
    settings = {"model_repository": repository, "triton_address": empty_triton.grpc_address}
    with Traffic(loading_service.address, GOOD) as traffic:
        with (
            ServiceProcess(log=tmp_path / "log", loaded_models="", load_on_demand=False, **settings) as second,
            TriageClient(second.address, deadline_s=30) as client,
        ):
            assert client.classify(GOOD).model == "multimodal"
            with pytest.raises(InvalidRequest, match="'vgg16_lstm', and WIGEUP_LOAD_ON_DEMAND is off") as refusal:
                client.classify(GOOD, model="vgg16_lstm")
        assert traffic.goes_on()

    assert refusal.value.status is grpc.StatusCode.FAILED_PRECONDITION
    assert loads(empty_triton, "multimodal") == 1
    assert loads(empty_triton, "vgg16_lstm") == 0
    assert traffic.errors == []


@pytest.fixture(scope="module")
def own_triton(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    repository = make_repository(folder / "models", "multimodal", "cnn", "lstm")
    for name in ("multimodal", "cnn"):
        have_one_instance(repository, name)
    with TritonProcess(repository, log=folder / "triton.log", options=EXPLICIT) as process:
        yield process


@pytest.fixture(scope="module")
def own_service(own_triton, tmp_path_factory):
    settings = {"model_repository": own_triton.model_repository, "triton_address": own_triton.grpc_address}
    settings |= {"loaded_models": "multimodal", "max_on_demand": 1, "min_stay_s": 0}
    with ServiceProcess(log=tmp_path_factory.mktemp("service") / "log", **FAST_CANARY, **settings) as process:
        yield process


def ready_models(triton):
    with triton_grpc.InferenceServerClient(triton.grpc_address) as server:
        return {name for name in MODELS if server.is_model_ready(name)}


def unload(triton, model):
    """Leaves only the default model loaded, as each test finds it."""
    with triton_grpc.InferenceServerClient(triton.grpc_address) as server:
        server.unload_model(model)
    assert wait_until(lambda: ready_models(triton) == {"multimodal"}, 60)


def test_callers_of_ever_another_model_do_not_have_models_loaded_in_turn(own_triton, tmp_path):
    settings = {"model_repository": own_triton.model_repository, "triton_address": own_triton.grpc_address}
    settings |= {"loaded_models": "multimodal", "max_on_demand": 1, "min_stay_s": 3600}
    with (
        ServiceProcess(log=tmp_path / "log", **settings) as service,
        TriageClient(service.address, deadline_s=60) as client,
    ):
        for _ in range(5):
            assert client.classify(GOOD, model="cnn").model == "cnn"
            with pytest.raises(Overloaded, match="model 'lstm' is not loaded: 1 others are") as refusal:
                client.classify(GOOD, model="lstm")

    assert 1000 <= (refusal.value.retry_after_ms or 0) <= 3_600_000
    assert (loads(own_triton, "cnn"), loads(own_triton, "lstm")) == (1, 0)
    unload(own_triton, "cnn")


def test_what_there_is_no_room_for_loads_no_model(own_triton, tmp_path):
    settings = {"model_repository": own_triton.model_repository, "triton_address": own_triton.grpc_address}
    settings |= {"loaded_models": "", "max_in_flight": 1, "max_waiting": 0}
    before = loads(own_triton, "lstm")
    with (
        ServiceProcess(log=tmp_path / "log", **CALLERS_ONLY, **settings) as service,
        TriageClient(service.address, deadline_s=120) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        with Frozen(own_triton, "multimodal") as frozen:
            call = pool.submit(client.classify, MINUTE, format=AudioFormat.mulaw())
            assert wait_until(frozen.has_waiting_requests, 60)
            with pytest.raises(Overloaded):
                client.classify(GOOD, model="lstm")
        assert call.result().audio_s == 60

    assert loads(own_triton, "lstm") == before


def test_the_least_recently_used_model_gives_way_but_not_while_it_is_used(own_triton, tmp_path):
    settings = {"model_repository": own_triton.model_repository, "triton_address": own_triton.grpc_address}
    settings |= {"loaded_models": "multimodal", "max_on_demand": 1, "min_stay_s": 0}
    with (
        ServiceProcess(log=tmp_path / "log", **CALLERS_ONLY, **settings) as service,
        TriageClient(service.address, deadline_s=120) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        client.classify(GOOD, model="cnn")
        with Frozen(own_triton, "cnn") as frozen:
            call = pool.submit(client.classify, MINUTE, format=AudioFormat.mulaw(), model="cnn")
            assert wait_until(frozen.has_waiting_requests, 60)
            client.classify(GOOD, model="lstm")
            assert not call.done()
            assert ready_models(own_triton) == {"multimodal", "cnn", "lstm"}
        assert call.result().audio_s == 60
        assert wait_until(lambda: ready_models(own_triton) == {"multimodal", "cnn"}, 60)

        client.classify(GOOD, model="lstm")
        assert ready_models(own_triton) == {"multimodal", "lstm"}
    unload(own_triton, "lstm")


def test_models_are_loaded_again_after_a_restart_of_triton(own_triton, own_service):
    with TriageClient(own_service.address, deadline_s=120) as client:
        client.classify(GOOD, model="cnn")
        assert wait_until(lambda: own_service.is_serving(health_name("cnn")), 60)
        client.classify(GOOD, model="lstm")
        assert wait_until(lambda: own_service.health(health_name("cnn")) == "NOT_SERVING", 60)  # it has given way
        assert own_service.is_serving()
        own_triton.restart()

        assert wait_until(lambda: ready_models(own_triton) == {"multimodal"}, 60)
        assert wait_until(own_service.is_serving, 60)
        assert client.classify(GOOD).model == "multimodal"
        assert client.classify(GOOD, model="cnn").model == "cnn"
    assert own_service.exit_code() is None
