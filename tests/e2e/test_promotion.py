"""A candidate goes into service, or does not, under traffic that notices nothing."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from client import ModelNotFound, TriageClient
from preprocess_service.contract import (
    CANDIDATE_MARKER,
    FILE_NAME,
    MODEL_FILE,
    Contract,
    newest_version,
    sha256_of,
    version_numbers,
)
from preprocess_service.model_spec import CNN, MULTIMODAL
from tests.e2e.conftest import DATA, MODEL_REPOSITORY
from tests.e2e.tiny_models import add_version, answer_to_canary, make_repository
from tests.e2e.traffic import Arrivals, Traffic
from tests.service_process import ServiceProcess
from tests.triton_process import REPOSITORY_ROOT, TritonProcess, free_ports, wait_until
from tests.unit.recordings import file_bytes, speech_like
from training import golden
from training.__main__ import main
from training.recordings import Scorer
from training.scoring import session
from training.versions import candidate_contract

MODEL = MULTIMODAL.name
AUDIO = file_bytes(speech_like(2, 8000), 8000, "WAV")
HIGHEST_RATE_HZ = 30.0  # of calls that do not wait for each other; half of what is sustained where that is less
THREADS = 64
GOLDEN_FROM = 40  # test clips that golden ones are chosen from


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    code: int
    text: str


@dataclass(frozen=True)
class Stage:
    """A Triton and a service over a repository of their own, and what a promotion needs beside."""

    folder: Path
    triton: TritonProcess
    service: ServiceProcess
    rate_hz: float
    numbers: list[int] = field(default_factory=list)

    @property
    def repository(self) -> Path:
        return self.folder / "models"

    @property
    def rejected(self) -> list[str]:
        return sorted(path.name.rpartition("-")[0] for path in (self.folder / "rejected").glob("*"))

    def marked(self) -> set[Path]:
        """The markers of all candidates."""
        return set((self.repository / MODEL).glob(f"[0-9]*/{CANDIDATE_MARKER}"))

    def in_service(self) -> int:
        version = newest_version(self.repository, MULTIMODAL)
        assert version is not None
        return version

    def candidate(self) -> Path:
        """A candidate of the same network as the first version's, and yet another version."""
        self.numbers.append(len(self.numbers))
        folder = self.folder / f"candidate-{len(self.numbers)}"
        shutil.copytree(self.folder / "original", folder)
        rewrite(folder, figures={"number": float(len(self.numbers))})
        return folder

    def arguments(self, command: str, *more: str, model: str = MODEL) -> list[str]:
        places = ["--repository", str(self.repository), "--rejected", str(self.folder / "rejected")]
        addresses = ["--triton", self.triton.grpc_address, "--service", self.service.address]
        return [command, model, "--data", str(DATA), "--timeout", "180", *places, *addresses, *more]

    def run(self, command: str, *more: str, model: str = MODEL) -> Done:
        return run(self.arguments(command, *more, model=model))

    def promote(self, candidate: Path, *more: str) -> Done:
        return self.run("promote", "--candidate", str(candidate), *more)

    def make_versions(self, count: int) -> None:
        """At least so many."""
        while len(version_numbers(self.repository, MULTIMODAL)) < count:
            assert self.promote(self.candidate()).code == 0

    @contextlib.contextmanager
    def promoting(self, candidate: Path, *more: str):
        """A promotion that has put its candidate in place, and goes on."""
        older = self.marked()
        with subprocess.Popen(
            [sys.executable, "-m", "training", *self.arguments("promote", "--candidate", str(candidate), *more)],
            cwd=REPOSITORY_ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert wait_until(lambda: bool(self.marked() - older), 120, 0.005)
                yield process
            finally:
                process.kill()

    @contextlib.contextmanager
    def caller(self):
        """One caller, who has its verdicts in order."""
        with Traffic(self.service.address, AUDIO, threads=1) as caller:
            assert caller.goes_on()
            yield caller
            assert caller.goes_on(20)
        assert caller.errors == []

    @contextlib.contextmanager
    def arrivals(self):
        """Calls that come whether or not the others are answered."""
        with Arrivals(self.service.address, AUDIO, rate_hz=self.rate_hz, threads=THREADS) as arrivals:
            assert arrivals.goes_on()
            yield arrivals
            assert arrivals.goes_on()
        assert arrivals.errors == []


def run(arguments: list[str]) -> Done:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = main(arguments)
    return Done(code, said.getvalue())


@pytest.fixture(scope="module")
def stage(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("promotion")
    first = make_repository(folder / "models") / MODEL / "1"
    shutil.copytree(MODEL_REPOSITORY / MODEL / str(newest_version(MODEL_REPOSITORY, MULTIMODAL)), first)
    rewrite(first, version=1)
    choose_golden(MULTIMODAL, first, corpus)
    shutil.copytree(first, folder / "original")
    explicit = ("--model-control-mode", "explicit")
    with TritonProcess(folder / "models", log=folder / "triton.log", options=explicit) as triton:
        settings = {"model_repository": folder / "models", "triton_address": triton.grpc_address}
        settings |= {"canary_interval_s": 0.5, "loaded_models": MODEL}
        with ServiceProcess(log=folder / "log", **settings) as service:
            yield Stage(folder, triton, service, min(HIGHEST_RATE_HZ, sustained_hz(service) / 2))


def sustained_hz(service: ServiceProcess) -> float:
    """Calls a second that the service answers where callers wait for their verdicts."""
    with Traffic(service.address, AUDIO, threads=16) as traffic:
        assert traffic.goes_on(50)
        started, before = time.monotonic(), len(traffic.verdicts)
        assert traffic.goes_on(200)
        return (len(traffic.verdicts) - before) / (time.monotonic() - started)


def choose_golden(spec, folder, corpus):
    scorer = Scorer(session(folder / MODEL_FILE), spec, candidate_contract(folder))
    test_clips = np.array([index for index, clip in enumerate(corpus.clips) if clip.split == "test"])
    golden.choose(scorer, corpus, test_clips[:: max(1, len(test_clips) // GOLDEN_FROM)], folder)
    hash_again(folder)


def rewrite(folder: Path, **changes: object) -> None:
    """The contract with those changes, as a new file: the old one may be linked to."""
    contract = json.loads((folder / FILE_NAME).read_text(encoding="utf-8")) | changes
    (folder / FILE_NAME).unlink()
    (folder / FILE_NAME).write_text(Contract.model_validate(contract).model_dump_json(), encoding="utf-8")


def replace_graphs(folder: Path, graph: bytes) -> None:
    """Another network under a contract that is true of it, but for the golden clips."""
    contract = candidate_contract(folder)
    for name in contract.graphs:
        (folder / name).unlink()
        (folder / name).write_bytes(graph)
    with contextlib.suppress(Exception):  # a graph that cannot be loaded has no canary
        canary = {"probability": answer_to_canary(MULTIMODAL, folder / MODEL_FILE), "tolerance": 1e-3}
        rewrite(folder, graphs={n: g.model_dump() | {"canary": canary} for n, g in contract.graphs.items()})
    hash_again(folder)


def hash_again(folder: Path) -> None:
    rewrite(folder, files={name: sha256_of(folder / name) for name in candidate_contract(folder).files})


def with_shuffled_weights(graph: bytes) -> bytes:
    model, random = onnx.load_model_from_string(graph), np.random.default_rng(1)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim >= 2 and values.dtype == np.float32:
            shuffled = random.permutation(values.ravel()).reshape(values.shape)
            tensor.CopyFrom(numpy_helper.from_array(shuffled, tensor.name))
    return bytes(model.SerializeToString())


def switches(caller: Traffic) -> list[str]:
    """The versions that have answered, in order, each once as long as it goes on."""
    versions = [verdict.model_version for verdict in caller.verdicts]
    return [each for index, each in enumerate(versions) if index == 0 or each != versions[index - 1]]


def test_a_good_candidate_takes_over_without_a_lost_call(stage):
    before = stage.in_service()
    with stage.arrivals() as arrivals:
        done = stage.promote(stage.candidate())
        assert done.code == 0, done.text

    assert arrivals.versions() == {str(before), str(before + 1)}
    assert arrivals.answered_after_switch_to(str(before + 1)) == {str(before + 1)}
    assert stage.in_service() == before + 1
    assert "golden clips are answered right" in done.text


def test_a_network_that_answers_golden_clips_wrongly_goes_without_a_lost_call(stage):
    before, candidate = stage.in_service(), stage.candidate()
    replace_graphs(candidate, with_shuffled_weights((candidate / MODEL_FILE).read_bytes()))
    with stage.arrivals() as arrivals:
        done = stage.promote(candidate)
        assert done.code == 1, done.text

    assert "golden clip syn-" in done.text
    assert f"version {before} is in service" in " ".join(done.text.split())
    assert arrivals.versions() == {str(before)}
    assert version_numbers(stage.repository, MULTIMODAL)[-1] == before
    assert stage.rejected


def test_a_graph_that_triton_cannot_load_does_not_take_over(stage):
    before, candidate = stage.in_service(), stage.candidate()
    replace_graphs(candidate, (candidate / MODEL_FILE).read_bytes()[:10_000])
    with stage.caller() as caller:
        done = stage.promote(candidate)
        assert done.code == 1, done.text

    assert "refuses RepositoryModelLoad" in done.text
    assert switches(caller) == [str(before)]
    assert version_numbers(stage.repository, MULTIMODAL)[-1] == before


def test_a_second_promotion_is_refused_and_what_a_killed_one_leaves_the_next_one_mends(stage):
    before, candidate = stage.in_service(), stage.candidate()
    with stage.caller() as caller:
        with stage.promoting(candidate) as process:
            process.send_signal(signal.SIGSTOP)
            second = stage.promote(candidate)
        process.wait(30)
        left = version_numbers(stage.repository, MULTIMODAL)[-1]
        assert caller.goes_on()
        assert stage.in_service() == before
        assert left > before

        done = stage.promote(candidate, "--keep", "2")
        assert done.code == 0, done.text

    assert second.code == 1
    assert "another promotion or rollback of multimodal is under way" in second.text
    assert switches(caller) == [str(before), str(left + 1)]
    assert f"{MODEL}-{left}" in stage.rejected
    assert version_numbers(stage.repository, MULTIMODAL) == [before, left + 1]  # of older ones only those two are kept


def test_a_promotion_that_is_told_to_end_takes_its_candidate_out(stage):
    before = stage.in_service()
    with stage.promoting(stage.candidate()) as process:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=120)

    assert process.returncode == 1
    assert "interrupted by SIGTERM" in said
    assert version_numbers(stage.repository, MULTIMODAL)[-1] == before


def test_rollback_brings_the_version_before_back_without_a_lost_call(stage):
    stage.make_versions(2)
    *_, before, newest = version_numbers(stage.repository, MULTIMODAL)
    with stage.arrivals() as arrivals:
        done = stage.run("rollback")
        assert done.code == 0, done.text

    assert arrivals.versions() == {str(newest), str(before)}
    assert arrivals.answered_after_switch_to(str(before)) == {str(before)}
    assert version_numbers(stage.repository, MULTIMODAL)[-1] == before


def test_where_nobody_can_be_asked_graphs_are_judged_here_and_a_service_takes_over_by_itself(stage):
    before, good, bad = stage.in_service(), stage.candidate(), stage.candidate()
    replace_graphs(bad, with_shuffled_weights((bad / MODEL_FILE).read_bytes()))
    nowhere = f"127.0.0.1:{free_ports(1)[0]}"
    offline = ("--offline", "--triton", nowhere, "--service", nowhere)
    with stage.caller() as caller:
        promoted = stage.promote(good, *offline)
        new = stage.in_service()
        assert wait_until(lambda: caller.verdicts[-1].model_version == str(new), 120)
        refused = stage.promote(bad, *offline)
        rolled_back = stage.run("rollback", *offline)
        assert wait_until(lambda: caller.verdicts[-1].model_version == str(before), 120)

    assert [each.code for each in (promoted, refused, rolled_back)] == [0, 1, 0]
    assert "golden clip syn-" in refused.text
    assert switches(caller) == [str(before), str(new), str(before)]
    assert version_numbers(stage.repository, MULTIMODAL)[-1] == before


def test_a_models_first_version_goes_into_service_and_a_wrong_one_leaves_none(stage, corpus, tmp_path):
    def network(name, probability):
        folder = add_version(make_repository(tmp_path / name), CNN.name, 1, probability=probability)
        choose_golden(CNN, folder, corpus)
        return folder

    right, wrong = network("right", 0.9), network("wrong", 0.1)
    shutil.copy(right / golden.FILE_NAME, wrong)
    hash_again(wrong)

    refused = stage.run("promote", "--candidate", str(wrong), model=CNN.name)

    assert refused.code == 1, refused.text
    assert "no version is in service" in " ".join(refused.text.split())
    with TriageClient(stage.service.address) as client, pytest.raises(ModelNotFound):
        client.classify(AUDIO, model=CNN.name)

    done = stage.run("promote", "--candidate", str(right), model=CNN.name)

    assert done.code == 0, done.text
    with TriageClient(stage.service.address) as client:
        assert client.classify(AUDIO, model=CNN.name).model_version == "2"

    back = stage.run("rollback", model=CNN.name)

    assert back.code == 1
    assert "cnn has no version before 2 to go back to" in " ".join(back.text.split())


def test_nothing_changes_where_triton_or_the_service_cannot_be_reached(stage):
    candidate = stage.candidate()
    leftover = stage.repository / MODEL / "999"  # not even what a killed promotion has left
    shutil.copytree(candidate, leftover)
    (leftover / CANDIDATE_MARKER).touch()
    versions, nowhere = version_numbers(stage.repository, MULTIMODAL), f"127.0.0.1:{free_ports(1)[0]}"

    for addresses in (("--service", nowhere), ("--triton", nowhere)):
        done = stage.promote(candidate, *addresses, "--timeout", "2")
        assert done.code == 1, done.text
        assert "refused" in done.text

    assert version_numbers(stage.repository, MULTIMODAL) == versions
    shutil.rmtree(leftover)


def test_a_way_back_that_cannot_be_proven_says_so_and_what_to_do(stage):
    before = stage.in_service()
    with stage.promoting(stage.candidate(), "--timeout", "5") as process:
        stage.triton.kill()
        said, _ = process.communicate(timeout=120)

    assert process.returncode == 3, said
    assert "start Triton and the service anew" in " ".join(said.split())
    assert stage.in_service() == before

    stage.triton.start()
    assert wait_until(stage.service.is_serving, 120)
    with TriageClient(stage.service.address) as client:
        assert client.classify(AUDIO).model_version == str(before)
