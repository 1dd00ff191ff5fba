from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from preprocess_service.errors import InvalidAudio
from tests.unit.recordings import file_bytes, speech_like
from training.manifest import Clip
from training.report import sound
from training.report.intervals import resampling
from training.report.listening import Heard, as_stored
from training.report.probes import FOLDS, folds, probe
from training.report.shortcuts import SILENCE, auc_by_source, find_shortcuts

CLIPS = 400
RANDOM = np.random.default_rng(8)
LABELS = np.arange(CLIPS) % 2 == 0
CALLERS = [f"caller {index // 10}" for index in range(CLIPS)]
NOISE = RANDOM.standard_normal((CLIPS, 6))


def planted(column):
    features = NOISE.copy()
    features[:, 2] = column
    return features


def clip_of(index, source="a", label=None):
    emergency = LABELS[index] if label is None else label
    return Clip(
        clip_id=str(index),
        path=f"{index}.wav",
        text="",
        label="emergency" if emergency else "normal",
        kind="화재" if emergency else "날씨",
        split="test",
        duration_s=1.0,
        source=source,
        speaker_group=CALLERS[index],
    )


def heard(**parts):
    names = ("silence", "high_band", "silence_of_file", "file", "file_band")
    return Heard(**{name: parts.get(name, NOISE) for name in names})


def test_a_planted_shortcut_is_found():
    measured = probe(planted(NOISE[:, 2] + 2 * LABELS), LABELS, CALLERS)

    assert 0.88 < measured.auc.value < 0.95  # two normal distributions two standard deviations apart: 0.921
    assert measured.auc.low < measured.auc.value < measured.auc.high
    assert (measured.folds, measured.groups, measured.features) == (FOLDS, 40, 6)


def test_a_shortcut_that_is_neither_more_nor_less_is_found():
    lengths = np.where(LABELS, 7.0, 7.0 + RANDOM.choice([-1, 1], CLIPS) * RANDOM.uniform(1, 2, CLIPS))

    assert probe(planted(lengths), LABELS, CALLERS).auc.value > 0.95


def test_nothing_is_found_where_nothing_is():
    measured = probe(NOISE, LABELS, CALLERS)

    assert 0.4 < measured.auc.value < 0.6
    assert measured.auc.low < 0.5 < measured.auc.high


def test_a_constant_feature_is_no_shortcut():
    assert probe(np.ones((CLIPS, 1)), LABELS, CALLERS).auc.value == 0.5


def test_what_only_the_caller_shows_does_not_leak_into_other_folds():
    """Each caller has a voice and one label: learning voices by heart must not help on other callers."""
    caller = np.arange(CLIPS) // 10
    voices = np.random.default_rng(3).standard_normal((40, 30))[caller]
    labels = np.random.default_rng(4).random(40)[caller] < 0.5

    torn = probe(voices, labels, [""] * CLIPS).auc.value
    whole = probe(voices, labels, CALLERS).auc.value

    assert torn > 0.95
    assert whole < 0.7


def test_folds_keep_groups_whole_and_classes_balanced():
    fold_of = folds(CALLERS, LABELS)

    assert all(len(set(fold_of[start : start + 10])) == 1 for start in range(0, CLIPS, 10))
    assert np.bincount(fold_of).tolist() == [80] * FOLDS
    assert np.bincount(fold_of[LABELS]).tolist() == [40] * FOLDS


def test_folds_hold_both_classes_where_every_caller_has_one():
    labels = np.arange(CLIPS) // 10 % 2 == 0

    fold_of = folds(CALLERS, labels)

    assert all(0 < labels[fold_of == fold].sum() < (fold_of == fold).sum() for fold in range(FOLDS))


def test_one_caller_cannot_be_cross_validated():
    measured = probe(NOISE, LABELS, ["one"] * CLIPS)

    assert np.isnan(measured.auc.value)
    assert measured.folds == 0


def test_silence_that_gives_the_class_away_makes_figures_invalid():
    clips = [clip_of(index) for index in range(CLIPS)]

    clean = find_shortcuts(heard(), clips)
    spoilt = find_shortcuts(heard(silence=planted(NOISE[:, 2] + LABELS)), clips)

    assert clean.valid is True
    assert spoilt.valid is False
    assert spoilt.silence_auc > 0.6
    assert [each.name for each in spoilt.probes if each.result.auc.value > 0.65] == [SILENCE]


def test_shortcuts_of_the_file_alone_do_not_make_figures_invalid():
    found = find_shortcuts(heard(file=planted(LABELS)), [clip_of(index) for index in range(CLIPS)])

    (metadata,) = (each for each in found.probes if each.name == "metadata only")
    assert metadata.result.auc.value == 1
    assert not metadata.heard
    assert found.valid is True


def test_what_cannot_be_measured_is_not_called_valid():
    clips = [clip_of(0, label=index % 2 == 0) for index in range(CLIPS)]  # all of caller 0

    assert find_shortcuts(heard(), clips).valid is None


