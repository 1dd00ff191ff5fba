"""A new version takes over when Triton serves it and it answers right; otherwise the old one stays."""

from __future__ import annotations

import json
import shutil

import pytest

from client import TriageClient
from tests.e2e.conftest import MODEL_REPOSITORY
from tests.service_process import ServiceProcess
from tests.triton_process import TritonProcess, wait_until
from tests.unit.recordings import file_bytes, speech_like

GOOD = file_bytes(speech_like(2, 8000), 8000, "WAV")


def add_version(repository, version, canary_shift=0.0):
    """A copy of version 1 under another number, moved into place whole as the export does."""
    partial = repository / "multimodal" / ".new"
    shutil.copytree(repository / "multimodal/1", partial)
    path = partial / "contract.json"
    contract = json.loads(path.read_text(encoding="utf-8"))
    contract["version"] = version
    contract["canary"]["probability"] += canary_shift
    path.write_text(json.dumps(contract), encoding="utf-8")
    partial.rename(repository / "multimodal" / str(version))


@pytest.fixture
def repository(tmp_path):
    shutil.copytree(MODEL_REPOSITORY / "multimodal", tmp_path / "models/multimodal")
    return tmp_path / "models"


@pytest.fixture
def polling_triton(repository, tmp_path):
    options = ("--model-control-mode", "poll", "--", "--repository-poll-secs=1")
    with TritonProcess(repository, log=tmp_path / "triton.log", options=options) as process:
        yield process


def test_a_new_version_takes_over_without_a_lost_call(repository, polling_triton, tmp_path):
    settings = {"model_repository": repository, "triton_address": polling_triton.grpc_address}
    with (
        ServiceProcess(log=tmp_path / "log", canary_interval_s=0.2, **settings) as service,
        TriageClient(service.address, deadline_s=30) as client,
    ):
        assert client.classify(GOOD).model_version == "1"

        add_version(repository, 2)

        assert wait_until(lambda: client.classify(GOOD).model_version == "2", 60)
        assert service.is_serving()


def test_a_new_version_that_answers_wrongly_does_not_take_over(repository, polling_triton, tmp_path):
    settings = {"model_repository": repository, "triton_address": polling_triton.grpc_address}
    with (
        ServiceProcess(log=tmp_path / "log", canary_interval_s=0.2, **settings) as service,
        TriageClient(service.address, deadline_s=30) as client,
    ):
        add_version(repository, 2, canary_shift=0.4)

        assert wait_until(lambda: "answers the canary of multimodal/2" in service.log_text(), 60)
        assert client.classify(GOOD).model_version == "1"
        assert service.is_serving()
