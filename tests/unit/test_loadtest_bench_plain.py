"""What `python -m loadtest bench` compares with, as it runs: the plain service over HTTP, and a worker process."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from deploy.serve import Programs
from loadtest.bench.graphs import newest_folder, served
from loadtest.bench.limit import BENCH_PYTHON, WorkerFailed, Workers
from loadtest.bench.live import FEATURES
from loadtest.bench.path import LARGEST_DIFFERENCE
from loadtest.bench.questions import Question, make_questions, reads_at_once, write_questions
from loadtest.bench.saturation import CallFailed, HttpUser, probability_of, saturate
from loadtest.bench.stack import Plain, Ports, start_plain, wait_for_plain
from loadtest.circumstances import ROOT
from preprocess_service.contract import read_contract
from preprocess_service.features.mel import TOP_DB
from preprocess_service.model_spec import MULTIMODAL
from tests.unit.stub_service import nobody_listening

pytestmark = pytest.mark.skipif(
    not BENCH_PYTHON.exists(), reason="an environment of its own: make build/bench/.done, by requirements/bench.txt"
)


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    settings = read_contract(newest_folder(MULTIMODAL), MULTIMODAL).text
    assert settings is not None
    fits = reads_at_once(settings)
    return make_questions(ROOT / "data/synthetic", 8, MULTIMODAL.window_s, fits, seed=1)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plain]:
    programs = Programs(tmp_path_factory.mktemp("plain"))
    try:
        started = start_plain(programs, Ports(), newest_folder(MULTIMODAL), 1)
        wait_for_plain(programs, started)
        yield started
    finally:
        programs.stop()


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, questions: list[Question]) -> Iterator[Workers]:
    folder, graph = tmp_path_factory.mktemp("worker"), served("fp32")
    write_questions(questions, folder / "questions.jsonl")
    workers = Workers(
        1,
        graph_file=graph.graph_file,
        config=graph.config,
        version_folder=graph.folder,
        questions=folder / "questions.jsonl",
        logs=folder,
    )
    with workers:
        workers.wait()
        yield workers


def test_the_plain_service_and_our_own_arithmetic_give_equal_probabilities(plain, worker, questions):
    user = HttpUser(plain.address, questions)
    plainly = [probability_of(user.ask(number)) for number in range(len(questions))]
    user.close()

    ours = worker.ask("answers", count=len(questions))["probabilities"]

    assert max(plainly) - min(plainly) > 0.1, "they would agree whatever was asked"
    np.testing.assert_allclose(plainly, ours, rtol=0, atol=LARGEST_DIFFERENCE)


def test_the_plain_service_is_measured_with_its_worker_processes(plain, questions):
    loaded = saturate(lambda: HttpUser(plain.address, questions), 2, 0.5, plain.pids)

    assert loaded.work.units > 0
    assert loaded.work.cpu_s > 0
    assert loaded.times.count == loaded.work.units


def test_a_failed_call_ends_the_measurement_with_what_came(questions):
    with nobody_listening() as address, pytest.raises(CallFailed, match="ConnectionRefusedError"):
        saturate(lambda: HttpUser(address, questions), 1, 0.1, {})


@pytest.mark.parametrize("order", ["whole", "front_end", "librosa"])
def test_a_worker_does_what_it_is_told_and_says_what_it_took(worker, order):
    work = worker.do(order, seconds=0.2)

    assert work.units > 0
    assert work.wall_s >= 0.2
    assert work.cpu_s > 0


def test_a_worker_counts_rows_of_batches(worker):
    assert worker.do("graph", seconds=0.1, batch=4).units % 4 == 0


def test_a_worker_knows_what_a_second_of_a_live_call_costs(worker):
    costs = worker.ask("live", calls=1, seconds=8)["ms_a_second"]

    assert min(costs[stage] for stage in FEATURES) > 0


def test_both_front_ends_hear_the_same(worker, questions):
    assert 0 < worker.ask("features_apart", count=len(questions))["greatest_db"] <= 1e-4 * TOP_DB


def test_what_a_worker_cannot_do_is_told(worker):
    with pytest.raises(WorkerFailed, match="ZeroDivisionError"):
        worker.do("graph", seconds=0.1, batch=0)
