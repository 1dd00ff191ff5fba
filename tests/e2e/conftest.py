"""The whole path: demo models, a real Triton, the real service, the client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from client import TriageClient
from tests.service_process import ServiceProcess
from tests.triton_process import REPOSITORY_ROOT, TritonProcess
from training.dataset import Corpus, read_corpus

MODEL_REPOSITORY = REPOSITORY_ROOT / "model_repository"
DATA = REPOSITORY_ROOT / "data/synthetic"


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    """The synthetic corpus that `make models` made."""
    return read_corpus(DATA)


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonProcess]:
    options = ("--model-control-mode", "explicit")  # the service has it load what it needs
    with TritonProcess(MODEL_REPOSITORY, log=tmp_path_factory.mktemp("triton") / "log", options=options) as process:
        yield process


@pytest.fixture(scope="session")
def service(triton: TritonProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    log: Path = tmp_path_factory.mktemp("service") / "log"
    # Triton may take its time: many ask at once, and the machine may have other work.
    with ServiceProcess(log=log, triton_address=triton.grpc_address, triton_timeout_s=120) as process:
        yield process


@pytest.fixture(scope="session")
def client(service: ServiceProcess) -> Iterator[TriageClient]:
    with TriageClient(service.address, deadline_s=120) as connected:
        yield connected
