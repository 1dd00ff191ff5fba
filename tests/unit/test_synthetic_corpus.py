"""The corpus as a whole: the same from the same seed, fair between the classes, apart between the splits."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.stats import ks_2samp, rankdata

from training.manifest import EMERGENCY_KINDS, SPLITS, Clip, check_splits, normalise_sentence, read_manifest
from training.synthetic.corpus import CorpusError, add_arguments, run, synthesize
from training.synthetic.plan import PlanError, PlannedClip, plan_corpus
from training.synthetic.render import LENGTH_TOLERANCE

CLIPS = 400
FRAME = 160  # 20 ms


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out_dir = tmp_path_factory.mktemp("corpus")
    synthesize(out_dir, clips=CLIPS, seed=1, workers=1)
    return out_dir


@pytest.fixture(scope="module")
def clips(folder: Path) -> list[Clip]:
    return read_manifest(folder / "manifest.csv")


@pytest.fixture(scope="module")
def audio(folder: Path, clips: list[Clip]) -> list[np.ndarray]:
    return [soundfile.read(folder / clip.path, dtype="float32")[0] for clip in clips]


@pytest.fixture(scope="module")
def planned() -> list[PlannedClip]:
    return plan_corpus(3000, 2)


def is_emergency(clips: list[Clip]) -> np.ndarray:
    return np.array([clip.label == "emergency" for clip in clips])


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    ranks, count = rankdata(score), positive.sum()
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (~positive).sum()))


def held_out_scores(features: np.ndarray, positive: np.ndarray, folds: int = 5) -> np.ndarray:
    """Scores (n,) of logistic regressions, each trained without the fold that it scores."""
    scaled = np.c_[(features - features.mean(0)) / (features.std(0) + 1e-9), np.ones(len(features))]
    fold = np.random.default_rng(0).permutation(len(features)) % folds
    scores = np.zeros(len(features))
    for held in range(folds):
        seen, weights = fold != held, np.zeros(scaled.shape[1])
        for _ in range(300):
            miss = 1 / (1 + np.exp(-scaled[seen] @ weights)) - positive[seen]
            weights -= 0.5 * (scaled[seen].T @ miss / seen.sum() + 1e-3 * weights)
        scores[~seen] = scaled[~seen] @ weights
    return scores


def channel_features(samples: np.ndarray) -> list[float]:
    """What a recording says without its words: length, levels, the noise before and after the speech."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    level_db = 20 * np.log10(np.maximum(np.sqrt(np.mean(frames**2, axis=1)), 1e-5))
    floor_db, loud_db = np.quantile(level_db, (0.05, 0.95))
    active = np.flatnonzero(level_db > (floor_db + loud_db) / 2)
    edges = [level_db[:3].mean(), level_db[-3:].mean(), float(active[0]), float(len(level_db) - active[-1])]
    return [len(samples), 20 * np.log10(samples.std()), float(np.abs(samples).max()), floor_db, *edges]


def test_same_seed_gives_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    for workers in (1, 2):
        synthesize(tmp_path / str(workers), clips=40, seed=5, workers=workers)

    assert files(tmp_path / "1") == files(tmp_path / "2")


def test_another_seed_gives_another_corpus() -> None:
    assert {clip.clip.text for clip in plan_corpus(40, 1)} != {clip.clip.text for clip in plan_corpus(40, 2)}


def test_stopped_run_goes_on_and_finished_run_rests(tmp_path: Path) -> None:
    rows = synthesize(tmp_path, clips=20, seed=1, workers=1)
    whole = files(tmp_path)
    (tmp_path / rows[3].path).unlink()
    (tmp_path / "manifest.csv").unlink()
    done: list[tuple[int, int]] = []

    synthesize(tmp_path, clips=20, seed=1, workers=1, progress=lambda *step: done.append(step))
    again = synthesize(tmp_path, clips=20, seed=1, workers=1, progress=lambda *_: pytest.fail("nothing is left to do"))

    assert files(tmp_path) == whole
    assert done[-1] == (20, 20)
    assert again == rows


def test_refuses_the_folder_of_another_corpus(tmp_path: Path) -> None:
    synthesize(tmp_path, clips=16, seed=1, workers=1)

    with pytest.raises(CorpusError, match="give another folder"):
        synthesize(tmp_path, clips=16, seed=2, workers=1)


@pytest.mark.parametrize(("clips", "seed", "workers"), [(15, 1, 1), (14, 1, 1), (16, -1, 1), (16, 1, 0)])
def test_refuses_impossible_arguments(tmp_path: Path, clips: int, seed: int, workers: int) -> None:
    with pytest.raises(PlanError):
        synthesize(tmp_path, clips=clips, seed=seed, workers=workers)


def test_command_line_makes_a_corpus(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)

    made = run(parser.parse_args(["--out", str(tmp_path), "--clips", "16", "--seed", "3"]))
    refused = run(parser.parse_args(["--out", str(tmp_path), "--clips", "16", "--seed", "4"]))
    replaced = run(parser.parse_args(["--out", str(tmp_path), "--clips", "18", "--seed", "4", "--replace"]))

    assert (made, refused, replaced) == (0, 1, 0)
    assert len(read_manifest(tmp_path / "manifest.csv")) == len(list(tmp_path.glob("clips/*.wav"))) == 18


