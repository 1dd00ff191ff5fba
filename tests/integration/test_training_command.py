"""`python -m training` from a small corpus to a repository, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from preprocess_service.contract import MODEL_FILE, read_contract
from preprocess_service.model_spec import MFCC, MODELS, PICTURE
from tests.triton_process import REPOSITORY_ROOT
from training.dataset import load_rows, read_corpus
from training.evaluate import VIEWS
from training.export import largest_difference
from training.fitting import SMALLEST_BATCH
from training.manifest import normalise_sentence, read_manifest, write_manifest
from training.precision.graphs import INT8_RECIPES, Int8Maker, make_fp16
from training.precision.served import ServedGraph
from training.scoring import row_inputs, session


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
    return ("--data", folder / "data", "--repository", folder / "models", "--cache", folder / "cache", "--workers", 2)


@pytest.fixture(scope="module")
def train_options(folder: Path, options: tuple[object, ...]) -> tuple[object, ...]:
    return (*options, "--candidates", folder / "candidates", "--epochs", 1)


@pytest.fixture(scope="module")
def trained(train_options: tuple[object, ...]) -> subprocess.CompletedProcess[str]:
    """All seven, one epoch each."""
    run = training("train", *train_options, "--if-missing")
    assert run.returncode == 0, run.stderr
    return run


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.timeout(2400)
def test_every_model_is_trained_gated_and_in_the_repository(folder: Path, trained: object, name: str) -> None:
    spec = MODELS[name]
    version = folder / "models" / name / "1"

    contract = read_contract(version, spec)

    assert contract.training_data.corpus == "synthetic"
    assert contract.figures["onnx_keras_difference"] <= largest_difference(spec)
    assert contract.graphs[spec.cpu.graph_file].provider == "OpenVINOExecutionProvider"
    record = json.loads((version / "training.json").read_text(encoding="utf-8"))
    assert len(record["history"]["val_loss"]) == 1
    assert record["batch"] == SMALLEST_BATCH  # few clips: more steps a pass
    assert json.loads((version / "golden.json").read_text(encoding="utf-8"))["clips"]
    assert (contract.kinds is not None) == spec.names_kind
    assert not list((folder / "models").rglob("*partial*"))


@pytest.mark.parametrize(
    "name", [name for name, spec in MODELS.items() if spec.audio != PICTURE]
)  # `make models` has VGG-16
def test_lower_precisions_of_every_network_run(
    folder: Path, options: tuple[object, ...], trained: object, tmp_path: Path, name: str
) -> None:
    spec, graph = MODELS[name], folder / "models" / name / "1" / MODEL_FILE
    contract = read_contract(graph.parent, spec)
    rows = load_rows(read_corpus(folder / "data"), spec, contract.text, folder / "cache", 2)
    inputs = row_inputs(spec, rows, rows.rows_of("test"))
    outputs = [each.name for each in spec.outputs]

    make_fp16(graph, tmp_path / "model.fp16.onnx")
    answers = session(tmp_path / "model.fp16.onnx").run(outputs, inputs)
    maker = Int8Maker(graph, spec, rows, tmp_path)
    if maker.quantisable(INT8_RECIPES[0]):
        maker.make(INT8_RECIPES[0], tmp_path / "model.int8.onnx")
        with ServedGraph(tmp_path / "model.int8.onnx", spec) as served:
            assert served.get_providers()[0] == "OpenVINOExecutionProvider"
            answers += served.run(outputs, inputs)

    assert all(np.isfinite(each).all() and (each >= 0).all() and (each <= 1.001).all() for each in answers)
    assert len(answers) == len(outputs) * (1 if spec.audio == MFCC else 2)  # LSTM layers alone have no int8
    assert set(contract.graphs) == {MODEL_FILE, spec.cpu.graph_file, spec.gpu.graph_file}  # too few clips to judge them


def test_multimodal_hears_as_the_cnn_of_the_same_run_does(folder: Path, trained: object) -> None:
    multimodal, cnn = (
        json.loads((folder / f"models/{name}/1/training.json").read_text(encoding="utf-8"))
        for name in ("multimodal", "cnn")
    )

    assert multimodal["listener"] == cnn
    assert multimodal["seconds"] > cnn["seconds"]


def test_says_when_the_convolutions_are_untrained(folder: Path, trained: subprocess.CompletedProcess[str]) -> None:
    for name, said in (("vgg16", "VGG-16: ImageNet weights"), ("yamnet", "YAMNet: no weights file")):
        contract = read_contract(folder / f"models/{name}/1", MODELS[name])

        assert contract.pretrained_base == (said not in trained.stderr)


def test_a_second_run_leaves_what_is_there(folder: Path, train_options: tuple[object, ...], trained: object) -> None:
    before = (folder / "models/multimodal/1/model.onnx").stat().st_mtime_ns

    run = training("train", "multimodal", *train_options, "--if-missing")

    assert "there already" in run.stdout
    assert (folder / "models/multimodal/1/model.onnx").stat().st_mtime_ns == before


def test_without_that_option_a_candidate_is_left_for_promotion(
    folder: Path, train_options: tuple[object, ...], trained: object
) -> None:
    # In half precision, which takes minutes for convolutions where the processor lacks it.
    run = training("train", "lstm", *train_options, "--seed", 2, "--precision", "mixed_bfloat16")

    assert "promote lstm" in run.stdout
    assert read_contract_of_candidate(folder / "candidates/lstm") == 2
    assert not (folder / "models/lstm/2").exists()


def read_contract_of_candidate(candidate: Path) -> int:
    return int(json.loads((candidate / "contract.json").read_text(encoding="utf-8"))["version"])


def test_a_model_trained_on_own_data_is_never_replaced_unasked(
    folder: Path, train_options: tuple[object, ...], trained: object
) -> None:
    path = folder / "models/cnn/1/contract.json"
    contract = json.loads(path.read_text(encoding="utf-8"))
    contract["training_data"].update(corpus="our call centre", fingerprint="another")
    path.write_text(json.dumps(contract), encoding="utf-8")

    run = training("train", "cnn", *train_options, "--if-missing")

    assert "cnn/1: there already" in run.stdout
    assert json.loads(path.read_text(encoding="utf-8"))["training_data"]["corpus"] == "our call centre"


def test_splits_that_share_a_speaker_are_refused(folder: Path, tmp_path: Path) -> None:
    clips = read_manifest(folder / "data/manifest.csv")
    write_manifest(tmp_path / "manifest.csv", [replace(clip, speaker_group="same voice") for clip in clips])

    run = training("train", "vgg16", "--data", tmp_path, "--repository", tmp_path / "models")

    assert run.returncode == 1
    assert "same voice" in run.stderr


@pytest.fixture(scope="module")
def matched(folder: Path, trained: object) -> Path:
    made = training("synthesize", "--out", folder / "matched", "--beside", folder / "data", "--clips", 64)
    assert made.returncode == 0, made.stderr
    return folder / "matched"


@pytest.mark.timeout(900)
def test_evaluates_every_model_under_every_condition(folder: Path, options: tuple[object, ...], matched: Path) -> None:
    figures = folder / "figures.json"
    run = training("evaluate", "multimodal", "lstm", *options, "--matched", matched, "--json", figures)

    assert run.returncode == 0, run.stderr
    by_model = {each["model"]: each for each in json.loads(figures.read_text(encoding="utf-8"))}
    assert set(by_model["multimodal"]["views"]) == set(VIEWS)
    assert set(by_model["lstm"]["views"]) == {name for name in VIEWS if name.endswith("audio only")}
    for each in by_model.values():
        assert all(0 <= view["accuracy"]["low"] <= view["accuracy"]["high"] <= 1 for view in each["views"].values())
        assert each["timings"]
        assert f"| `{each['model']}` |" in run.stdout


def test_matched_clips_have_voices_of_training_and_sentences_of_nobody(folder: Path, matched: Path) -> None:
    corpus, beside = (read_manifest(each / "manifest.csv") for each in (folder / "data", matched))
    training_clips = [clip for clip in corpus if clip.split == "train"]

    assert {clip.split for clip in beside} == {"test"}
    assert {clip.speaker_group for clip in beside} <= {clip.speaker_group for clip in training_clips}
    assert {clip.background_group for clip in beside} <= {clip.background_group for clip in training_clips}
    assert not {normalise_sentence(clip.spoken_text) for clip in beside} & {
        normalise_sentence(clip.spoken_text) for clip in corpus
    }


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


def test_a_disk_that_takes_no_more_is_told_and_leaves_nothing_half(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training", "features", "lstm", "--data", folder / "data", "--cache", tmp_path]
    limited = ["bash", "-c", 'ulimit -f 1000; exec "$@"', "bash", *map(str, command), "--workers", "1"]

    run = subprocess.run(limited, cwd=REPOSITORY_ROOT, capture_output=True, text=True, check=False)

    assert run.returncode == 1
    assert "python -m training: [Errno 27] File too large" in run.stderr
    assert "Traceback" not in run.stderr
    assert not list(tmp_path.glob("*/*"))


def test_an_unreadable_clip_is_named_and_the_run_goes_on(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    clips = read_manifest(folder / "data/manifest.csv")
    for clip in clips:
        (tmp_path / clip.path).write_bytes((folder / "data" / clip.path).read_bytes())
    (tmp_path / clips[3].path).write_bytes(b"RIFF")
    write_manifest(tmp_path / "manifest.csv", clips)

    run = training("features", "lstm", "--data", tmp_path, "--cache", tmp_path / "cache", "--workers", 1)

    assert run.returncode == 0, run.stderr
    assert "1 of 64 clips" in run.stderr
    (listed,) = (tmp_path / "cache").glob("bad_clips-*.csv")
    assert clips[3].path in listed.read_text(encoding="utf-8")
