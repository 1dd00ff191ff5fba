"""A new version takes over when it is no candidate and Triton serves it right; otherwise the old one stays."""

from __future__ import annotations

import shutil

import pytest
from tritonclient import grpc as triton_grpc

from client import InvalidRequest, ModelNotFound, TriageClient
from preprocess_service.contract import CANDIDATE_MARKER, read_contract
from preprocess_service.model_spec import MODELS
from tests.e2e.tiny_models import add_version, make_repository
from tests.e2e.traffic import Traffic
from tests.health_watch import HealthWatch
from tests.service_process import ServiceProcess
from tests.triton_process import TritonProcess, wait_until
from tests.unit.recordings import file_bytes, speech_like

GOOD = file_bytes(speech_like(2, 8000), 8000, "WAV")
# Each test changes a model of its own, so that all may share a Triton and a service.
TAKES_OVER, GOES_BACK, WRONG, BROKEN, PROMOTED, REJECTED, CANDIDATE_ONLY = MODELS


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    names = [name for name in MODELS if name != CANDIDATE_ONLY]
    return make_repository(tmp_path_factory.mktemp("versions") / "models", *names)


@pytest.fixture(scope="module")
def empty_triton(repository, tmp_path_factory):
    options = ("--model-control-mode", "explicit")
    with TritonProcess(repository, log=tmp_path_factory.mktemp("triton") / "log", options=options) as process:
        yield process


@pytest.fixture(scope="module")
def versions_service(repository, empty_triton, tmp_path_factory):
    settings = {"model_repository": repository, "triton_address": empty_triton.grpc_address}
    settings |= {"loaded_models": ",".join(MODELS), "canary_interval_s": 0.2}
    with ServiceProcess(log=tmp_path_factory.mktemp("service") / "log", **settings) as process:
        yield process


@pytest.fixture(scope="module")
def caller(versions_service):
    with TriageClient(versions_service.address, deadline_s=60) as client:
        yield client


def have_triton_load(triton, model):
    with triton_grpc.InferenceServerClient(triton.grpc_address) as server:
        server.load_model(model)


def test_a_new_version_is_loaded_and_takes_over_without_a_lost_call(repository, versions_service):
    with Traffic(versions_service.address, GOOD, model=TAKES_OVER) as traffic:
        assert traffic.goes_on()
        add_version(repository, TAKES_OVER, 2, probability=0.9)
        assert wait_until(lambda: traffic.versions() == {"1", "2"}, 60)
        assert traffic.goes_on()

    assert traffic.errors == []
    assert {(each.model_version, each.decision) for each in traffic.verdicts} == {
        ("1", "uncertain"),
        ("2", "emergency"),
    }
    assert versions_service.is_serving(f"wigeup.v1.Triage/{TAKES_OVER}")


def test_when_the_newest_version_goes_the_one_before_answers_without_a_lost_call(
    repository, empty_triton, versions_service, tmp_path
):
    add_version(repository, GOES_BACK, 2)
    name = f"wigeup.v1.Triage/{GOES_BACK}"
    with (
        Traffic(versions_service.address, GOOD, model=GOES_BACK) as traffic,
        HealthWatch(versions_service.address, name) as health,
    ):
        assert wait_until(lambda: "2" in traffic.versions(), 60)
        (repository / GOES_BACK / "2").rename(tmp_path / "rejected")
        have_triton_load(empty_triton, GOES_BACK)  # at once, whether or not the service has looked
        assert wait_until(lambda: traffic.verdicts[-1].model_version == "1", 60)
        assert traffic.goes_on()

    assert traffic.errors == []
    assert health.told == ["SERVING"]  # no call was lost, so no load balancer may send callers elsewhere


def test_when_the_newest_version_goes_while_nobody_calls_the_model_stays_healthy(
    repository, empty_triton, versions_service, tmp_path, caller
):
    def in_service():
        return {model.name: model.version for model in caller.list_models()}[GOES_BACK]

    before = in_service()
    add_version(repository, GOES_BACK, 3)
    assert wait_until(lambda: in_service() == "3", 60)
    with HealthWatch(versions_service.address, f"wigeup.v1.Triage/{GOES_BACK}") as health:
        (repository / GOES_BACK / "3").rename(tmp_path / "rejected")
        have_triton_load(empty_triton, GOES_BACK)
        assert wait_until(lambda: in_service() == before, 60)

    assert health.told == ["SERVING"]
    assert caller.classify(GOOD, model=GOES_BACK).model_version == before