def test_replaces_only_what_it_made(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "mine.wav").write_bytes(b"mine")
    parser = argparse.ArgumentParser()
    add_arguments(parser)

    assert run(parser.parse_args(["--out", str(tmp_path), "--clips", "16", "--replace"])) == 1
    assert (tmp_path / "clips" / "mine.wav").read_bytes() == b"mine"


def test_every_clip_is_8_khz_mono_mulaw_of_the_planned_length(folder: Path, clips: list[Clip]) -> None:
    for clip in clips:
        info = soundfile.info(folder / clip.path)
        assert (info.samplerate, info.channels, info.subtype) == (8000, 1, "ULAW")
        assert info.frames == round(clip.duration_s * 8000)
        assert 2 <= clip.duration_s <= 7


def test_no_clip_is_silent_or_clipped_flat(audio: list[np.ndarray]) -> None:
    for samples in audio:
        assert 0.01 < samples.std() < 0.3


def test_splits_share_no_sentence_voice_or_background(planned: list[PlannedClip]) -> None:
    check_splits(item.clip for item in planned)
    for key in ("speaker_group", "background_group"):
        groups = [{getattr(item.clip, key) for item in planned if item.clip.split == split} for split in SPLITS]
        assert len(set.union(*groups)) == sum(map(len, groups))


def test_no_sentence_occurs_twice(planned: list[PlannedClip]) -> None:
    assert len({normalise_sentence(item.clip.spoken_text) for item in planned}) == len(planned)


def test_classes_splits_and_kinds_are_balanced(planned: list[PlannedClip]) -> None:
    split_label = Counter((item.clip.split, item.clip.label) for item in planned)
    emergencies = [item.clip for item in planned if item.clip.label == "emergency"]
    kinds = Counter(clip.kind for clip in emergencies)
    test_kinds = Counter(clip.kind for clip in emergencies if clip.split == "test")

    assert split_label["train", "emergency"] == split_label["train", "normal"] == 1124
    assert split_label["test", "emergency"] == split_label["validation", "normal"] == 188
    assert set(kinds) == set(EMERGENCY_KINDS)
    assert max(kinds.values()) - min(kinds.values()) <= len(SPLITS)
    assert max(test_kinds.values()) - min(test_kinds.values()) <= 1


def test_hard_calls_and_noisy_transcripts_have_their_share(planned: list[PlannedClip]) -> None:
    for label, hard in (("emergency", 0.2), ("normal", 0.4)):
        of_class = [item.clip for item in planned if item.clip.label == label]
        assert np.mean([clip.difficulty == "hard" for clip in of_class]) == pytest.approx(hard, abs=0.01)
        assert np.mean([clip.transcript_noise for clip in of_class]) == pytest.approx(0.1, abs=0.03)


def test_half_of_validation_and_test_come_from_patterns_never_trained_on(planned: list[PlannedClip]) -> None:
    for split, share in (("train", 0.0), ("validation", 0.5), ("test", 0.5)):
        unseen = [item.clip.unseen_template for item in planned if item.clip.split == split]
        assert np.mean(unseen) == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize("column", ["duration_s", "level_dbfs", "snr_db", "echo_s", "overdrive_db"])
def test_recordings_are_distributed_alike_in_both_classes(planned: list[PlannedClip], column: str) -> None:
    values = np.array([getattr(item.clip, column) or 0.0 for item in planned])
    positive = is_emergency([item.clip for item in planned])

    assert ks_2samp(values[positive], values[~positive]).pvalue > 0.99


@pytest.mark.parametrize("column", ["background", "speaker_group"])
def test_backgrounds_and_voices_are_the_same_in_both_classes(planned: list[PlannedClip], column: str) -> None:
    counts = {
        label: Counter(getattr(item.clip, column) for item in planned if item.clip.label == label)
        for label in ("emergency", "normal")
    }

    assert counts["emergency"] == counts["normal"]


@pytest.mark.parametrize("column", ["rate_wpm", "pitch", "pitch_range"])
def test_prosody_is_a_true_but_uncertain_cue(planned: list[PlannedClip], column: str) -> None:
    positive = is_emergency([item.clip for item in planned])

    assert 0.55 < auc(np.array([getattr(item.clip, column) for item in planned]), positive) < 0.8


def test_speech_is_never_cut_off(planned: list[PlannedClip]) -> None:
    assert all(item.lead_s + (1 + LENGTH_TOLERANCE) * item.speech_s < item.clip.duration_s for item in planned)


def test_levels_are_equal_over_classes(clips: list[Clip], audio: list[np.ndarray]) -> None:
    level_db = np.array([20 * np.log10(samples.std()) for samples in audio])
    positive = is_emergency(clips)

    assert level_db[positive].mean() == pytest.approx(level_db[~positive].mean(), abs=0.5)
    assert level_db[positive].std() == pytest.approx(level_db[~positive].std(), abs=0.5)


def test_the_recording_without_the_words_does_not_give_the_class_away(
    clips: list[Clip], audio: list[np.ndarray]
) -> None:
    features = np.array([channel_features(samples) for samples in audio])
    positive = is_emergency(clips)

    assert 0.4 < auc(held_out_scores(features, positive), positive) < 0.6
    assert all(0.4 < auc(column, positive) < 0.6 for column in features.T)