def test_a_source_that_sounds_different_is_told_from_the_others():
    sources = np.where(RANDOM.random(CLIPS) < 0.5, "a", "<script>")
    clips = [clip_of(index, str(sources[index])) for index in range(CLIPS)]

    found = find_shortcuts(heard(file=planted(sources == "a")), clips).sources

    assert [each.source for each in found] == ["<script>", "a"]
    assert all(each.file.auc.value == 1 for each in found)
    assert all(each.heard.auc.value < 0.65 for each in found)
    assert sum(each.clips for each in found) == CLIPS
    assert sum(each.emergencies for each in found) == LABELS.sum()


def test_a_model_that_knows_the_corpus_does_well_only_across_sources():
    is_first = RANDOM.random(CLIPS) < np.where(LABELS, 0.9, 0.1)
    scores = is_first + 0.1 * RANDOM.standard_normal(CLIPS)

    measured = auc_by_source(scores, LABELS, np.where(is_first, "a", "b").tolist(), resampling(CALLERS))

    assert 0.4 < measured.within.value < 0.6
    assert measured.across.value > 0.95
    assert measured.within.n + measured.across.n == LABELS.sum() * (~LABELS).sum()


def test_one_source_has_no_pairs_across():
    measured = auc_by_source(NOISE[:, 0], LABELS, ["a"] * CLIPS, resampling(CALLERS))

    assert np.isnan(measured.across.value)
    assert measured.across.n == 0


def levels(samples):
    return dict(zip(sound.SILENCE_FEATURES, sound.silence(samples), strict=True))


def test_silence_features_see_the_noise_between_words_and_not_the_words():
    rng = np.random.default_rng(2)
    noise = rng.standard_normal(16_000).astype(np.float32)
    speech = np.zeros(16_000, np.float32)
    speech[4000:12_000] = speech_like(1, 8000)

    quiet, loud, louder_speech = (
        levels(speech + 0.001 * noise),
        levels(speech + 0.01 * noise),
        levels(2 * speech + 0.001 * noise),
    )

    assert loud["quiet level"] - quiet["quiet level"] == pytest.approx(20, abs=1)
    assert louder_speech["quiet level"] == pytest.approx(quiet["quiet level"], abs=0.1)
    assert quiet["leading silence"] == pytest.approx(0.5, abs=0.05)
    assert quiet["trailing silence"] == pytest.approx(0.5, abs=0.05)


def test_digital_silence_shows():
    padded = np.pad(speech_like(1, 8000), (0, 8000))

    assert levels(padded)["digital silence"] == pytest.approx(0.5, abs=0.01)
    assert np.isfinite(sound.silence(np.zeros(8000, np.float32))).all()


def test_the_high_band_shows_what_lies_beyond_a_telephone_line():
    t = np.arange(16_000) / 8000
    low, high = np.sin(2 * np.pi * 1000 * t), np.sin(2 * np.pi * 3700 * t)

    narrow = sound.high_band(low.astype(np.float32))
    wide = sound.high_band((low + high).astype(np.float32))

    assert narrow[0] < -40
    assert wide[0] == pytest.approx(0, abs=1)


def test_the_file_tells_rate_depth_and_size():
    samples = speech_like(2, 44_100)
    audio = file_bytes(samples, 44_100, "WAV", "PCM_24")

    facts = dict(zip(sound.FILE_FEATURES, sound.of_file(audio, 2.0), strict=True))

    assert (facts["rate"], facts["bits"], facts["channels"], facts["duration"]) == (44_100, 24, 1, 2)
    assert facts["bytes a second"] == pytest.approx(len(audio) / 2)


def test_the_edge_of_a_files_spectrum_shows_its_first_rate():
    rng = np.random.default_rng(5)
    wide = rng.standard_normal(96_000).astype(np.float32)
    spectrum = np.fft.rfft(wide)
    spectrum[len(spectrum) // 6 :] = 0  # what was recorded at 8000 Hz, in a file of 48,000
    narrow = np.fft.irfft(spectrum).astype(np.float32)

    assert sound.file_band(narrow, 48_000)[3] == pytest.approx(4000, abs=100)
    assert sound.file_band(wide, 48_000)[3] > 23_000


def test_only_the_clips_stretch_of_a_file_is_looked_at():
    samples = np.concatenate([np.full(8000, 0.5), np.full(8000, -0.25)]).astype(np.float32)
    stereo = np.stack([samples, samples], axis=1)
    buffer = io.BytesIO()
    soundfile.write(buffer, stereo, 8000, format="WAV", subtype="FLOAT")
    part = Clip("1", "1.wav", "", "normal", "날씨", "test", 0.5, start_s=1.0, end_s=1.5)

    stretch, rate_hz = as_stored(buffer.getvalue(), part)

    assert rate_hz == 8000
    assert len(stretch) == 4000
    assert (stretch == -0.25).all()


def test_a_file_that_cannot_be_read_is_named():
    with pytest.raises(InvalidAudio, match=r"7\.wav"):
        as_stored(b"RIFF", clip_of(7))
