"""`python -m training report` over a small corpus and small real graphs, as a user runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from preprocess_service.contract import OperatingPoint
from preprocess_service.model_spec import CNN, MULTIMODAL
from tests.triton_process import REPOSITORY_ROOT
from tests.unit.report_graphs import LOW, loudness_graph, put_model, scorer_of, word_graph
from training.dataset import load_rows, read_corpus
from training.manifest import Split, read_manifest
from training.report.ablations import SHIFTED, ablate
from training.report.answers import answers
from training.scoring import clip_scores, judge_clips

NOISE_LEVEL = 0.02
TEST: tuple[Split, ...] = ("test",)


def training(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY_ROOT, capture_output=True, text=True, check=False)


def report(folder: Path, data: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    places = ("--repository", folder / "models", "--cache", folder / "cache", "--out", folder / "out", "--workers", 1)
    return training("report", "--data", data, *places, "--quick", *arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("report")
    run = training("synthesize", "--out", made / "data", "--clips", 64, "--seed", 9)
    assert run.returncode == 0, run.stderr
    fingerprint = read_corpus(made / "data").fingerprint
    put_model(made / "models", MULTIMODAL, word_graph(MULTIMODAL), fingerprint)
    put_model(made / "models", CNN, loudness_graph(CNN), "another corpus")
    return made


@pytest.fixture(scope="module")
def run(folder: Path) -> subprocess.CompletedProcess[str]:
    return report(folder, folder / "data", "multimodal", "cnn", "lstm")


@pytest.fixture(scope="module")
def record(folder: Path, run: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert "Traceback" not in run.stderr
    read: dict[str, Any] = json.loads((folder / "out/report.json").read_text(encoding="utf-8"))
    return read


def test_writes_a_page_and_its_numbers(
    folder: Path, run: subprocess.CompletedProcess[str], record: dict[str, Any]
) -> None:
    page = (folder / "out/report.html").read_text(encoding="utf-8")

    assert sorted(path.name for path in (folder / "out").iterdir()) == ["report.html", "report.json"]
    assert page.startswith("<!DOCTYPE html>")
    assert record["headline"][0].split(".")[0] in page
    assert list(record["models"]) == ["multimodal", "cnn"]


def test_the_exit_code_tells_whether_figures_are_valid(
    run: subprocess.CompletedProcess[str], record: dict[str, Any]
) -> None:
    assert run.returncode == (0 if record["valid"] else 3)
    assert record["status"] in run.stdout


def test_models_that_are_not_there_are_listed(run: subprocess.CompletedProcess[str], record: dict[str, Any]) -> None:
    assert record["not_trained"] == ["lstm"]
    assert "lstm: not trained" in run.stdout


def test_the_figures_are_those_of_the_graphs(folder: Path, record: dict[str, Any]) -> None:
    """The word graph says what the transcripts say, on every clip, whatever is heard."""
    test = [clip for clip in read_manifest(folder / "data/manifest.csv") if clip.split == "test"]
    metrics = record["models"]["multimodal"]["metrics"]

    assert record["models"]["multimodal"]["test_clips"] == len(test)
    assert sum(metrics["confusion"].values()) == len(test)
    assert metrics["auc"]["value"] >= 0.5
    ablations = record["models"]["multimodal"]["ablations"]
    assert ablations["no audio"] == ablations["as it is"] == ablations["another telephone line"]
    assert ablations["no text"]["confusion"]["true_positives"] == 0
    assert "no text" not in record["models"]["cnn"]["ablations"]


def test_another_line_is_the_feature_stores_shifted_channel(folder: Path) -> None:
    corpus, scorer = read_corpus(folder / "data"), scorer_of(CNN, loudness_graph(CNN))
    rows = load_rows(corpus, CNN, None, folder / "cache", 1, channel="shifted", splits=TEST)
    clips = np.unique(rows.clip_of_row)[:4]
    (other,) = (each for each in ablate(scorer, corpus, clips) if each.name == SHIFTED)

    stored = judge_clips(scorer.runtime, CNN, scorer.contract.decision, rows, clips)

    np.testing.assert_allclose(other.scores, stored.probabilities, atol=1e-6)
    plain = load_rows(corpus, CNN, None, folder / "cache", 1, splits=TEST)
    heard = judge_clips(scorer.runtime, CNN, scorer.contract.decision, plain, clips)
    assert np.abs(heard.probabilities - stored.probabilities).max() > 1e-3


def test_answers_are_bare_and_judged_in_one_pass(folder: Path) -> None:
    """Every other clip has no transcript, and heard calls have another operating point."""
    read = read_corpus(folder / "data")
    clips = tuple(replace(clip, text=clip.text if index % 2 else "") for index, clip in enumerate(read.clips))
    corpus, scorer = replace(read, clips=clips), scorer_of(MULTIMODAL, word_graph(MULTIMODAL))
    heard = OperatingPoint(scale=2, offset=0.5, threshold=0.4, uncertain_from=0.2)
    decision = scorer.contract.decision.model_copy(update={"without_transcript": heard})
    scorer = replace(scorer, contract=scorer.contract.model_copy(update={"decision": decision}))
    rows = load_rows(corpus, MULTIMODAL, scorer.contract.text, folder / "cache", 1, splits=TEST)
    chosen = np.unique(rows.clip_of_row)

    bare, judged = answers(scorer, rows, chosen)

    np.testing.assert_array_equal(bare, clip_scores(scorer.runtime, MULTIMODAL, rows, chosen))
    is_mute = judged.thresholds == np.float32(heard.threshold)
    assert 0 < is_mute.sum() < len(chosen)
    low = heard.calibrate(np.full(1, LOW, np.float32))
    np.testing.assert_allclose(judged.probabilities[is_mute], low.repeat(is_mute.sum()), rtol=1e-5)


def test_says_which_model_knows_the_corpus(record: dict[str, Any]) -> None:
    assert record["models"]["multimodal"]["trained_on_this_corpus"] is True
    assert record["models"]["cnn"]["trained_on_this_corpus"] is False


def test_a_noise_that_only_normal_recordings_have_voids_the_figures(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "data", tmp_path / "data")
    rng = np.random.default_rng(1)
    for clip in read_manifest(tmp_path / "data/manifest.csv"):
        if clip.label == "normal":
            path = tmp_path / "data" / clip.path
            samples, rate_hz = soundfile.read(path, dtype="float32")
            noisy = samples + NOISE_LEVEL * rng.standard_normal(len(samples)).astype(np.float32)
            soundfile.write(path, np.clip(noisy, -1, 1), rate_hz, subtype="ULAW")

    run = report(tmp_path, tmp_path / "data")

    record = json.loads((tmp_path / "out/report.json").read_text(encoding="utf-8"))
    assert run.returncode == 3
    assert record["status"] == "INVALID"
    assert record["shortcuts"]["probes"][0]["result"]["auc"]["value"] > 0.8
    assert "Do not use these figures" in run.stdout.replace("\n", " ")
    assert "INVALID" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert len(record["not_trained"]) == 7


def test_an_unknown_model_is_refused(folder: Path) -> None:
    run = report(folder, folder / "data", "resnet")

    assert run.returncode == 2
    assert "model 'resnet' is unknown" in run.stdout


def test_a_version_that_cannot_be_served_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "models/cnn", tmp_path / "models/cnn")
    (tmp_path / "models/cnn/1/contract.json").write_text("{}", encoding="utf-8")

    run = report(tmp_path, folder / "data", "cnn")

    assert run.returncode == 1
    assert "contract.json" in run.stdout
    assert "Traceback" not in run.stderr
