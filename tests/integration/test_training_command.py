"""`python -m training` from a small corpus to a repository, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from preprocess_service.contract import read_contract
from preprocess_service.model_spec import MODELS, MULTIMODAL
from tests.triton_process import REPOSITORY_ROOT
from training.manifest import read_manifest, write_manifest


def training(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY_ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("training")
    run = training("synthesize", "--out", made / "data", "--clips", 64, "--seed", 9)
    assert run.returncode == 0, run.stderr
    return made


@pytest.fixture(scope="module")
def options(folder: Path) -> tuple[object, ...]:
    return ("--data", folder / "data", "--repository", folder / "models", "--cache", folder / "cache", "--workers", 1)


@pytest.fixture(scope="module")
def trained(folder: Path, options: tuple[object, ...]) -> subprocess.CompletedProcess[str]:
    run = training("train", *options, "--epochs", 1)
    assert run.returncode == 0, run.stderr
    return run


def test_every_model_is_exported_with_a_contract_that_fits(
    folder: Path, trained: subprocess.CompletedProcess[str]
) -> None:
    for spec in MODELS.values():
        contract = read_contract(folder / "models" / spec.name / "1", spec)

        assert contract.training_data.corpus == "synthetic"
        assert contract.figures["onnx_keras_difference"] <= 1e-4
    assert not list((folder / "models").rglob("*.partial"))


def test_says_when_the_convolutions_are_untrained(folder: Path, trained: subprocess.CompletedProcess[str]) -> None:
    contract = read_contract(folder / "models/vgg16/1", MODELS["vgg16"])

    assert contract.pretrained_base == ("UNTRAINED" not in trained.stderr)


def test_a_second_run_leaves_what_is_there(folder: Path, options: tuple[object, ...], trained: object) -> None:
    before = (folder / "models/multimodal/1/model.onnx").stat().st_mtime_ns

    run = training("train", "multimodal", *options, "--if-missing")

    assert "there already" in run.stdout
    assert (folder / "models/multimodal/1/model.onnx").stat().st_mtime_ns == before


def test_a_model_trained_on_own_data_is_never_replaced_unasked(folder: Path, options: tuple[object, ...]) -> None:
    path = folder / "models/vgg16/1/contract.json"
    contract = json.loads(path.read_text(encoding="utf-8"))
    contract["training_data"].update(corpus="our call centre", fingerprint="another")
    path.write_text(json.dumps(contract), encoding="utf-8")

    run = training("train", "vgg16", *options, "--if-missing")

    assert "vgg16/1: there already" in run.stdout
    assert json.loads(path.read_text(encoding="utf-8"))["training_data"]["corpus"] == "our call centre"


def test_splits_that_share_a_speaker_are_refused(folder: Path, tmp_path: Path) -> None:
    clips = read_manifest(folder / "data/manifest.csv")
    write_manifest(tmp_path / "manifest.csv", [replace(clip, speaker_group="same voice") for clip in clips])

    run = training("train", "vgg16", "--data", tmp_path, "--repository", tmp_path / "models")

    assert run.returncode == 1
    assert "same voice" in run.stderr


def test_evaluates_every_ablation(folder: Path, options: tuple[object, ...], trained: object) -> None:
    run = training("evaluate", *options, "--json", folder / "figures.json")

    assert run.returncode == 0, run.stderr
    rows = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    assert [(row["model"], row["given"]) for row in rows] == [
        ("multimodal", "audio and text"),
        ("multimodal", "audio only"),
        ("multimodal", "text only"),
        ("vgg16", "audio only"),
    ]
    assert all(0 <= row["accuracy"] <= 1 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "--data", "/nowhere"), "/nowhere/manifest.csv"),
        (("train", "resnet", "--data", "/nowhere"), "model 'resnet' is unknown"),
    ],
)
def test_wrong_usage_is_told(arguments: tuple[str, ...], message: str) -> None:
    run = training(*arguments)

    assert run.returncode in (1, 2)
    assert message in run.stdout + run.stderr
    assert "Traceback" not in run.stderr


def test_an_unreadable_clip_stops_the_run_by_name(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    clips = read_manifest(folder / "data/manifest.csv")
    for clip in clips:
        (tmp_path / clip.path).write_bytes((folder / "data" / clip.path).read_bytes())
    (tmp_path / clips[3].path).write_bytes(b"RIFF")
    write_manifest(tmp_path / "manifest.csv", clips)

    run = training(
        "train", MULTIMODAL.name, "--data", tmp_path, "--repository", tmp_path / "models", "--cache", tmp_path / "cache"
    )

    assert run.returncode == 1
    assert clips[3].path in run.stderr
    assert "Traceback" not in run.stderr