def test_a_new_version_that_answers_wrongly_does_not_take_over(repository, versions_service, caller):
    # Its contract is the first version's: Triton's answer is another.
    graphs = read_contract(repository / WRONG / "1", MODELS[WRONG]).graphs
    add_version(repository, WRONG, 2, probability=0.9, graphs=graphs)

    assert wait_until(lambda: f"answers the canary of {WRONG}/2" in versions_service.log_text(), 60)
    assert caller.classify(GOOD, model=WRONG).model_version == "1"
    assert versions_service.is_serving(f"wigeup.v1.Triage/{WRONG}")


def test_a_new_version_that_triton_cannot_load_does_not_take_over(repository, versions_service, caller):
    add_version(repository, BROKEN, 2, broken=True)

    assert wait_until(lambda: f"Triton cannot load {BROKEN}: " in versions_service.log_text(), 60)
    assert caller.classify(GOOD, model=BROKEN).model_version == "1"
    assert versions_service.is_serving(f"wigeup.v1.Triage/{BROKEN}")
    told = [line for line in versions_service.log_lines() if line["message"] == "version stays"]
    assert [line["model"] for line in told].count(BROKEN) == 1


def test_a_candidate_answers_only_who_asks_for_it_until_it_is_promoted(repository, empty_triton, caller):
    folder = add_version(repository, PROMOTED, 2, probability=0.9, candidate=True)
    with pytest.raises(ModelNotFound, match=f"Triton does not serve version 2 of {PROMOTED}"):
        caller.classify(GOOD, model=PROMOTED, model_version="2")
    have_triton_load(empty_triton, PROMOTED)

    by_number = caller.classify(GOOD, model=PROMOTED, model_version="2")
    tensors = caller.preprocess(GOOD, model=PROMOTED, model_version="2")
    by_default = [caller.classify(GOOD, model=PROMOTED) for _ in range(10)]

    assert (by_number.model_version, by_number.decision) == ("2", "emergency")
    assert tensors.model_version == "2"
    assert {verdict.model_version for verdict in by_default} == {"1"}

    (folder / CANDIDATE_MARKER).unlink()
    assert wait_until(lambda: caller.classify(GOOD, model=PROMOTED).model_version == "2", 60)
    assert caller.classify(GOOD, model=PROMOTED, model_version="1").decision == "uncertain"


def test_a_candidate_that_is_rejected_leaves_no_trace(repository, empty_triton, versions_service, caller):
    folder = add_version(repository, REJECTED, 2, candidate=True)
    have_triton_load(empty_triton, REJECTED)
    with Traffic(versions_service.address, GOOD, model=REJECTED) as traffic:
        assert caller.classify(GOOD, model=REJECTED, model_version="2").model_version == "2"
        shutil.rmtree(folder)
        have_triton_load(empty_triton, REJECTED)
        with pytest.raises(ModelNotFound, match=f"'{REJECTED}' has no version 2; there are 1"):
            caller.classify(GOOD, model=REJECTED, model_version="2")
        assert traffic.goes_on()

    assert traffic.errors == []
    assert traffic.versions() == {"1"}


def test_a_model_of_candidates_only_has_nothing_in_service(repository, empty_triton, caller):
    add_version(repository, CANDIDATE_ONLY, 1, candidate=True)
    with pytest.raises(ModelNotFound, match="has no version in service, only candidates"):
        caller.classify(GOOD, model=CANDIDATE_ONLY)
    have_triton_load(empty_triton, CANDIDATE_ONLY)

    assert caller.classify(GOOD, model=CANDIDATE_ONLY, model_version="1").model_version == "1"


@pytest.mark.parametrize("version", ["x", "01", "-1", "1.0", "²", "9" * 5000])
def test_a_version_that_is_no_number_is_refused(caller, version):
    with pytest.raises(InvalidRequest, match="it must be a number"):
        caller.classify(GOOD, model_version=version)
