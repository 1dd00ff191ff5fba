"""`python -m training features`: features ahead of time, and what the planned corpus would take."""

from __future__ import annotations

import numpy as np
import pytest

from preprocess_service.model_spec import MODELS
from tests.unit.small_corpus import write_corpus
from training.__main__ import main
from training.throughput import AUGMENTED, LINE, WIDE, Speeds, by_tensor

MULTIMODAL, LSTM = MODELS["multimodal"], MODELS["lstm"]


def test_models_that_hear_alike_are_computed_once():
    chosen = by_tensor(tuple(MODELS.values()))

    assert len({spec.audio for spec in MODELS.values()}) == len(chosen) == len({spec.audio for spec in chosen})
    assert [spec.name for spec in by_tensor((MODELS["cnn"], MULTIMODAL, LSTM))] == ["cnn", "lstm"]


def test_the_plan_follows_from_the_measured_seconds():
    seconds = {LINE: 0.001, WIDE: 0.002, AUGMENTED: 0.008, "mel": 0.004}
    speeds = Speeds(10, 2, seconds, clip_s=7.0, windows={"mel": 1.5}, specs=(MULTIMODAL,))

    # 3500 hours are 1.8 million clips of 7 s
    assert speeds.planned_h(MULTIMODAL, 1) == pytest.approx(1.8e6 * 0.006 / 3600)
    assert speeds.planned_h(MULTIMODAL, 16) == pytest.approx(speeds.planned_h(MULTIMODAL, 1) / 16)
    assert speeds.planned_variant_h(MULTIMODAL, 2) == pytest.approx(0.75 * 1.8e6 * 0.012 / 2 / 3600)
    assert speeds.planned_gb(MULTIMODAL) == pytest.approx(1.8e6 * 1.5 * 128 * 300 * 4 / 1e9)


def test_features_are_computed_ahead_of_training(tmp_path, capsys):
    write_corpus(tmp_path / "corpus")
    command = ["features", "lstm", "--data", str(tmp_path / "corpus"), "--cache", str(tmp_path / "cache")]

    assert main([*command, "--workers", "1", "--variants", "1", "--dtype", "float16"]) == 0

    assert "mfcc: 24 windows of 24 clips, 1 variants" in capsys.readouterr().out
    stored = {path.parent.parent.name.rsplit("-", 1)[0]: np.load(path) for path in tmp_path.glob("cache/*/*/audio.npy")}
    assert {name: (len(array), array.dtype) for name, array in stored.items()} == {
        "mfcc-line": (24, np.float16),
        "mfcc-augmented": (8, np.float16),
    }


def test_a_measurement_prints_the_plan_and_keeps_nothing(tmp_path, capsys):
    write_corpus(tmp_path / "corpus", clips_per_class_and_split=1)
    command = ["features", "lstm", "--data", str(tmp_path / "corpus"), "--cache", str(tmp_path / "cache")]

    assert main([*command, "--measure", "2"]) == 0

    printed = capsys.readouterr().out
    assert "2 clips of 0.5 s on average" in printed
    assert "3500 hours" in printed
    assert not (tmp_path / "cache").exists()


def test_an_unknown_model_is_named(tmp_path, capsys):
    assert main(["features", "nobody", "--data", str(tmp_path)]) == 2

    assert "'nobody'" in capsys.readouterr().out
