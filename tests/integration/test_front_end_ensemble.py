"""A real Triton runs the front end before the trained `multimodal`; a service that computes features is the judge."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from tritonclient import grpc as triton_grpc

from client import AudioFormat, TriageClient, Verdict
from preprocess_service.contract import MODEL_FILE, newest_version
from preprocess_service.features import g711, mel
from preprocess_service.front_end import ENSEMBLES, FRONT_END
from preprocess_service.model_spec import MULTIMODAL
from tests.e2e.frozen import Frozen
from tests.service_process import ServiceProcess
from tests.triton_process import REPOSITORY_ROOT, TritonProcess, wait_until
from tests.unit.recordings import file_bytes, speech_like
from training.front_end.installation import install as install_front_end
from training.triton_config import write_configs
from training.versions import install

Pcm = NDArray[np.int16]

TRAINED = REPOSITORY_ROOT / "model_repository"
ENSEMBLE = ENSEMBLES[MULTIMODAL.name].name
LARGEST_DIFFERENCE = 1e-3
TRANSCRIPT = "여기 불이 났어요, 빨리 와 주세요"
WAIT_S = 120
TELEPHONE_HZ = 8000
PCM = {
    seconds: (speech_like(seconds, TELEPHONE_HZ, seed) * 20_000).astype(np.int16)
    for seed, seconds in enumerate((0.5, 3.21, 7.0, 11.037, 30.0))
}
PCM_FORMAT = AudioFormat.pcm16(TELEPHONE_HZ)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ensemble") / "models"
    write_configs(folder)
    add_version(folder, 1)
    return folder


def add_version(folder: Path, version: int) -> None:
    trained = TRAINED / MULTIMODAL.name / str(newest_version(TRAINED, MULTIMODAL))
    install(trained, folder, MULTIMODAL, version, as_candidate=False)


@pytest.fixture(scope="module")
def triton(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonProcess]:
    install_front_end(repository)
    log = tmp_path_factory.mktemp("triton") / "log"
    with TritonProcess(repository, log=log, options=("--model-control-mode", "explicit")) as process:
        yield process


def started(triton: TritonProcess, repository: Path, folder: Path, front_end: str) -> ServiceProcess:
    return ServiceProcess(
        log=folder / f"{front_end}.log",
        triton_address=triton.grpc_address,
        triton_timeout_s=WAIT_S,
        model_repository=repository,
        loaded_models="multimodal",
        front_end=front_end,
        canary_interval_s=0.2,
    )


@pytest.fixture(scope="module")
def by_features(
    triton: TritonProcess, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TriageClient]:
    with (
        started(triton, repository, tmp_path_factory.mktemp("service"), "service") as service,
        TriageClient(service.address, deadline_s=WAIT_S) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def service(
    triton: TritonProcess, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    with started(triton, repository, tmp_path_factory.mktemp("service"), "triton") as process:
        yield process


@pytest.fixture(scope="module")
def by_audio(service: ServiceProcess) -> Iterator[TriageClient]:
    with TriageClient(service.address, deadline_s=WAIT_S) as client:
        client.classify(PCM[0.5].tobytes(), format=PCM_FORMAT)  # the first question has the ensemble brought
        assert wait_until(lambda: times_told(service, "asked by audio") >= 1, WAIT_S)
        yield client


def times_told(service: ServiceProcess, message: str) -> int:
    return service.log_text().count(f'"{message}"')


def rows_heard(triton: TritonProcess) -> int:
    """Rows that the front end in Triton has made so far."""
    with triton_grpc.InferenceServerClient(triton.grpc_address) as server:
        if not server.is_model_ready(FRONT_END.name):
            return 0
        return int(server.get_inference_statistics(FRONT_END.name).model_stats[0].inference_count)


def ask(
    client: TriageClient, pcm: NDArray[Any], *, transcript: str = TRANSCRIPT, stated: AudioFormat = PCM_FORMAT
) -> Verdict:
    return client.classify(pcm.tobytes(), format=stated, transcript=transcript)


def assert_same(found: Verdict, expected: Verdict) -> None:
    assert (found.model_version, found.warnings) == (expected.model_version, expected.warnings)
    assert found.probability == pytest.approx(expected.probability, abs=LARGEST_DIFFERENCE)
    assert len(found.timeline) == len(expected.timeline)
    for one, other in zip(found.timeline, expected.timeline, strict=True):
        assert (one.start_s, one.end_s) == (other.start_s, other.end_s)
        assert one.probability == pytest.approx(other.probability, abs=LARGEST_DIFFERENCE)


@pytest.mark.parametrize("pcm", [pytest.param(pcm, id=f"{seconds} s") for seconds, pcm in PCM.items()])
@pytest.mark.parametrize("transcript", [TRANSCRIPT, ""], ids=["with words", "without"])
def test_verdict_by_audio_is_the_verdict_by_features(
    triton: TritonProcess, by_audio: TriageClient, by_features: TriageClient, pcm: Pcm, transcript: str
) -> None:
    expected = ask(by_features, pcm, transcript=transcript)
    before = rows_heard(triton)

    found = ask(by_audio, pcm, transcript=transcript)

    assert_same(found, expected)
    assert rows_heard(triton) - before == len(expected.timeline)


@pytest.mark.parametrize(
    ("words", "stated"),
    [
        (g711.encode_mulaw(PCM[7.0]), AudioFormat.mulaw()),
        (g711.encode_alaw(PCM[7.0]), AudioFormat.alaw()),
        (
            np.frombuffer(file_bytes(PCM[7.0].astype(np.float32) / np.float32(32768), TELEPHONE_HZ, "WAV"), np.uint8),
            AudioFormat.file(),
        ),
    ],
    ids=["mu-law", "A-law", "WAV at 8 kHz"],
)
def test_every_telephone_coding_is_asked_by_audio(
    triton: TritonProcess, by_audio: TriageClient, by_features: TriageClient, words: NDArray[Any], stated: AudioFormat
) -> None:
    before = rows_heard(triton)

    found = ask(by_audio, words, stated=stated)

    assert rows_heard(triton) - before == 1
    assert_same(found, ask(by_features, words, stated=stated))


def test_wide_band_sound_is_asked_by_features(
    triton: TritonProcess, by_audio: TriageClient, by_features: TriageClient
) -> None:
    wide = (speech_like(7, 16_000) * 20_000).astype(np.int16)
    before = rows_heard(triton)

    found = ask(by_audio, wide, stated=AudioFormat.pcm16(16_000))

    assert rows_heard(triton) == before
    assert_same(found, ask(by_features, wide, stated=AudioFormat.pcm16(16_000)))


def test_concurrent_callers_get_their_own_answers_from_shared_batches(
    triton: TritonProcess, by_audio: TriageClient
) -> None:
    pcms = (
        list(PCM.values())[:3] + [(pcm // 3 + 7 * index).astype(np.int16) for index, pcm in enumerate(PCM.values())][:3]
    )
    alone = [ask(by_audio, pcm).probability for pcm in pcms]
    with triton_grpc.InferenceServerClient(triton.grpc_address) as server:
        before = server.get_inference_statistics(FRONT_END.name).model_stats[0]
        with ThreadPoolExecutor(16) as pool:
            with Frozen(triton, FRONT_END.name) as frozen:
                calls = [pool.submit(ask, by_audio, pcm) for pcm in pcms * 6]
                assert wait_until(lambda: frozen.has_waiting_requests(4), WAIT_S)
            together = [call.result().probability for call in calls]
        after = server.get_inference_statistics(FRONT_END.name).model_stats[0]

    np.testing.assert_allclose(together, alone * 6, atol=1e-4)
    assert after.execution_count - before.execution_count < after.inference_count - before.inference_count


def test_a_lost_ensemble_costs_no_answer_and_comes_back(
    triton: TritonProcess, service: ServiceProcess, by_audio: TriageClient, by_features: TriageClient
) -> None:
    told = times_told(service, "asked by audio")
    with triton_grpc.InferenceServerClient(triton.grpc_address) as server:
        server.unload_model(ENSEMBLE)

    assert_same(ask(by_audio, PCM[7.0]), ask(by_features, PCM[7.0]))

    assert times_told(service, "asked by features") >= 1

    def is_back() -> bool:
        ask(by_audio, PCM[7.0])
        return times_told(service, "asked by audio") > told

    assert wait_until(is_back, WAIT_S, pause_s=0.5)


def test_a_new_version_is_asked_by_audio_without_a_lost_call(
    triton: TritonProcess, service: ServiceProcess, by_audio: TriageClient, repository: Path
) -> None:
    told = times_told(service, "asked by audio")
    add_version(repository, 2)
    versions = []

    def is_asked_anew() -> bool:
        versions.append(int(ask(by_audio, PCM[7.0]).model_version))
        return times_told(service, "asked by audio") > told

    assert wait_until(is_asked_anew, WAIT_S, pause_s=0.1)
    before = rows_heard(triton)
    versions.append(int(ask(by_audio, PCM[7.0]).model_version))

    assert rows_heard(triton) == before + 1
    assert versions == sorted(versions)
    assert versions[-1] == 2


def test_a_version_without_a_folder_of_the_ensemble_is_asked_by_features(
    triton: TritonProcess, service: ServiceProcess, by_audio: TriageClient, repository: Path, tmp_path: Path
) -> None:
    told = times_told(service, "asked by features")
    add_version(tmp_path, 3)
    (tmp_path / MULTIMODAL.name / "3").rename(repository / MULTIMODAL.name / "3")

    def is_newest() -> bool:
        return ask(by_audio, PCM[7.0]).model_version == "3"

    assert wait_until(is_newest, WAIT_S, pause_s=0.1)
    assert wait_until(lambda: times_told(service, "asked by features") > told, WAIT_S)
    before = rows_heard(triton)
    assert ask(by_audio, PCM[7.0]).model_version == "3"
    assert rows_heard(triton) == before


def test_an_ensemble_that_hears_otherwise_is_not_asked(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    write_configs(folder)
    install_front_end(folder)
    add_version(folder, 1)
    path = folder / FRONT_END.name / str(FRONT_END.version) / MODEL_FILE
    graph = onnx.load(path)
    floors = [each for each in graph.graph.initializer if numpy_helper.to_array(each).tolist() == [-mel.TOP_DB]]
    assert len(floors) == 1
    floors[0].CopyFrom(numpy_helper.from_array(np.array([-20], np.float32), floors[0].name))
    onnx.save(graph, path)

    with (
        TritonProcess(folder, log=tmp_path / "triton.log", options=("--model-control-mode", "explicit")) as triton,
        started(triton, folder, tmp_path, "triton") as service,
        TriageClient(service.address, deadline_s=WAIT_S) as client,
    ):
        ask(client, PCM[7.0])
        assert wait_until(lambda: times_told(service, "asked by features") >= 1, WAIT_S)
        before = rows_heard(triton)
        ask(client, PCM[3.21])

        assert "differs from multimodal by" in service.log_text()
        assert times_told(service, "asked by audio") == 0
        assert rows_heard(triton) - before in (0, 2)  # the question is not heard; the proof may have been tried again
