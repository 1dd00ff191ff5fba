"""What a network is shown: whole permutations, sound and text of the same clip, and changes that keep the label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from preprocess_service.features import text
from preprocess_service.model_spec import CNN, MULTIMODAL
from training.batches import read_ahead
from training.dataset import Rows, silent_window
from training.feature_store import put_windows
from training.row_batches import Source, TrainingBatches, ValidationBatches

CLIPS = 600
SILENCE = silent_window(MULTIMODAL)


def source(folder: Path, spec, *, variants=0, length=CLIPS):
    """A class-ordered corpus, all emergencies first, whose windows and tokens hold the number of their clip."""
    numbers = np.arange(length)
    windows = np.broadcast_to(numbers.astype(np.float32)[:, None, None, None], (length, 4, 6, 1)).copy()
    stores = [put_windows(folder, f"variant-{index}", windows + 1000 * index) for index in range(variants + 1)]
    rows = Rows(
        audio=stores[0],
        tokens=np.full((length, 12), numbers[:, None] + 2, np.int32) if spec.tokens else None,
        window_of_row=numbers,
        clip_of_row=numbers,
        is_emergency=numbers < length // 2,
        splits=np.array(["train"] * (length - 60) + ["validation"] * 60),
        augmented=tuple(stores[1:]),
    )
    kinds = np.where(rows.is_emergency, numbers % 14, -1)
    return Source(spec, rows, kinds, (rows.audio, *rows.augmented), spec.audio.name, np.full((4, 6, 1), -1, np.float32))


def numbers_in(batch):
    return batch[0]["mel"][:, 0, 0, 0]


def test_a_class_ordered_corpus_gives_mixed_batches(tmp_path):
    """A shuffle buffer smaller than the set would fill the first batches with one class."""
    batches = TrainingBatches(source(tmp_path, CNN), 60, seed=1)

    shares = [float(batches[index][1]["probability"].mean()) for index in range(len(batches))]

    assert len(shares) == 9
    assert 0.3 < min(shares) <= max(shares) < 0.8


def test_some_transcripts_follow_a_calm_one(tmp_path):
    """As where an emergency comes up in the midst of talk; the newest words are always the clip's own."""
    batches = TrainingBatches(source(tmp_path, MULTIMODAL), 60, seed=1)
    shown = [batches[index] for index in range(len(batches))]
    tokens = np.concatenate([inputs["tokens"] for inputs, *_ in shown])
    clips = np.concatenate([numbers_in(batch) for batch in shown])
    known = np.where(tokens > text.UNKNOWN_ID, tokens - 2, clips[:, None].astype(np.int32))
    own = known == clips[:, None]
    heard = (clips >= 0) & (tokens != text.PADDING_ID).any(axis=1)

    followed = heard & ~own.all(axis=1)

    assert followed.mean() == pytest.approx(0.3 * 0.6 * 0.9 * 6 / 7, abs=0.05)
    assert (known[~own & heard[:, None]] >= CLIPS // 2).all()  # normal clips
    assert own[followed].sum(axis=1).min() >= 6
    assert own[followed][:, -1].all()


def test_every_pass_shows_every_training_row_once_in_another_order(tmp_path):
    dataset = read_ahead(TrainingBatches(source(tmp_path, CNN), 64, seed=1))

    passes = [np.concatenate([numbers_in(batch) for batch in dataset.as_numpy_iterator()]) for _ in range(2)]

    for each in passes:
        np.testing.assert_array_equal(np.sort(each), np.arange(CLIPS - 60))
    assert (passes[0] != passes[1]).any()


def test_a_seed_repeats_everything(tmp_path):
    first, second = (TrainingBatches(source(tmp_path, MULTIMODAL, variants=2), 64, seed=7) for _ in range(2))

    for index in range(len(first)):
        for ours, theirs in zip(first[index], second[index], strict=True):
            for name in ours:
                np.testing.assert_array_equal(ours[name], theirs[name])


def test_sound_text_and_targets_are_of_one_clip(tmp_path):
    given = source(tmp_path, MULTIMODAL)
    inputs, targets, weights = ValidationBatches(given, 32)[0]

    numbers = inputs["mel"][:, 0, 0, 0].astype(int)
    np.testing.assert_array_equal(inputs["tokens"][:, 0], numbers + 2)
    np.testing.assert_array_equal(targets["probability"][:, 0], given.rows.is_emergency[numbers])
    np.testing.assert_array_equal(weights["kinds"], given.rows.is_emergency[numbers])


def test_kinds_count_for_emergencies_only(tmp_path):
    inputs, targets, weights = TrainingBatches(source(tmp_path, MULTIMODAL), 400, seed=3)[0]

    heard = inputs["mel"][:, 0, 0, 0]
    emergencies = (targets["probability"][:, 0] == 1) & (heard >= 0)
    np.testing.assert_array_equal(targets["kinds"][emergencies, 0], heard[emergencies] % 14)
    assert weights["kinds"].sum() == targets["probability"].sum()
    assert (weights["probability"] == 1).all()


def test_some_rows_lose_their_text_some_their_sound_none_both(tmp_path):
    batch = TrainingBatches(source(tmp_path, MULTIMODAL), 540, seed=5)[0][0]

    without_text = (batch["tokens"] == text.PADDING_ID).all(axis=1)
    without_sound = (batch["mel"] == -1).all(axis=(1, 2, 3))
    assert without_text.mean() == pytest.approx(0.4, abs=0.07)
    assert without_sound.mean() == pytest.approx(0.1, abs=0.05)
    assert not (without_text & without_sound).any()
    assert (batch["tokens"] == text.UNKNOWN_ID).mean() == pytest.approx(0.18, abs=0.03)


def test_the_first_passes_are_heard_only(tmp_path):
    batches = TrainingBatches(source(tmp_path, MULTIMODAL), 540, seed=5, heard_only=2)

    shares = []
    for _ in range(3):
        batches.shuffle()
        inputs = batches[0][0]
        shares.append((inputs["tokens"] == text.PADDING_ID).all(axis=1).mean())

    assert shares[:2] == [1, 1]
    assert shares[2] == pytest.approx(0.4, abs=0.07)


def test_augmented_variants_of_the_same_clip_take_turns(tmp_path):
    batch = TrainingBatches(source(tmp_path, CNN, variants=2), 540, seed=5)[0]

    variant, clip = np.divmod(numbers_in(batch), 1000)
    assert {0, 1, 2} == set(variant.astype(int))
    np.testing.assert_array_equal(np.sort(clip), np.arange(CLIPS - 60))


def test_moving_a_window_keeps_all_of_it(tmp_path):
    given = source(tmp_path, CNN, length=120)
    ramp = np.arange(6, dtype=np.float32)[None, None, :, None] + np.zeros((120, 4, 6, 1), np.float32)
    moving = Source(CNN, given.rows, given.kind_of_clip, (ramp,), "mel", given.silence)

    moved = TrainingBatches(moving, 60, seed=2)[0][0]["mel"]

    np.testing.assert_array_equal(np.sort(moved, axis=2), ramp[:60])
    assert len({tuple(window[0, :, 0]) for window in moved}) == 6
    assert (moved == moved[:, :1]).all()  # all bands together


def test_shifting_bands_keeps_time_and_repeats_the_outermost(tmp_path):
    given = source(tmp_path, CNN, length=120)
    bands = np.arange(16, dtype=np.float32)[None, :, None, None] + np.zeros((120, 16, 6, 1), np.float32)
    shifted = Source(CNN, given.rows, given.kind_of_clip, (bands,), "mel", np.zeros((16, 6, 1), np.float32))

    windows = TrainingBatches(shifted, 60, seed=2)[0][0]["mel"]

    assert (windows == windows[:, :, :1]).all()
    shifts = windows[:, 8, 0, 0] - 8
    assert set(shifts) == set(range(-4, 5))
    for window, shift in zip(windows[:, :, 0, 0], shifts, strict=True):
        np.testing.assert_array_equal(window, np.clip(np.arange(16) + shift, 0, 15))


def test_validation_shows_readers_every_row_with_and_without_text(tmp_path):
    dataset = read_ahead(ValidationBatches(source(tmp_path, MULTIMODAL), 32))

    for _ in range(2):
        shown = [inputs for inputs, _, _ in dataset.as_numpy_iterator()]
        tokens = np.concatenate([inputs["tokens"][:, 0] for inputs in shown])
        assert len(tokens) == 120
        assert (tokens[:60] > 1).all()
        assert (tokens[60:] == text.PADDING_ID).all()


def test_the_silent_window_is_what_the_features_make_of_silence():
    assert SILENCE.shape == MULTIMODAL.audio.shape
    assert np.ptp(SILENCE) == 0
