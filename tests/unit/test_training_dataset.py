"""From a manifest to rows: which clips, which windows, which words, in which order they are read."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from preprocess_service.features import inputs, mel, text
from preprocess_service.features.audio import TELEPHONE_RATE_HZ, resample
from preprocess_service.model_spec import MODELS
from tests.unit.small_corpus import KINDS, RATE_HZ, speech_like, write_corpus
from training import fingerprint
from training.dataset import Corpus, learn_text_settings, load_rows, read_corpus, read_matched, token_ids
from training.manifest import MANIFEST_NAME, SPLITS, ManifestError, read_manifest, write_manifest

LSTM, MULTIMODAL = MODELS["lstm"], MODELS["multimodal"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return read_corpus(folder)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def text_settings(corpus):
    return learn_text_settings(corpus.clips)


def copy_of(corpus, folder):
    shutil.copytree(corpus.folder, folder)
    return read_corpus(folder)


def test_rows_are_what_the_service_would_send(corpus, cache, text_settings):
    rows = load_rows(corpus, MULTIMODAL, text_settings, cache, workers=1)
    assert rows.tokens is not None

    for clip in range(len(corpus.clips)):
        samples = resample(corpus.samples(clip), TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)
        (ids,) = token_ids([corpus.clips[clip]], text_settings)
        sent = inputs.batch(MULTIMODAL, samples, ids, inputs.rows(MULTIMODAL, len(samples), len(ids)))
        of_clip = np.flatnonzero(rows.clip_of_row == clip)
        np.testing.assert_array_equal(rows.audio[rows.window_of_row[of_clip]], sent["mel"])
        np.testing.assert_array_equal(rows.tokens[of_clip], sent["tokens"])


def test_labels_and_splits_are_the_manifests(corpus, cache):
    rows = load_rows(corpus, LSTM, None, cache, workers=1)

    for split in SPLITS:
        chosen = rows.rows_of(split)
        clips = [corpus.clips[clip] for clip in rows.clip_of_row[chosen]]
        assert {clip.split for clip in clips} == {split}
        assert rows.labels(chosen).tolist() == [float(clip.label == "emergency") for clip in clips]
    assert rows.tokens is None


def test_augmented_windows_are_of_the_same_rows(corpus, cache):
    rows = load_rows(corpus, LSTM, None, cache, workers=1, variants=2)
    windows = rows.window_of_row[rows.rows_of("train")]

    assert len(rows.augmented) == 2
    for variant in rows.augmented:
        assert variant.shape == rows.audio.shape
        likeness = [np.corrcoef(variant[w][:20, 0], rows.audio[w][:20, 0])[0, 1] for w in windows]
        assert np.mean(likeness) > 0.5
        with pytest.raises(IndexError):
            variant[rows.window_of_row[rows.rows_of("test")]]
    assert not np.array_equal(rows.augmented[0][windows], rows.augmented[1][windows])


def test_the_shifted_channel_can_be_had_for_one_split(corpus, cache):
    plain = load_rows(corpus, LSTM, None, cache, workers=1)
    shifted = load_rows(corpus, LSTM, None, cache, workers=1, channel="shifted", splits=SPLITS[2:])

    assert not len(shifted.rows_of("train"))
    np.testing.assert_array_equal(
        shifted.clip_of_row[shifted.rows_of("test")], plain.clip_of_row[plain.rows_of("test")]
    )
    assert len(shifted.audio) == len(plain.rows_of("test"))


def test_fewer_clips_are_a_share_of_every_split_and_class(corpus, cache):
    rows = load_rows(corpus, LSTM, None, cache, workers=1, most_clips=12)

    for split in SPLITS:
        kept = np.unique(rows.clip_of_row[rows.rows_of(split)])
        assert len(kept) == sum(clip.split == split for clip in corpus.clips) // 2
        assert rows.is_emergency[kept].mean() == 0.5
    assert len(load_rows(corpus, LSTM, None, cache, workers=1, most_clips=1000).window_of_row) == len(
        load_rows(corpus, LSTM, None, cache, workers=1).window_of_row
    )


def test_a_bad_clip_has_no_rows_and_no_split(corpus, cache, tmp_path, capsys):
    damaged = copy_of(corpus, tmp_path / "corpus")
    (damaged.folder / damaged.clips[20].path).write_bytes(b"RIFF")

    rows = load_rows(read_corpus(damaged.folder), LSTM, None, tmp_path / "cache", workers=1)

    assert 20 not in rows.clip_of_row
    assert rows.splits[20] == ""
    assert len(rows.rows_of("test")) == 7
    (listed,) = (tmp_path / "cache").glob("bad_clips-*.csv")
    printed = capsys.readouterr().err
    assert "WARNING: 1 of 24 clips (4.2%) cannot be used" in printed
    assert str(listed) in printed
    assert damaged.clips[20].clip_id in listed.read_text()


def without_recordings(corpus, folder, is_lost):
    """A copy of the corpus without the recordings of the clips that `is_lost` says."""
    damaged = copy_of(corpus, folder)
    for clip in filter(is_lost, damaged.clips):
        (damaged.folder / clip.path).unlink()
    return read_corpus(damaged.folder)


def test_bad_clips_never_end_a_run_that_can_go_on(corpus, tmp_path, capsys):
    damaged = without_recordings(corpus, tmp_path / "corpus", lambda clip: not clip.clip_id.endswith("-0"))

    rows = load_rows(damaged, LSTM, None, tmp_path / "cache", workers=1)

    assert sorted(rows.splits[rows.splits != ""]) == sorted(2 * SPLITS)
    assert "WARNING: 18 of 24 clips (75.0%) cannot be used" in capsys.readouterr().err


def test_a_split_that_bad_clips_leave_without_a_class_is_refused_by_name(corpus, tmp_path, capsys):
    lost = ("validation", "normal")
    damaged = without_recordings(corpus, tmp_path / "corpus", lambda clip: (clip.split, clip.label) == lost)

    with pytest.raises(ManifestError, match=r"none of the 4 normal clips in validation can be .*bad_clips-\w+\.csv"):
        load_rows(damaged, LSTM, None, tmp_path / "cache", workers=1)
    assert "WARNING: 4 of 24 clips (16.7%)" in capsys.readouterr().err


def test_a_clip_that_comes_back_is_used_again(corpus, tmp_path):
    damaged = copy_of(corpus, tmp_path / "corpus")
    path = damaged.folder / damaged.clips[0].path
    path.rename(path.with_suffix(".away"))
    without = load_rows(read_corpus(damaged.folder), LSTM, None, tmp_path / "cache", workers=1)
    path.with_suffix(".away").rename(path)

    complete = load_rows(read_corpus(damaged.folder), LSTM, None, tmp_path / "cache", workers=1)

    assert len(complete.audio) == len(without.audio) + 1


def test_other_splits_and_labels_need_no_new_features(corpus, cache, tmp_path):
    load_rows(corpus, LSTM, None, cache, workers=1)
    before = sorted(cache.glob("*/*"))
    changed = copy_of(corpus, tmp_path / "corpus")
    swap = {"train": "test", "test": "train", "validation": "validation"}
    write_manifest(changed.folder / MANIFEST_NAME, [replace(clip, split=swap[clip.split]) for clip in changed.clips])

    rows = load_rows(read_corpus(changed.folder), LSTM, None, cache, workers=1)

    assert sorted(cache.glob("*/*")) == before
    assert rows.splits.tolist() == [swap[clip.split] for clip in corpus.clips]


def test_tokens_are_the_same_with_and_without_a_cache(corpus, cache, text_settings):
    texts = [clip.text for clip in corpus.clips]

    assert learn_text_settings(corpus.clips, cache, workers=2) == text_settings
    assert token_ids(corpus.clips, text_settings, cache) == token_ids(corpus.clips, text_settings)
    assert len(list(cache.glob("morphemes-*/*"))) == 1
    assert text.UNKNOWN_ID not in token_ids(corpus.clips[:1], text_settings)[0], texts[0]


def test_fingerprint_is_the_same_for_a_copy(corpus, tmp_path):
    assert copy_of(corpus, tmp_path / "copy").fingerprint == corpus.fingerprint


def test_fingerprint_sees_another_sound_of_the_same_size(corpus, tmp_path):
    changed = copy_of(corpus, tmp_path / "copy")
    path = changed.folder / changed.clips[3].path
    soundfile.write(path, speech_like(0.5, seed=99), RATE_HZ, subtype="PCM_16")

    assert read_corpus(changed.folder).fingerprint != corpus.fingerprint


def test_fingerprint_sees_another_manifest(corpus, tmp_path):
    changed = copy_of(corpus, tmp_path / "copy")
    first, *others = read_manifest(changed.folder / MANIFEST_NAME)
    write_manifest(changed.folder / MANIFEST_NAME, [replace(first, text="다른 말"), *others])

    assert read_corpus(changed.folder).fingerprint != corpus.fingerprint


def test_marks_of_large_corpora_are_sizes_and_checksums_of_archives(tmp_path):
    (tmp_path / "plain.wav").write_bytes(b"12345")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("in.wav", b"123")

    found = fingerprint.marks(tmp_path, ["plain.wav", "a.zip/in.wav", "nowhere.wav"], hashed_bytes=1)

    assert found == {
        "plain.wav": "5 bytes",
        "a.zip/in.wav": "3 bytes, CRC 884863d2",
        "nowhere.wav": fingerprint.MISSING,
    }


def test_marks_of_small_corpora_tell_bytes_apart(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"123")
    (tmp_path / "b.wav").write_bytes(b"124")

    found = fingerprint.marks(tmp_path, ["a.wav", "b.wav"])

    assert found["a.wav"] != found["b.wav"]


@pytest.mark.parametrize("missing", ["emergency", "normal"])
def test_every_split_needs_both_classes(tmp_path, missing):
    clips = [clip for clip in write_corpus(tmp_path, 1) if (clip.split, clip.label) != ("validation", missing)]
    write_manifest(tmp_path / MANIFEST_NAME, clips)

    with pytest.raises(ManifestError, match=f"no {missing} clip in validation"):
        read_corpus(tmp_path)


def test_clips_are_read_from_the_audio_root_and_from_archives(corpus, tmp_path):
    (tmp_path / "manifest").mkdir()
    with zipfile.ZipFile(tmp_path / "recordings.zip", "w") as archive:
        for clip in corpus.clips:
            archive.write(corpus.folder / clip.path, clip.path)
    clips = [replace(clip, path=f"recordings.zip/{clip.path}") for clip in corpus.clips]
    write_manifest(tmp_path / "manifest" / MANIFEST_NAME, clips)
    (tmp_path / "manifest/corpus.json").write_text('{"audio_root": ".."}')

    zipped = read_corpus(tmp_path / "manifest")
    rows = load_rows(zipped, LSTM, None, tmp_path / "cache", workers=1)

    assert len(np.unique(rows.clip_of_row)) == len(corpus.clips)
    np.testing.assert_array_equal(zipped.samples(5), corpus.samples(5))


def test_the_corpus_is_class_ordered(corpus):
    """What the tests above stand on."""
    assert [clip.label for clip in corpus.clips] == [label for label in KINDS for _ in range(12)]
    assert isinstance(corpus, Corpus)


def test_matched_clips_have_groups_of_training_and_new_sentences(corpus, tmp_path):
    known = next(clip for clip in corpus.clips if clip.split == "train")
    new = replace(known, clip_id="new", text="아무도 하지 않은 말", spoken_text="", split="test")

    def read(clip):
        write_manifest(tmp_path / MANIFEST_NAME, [clip])
        return read_matched(tmp_path, corpus)

    assert read(new).clips == (new,)
    with pytest.raises(ManifestError, match="new: its sentence is in"):
        read(replace(new, text=known.text))
    with pytest.raises(ManifestError, match="new: speaker_group 'somebody else' is in no training clip"):
        read(replace(new, speaker_group="somebody else"))
