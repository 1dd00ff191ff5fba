"""AI Hub 170 as found on disk: every oddity of the published files."""

from __future__ import annotations

import tracemalloc
import unicodedata
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from preprocess_service.features.audio import HIGHEST_RATE_HZ, AudioFormat, decode
from tests.unit.published_corpora import annotation, label_170, not_taken, options, put, put_170, wav, zipped
from tests.unit.recordings import wav_header
from training.importers import aihub170
from training.importers.findings import Findings, ImportFailed
from training.importers.tree import nfc
from training.importers.wav_header import LONGEST_S, MOST_HEADER_BYTES
from training.line import LONGEST_CLIP_S
from training.manifest import Clip, read_manifest, write_manifest
from training.recording_files import MOST_AUDIO_BYTES, read_recording


def read(root: Path, *words: str) -> tuple[list[Clip], Findings]:
    findings = Findings()
    return aihub170.read(root, options(aihub170, *words), findings), findings


def test_one_annotation_is_one_clip_with_all_that_is_known(tmp_path: Path) -> None:
    both = (annotation(start=0.25, end=1.5), annotation(start=1.5, end=2.0, note="두번째"))
    put_170(tmp_path, "8.전기사고_226549", *both, recording=wav(2.0, 44100, 32))

    clips, findings = read(tmp_path)

    first = Clip(
        clip_id="aihub170-training-8.전기사고_226549-0",
        path="Training/[원천]8.전기사고_1/8.전기사고_226549_label.wav",
        text="여기 전기사고 났어요",
        label="emergency",
        kind="전기사고",
        split="train",
        duration_s=1.25,
        start_s=0.25,
        end_s=1.5,
        sample_rate_hz=44100,
        bit_depth=32,
        source="aihub170",
        source_clip="aihub170-training-8.전기사고_226549",
        voice="여/30대/경상",
        audio_type="음성",
    )
    second_id = "aihub170-training-8.전기사고_226549-1"
    assert clips == [first, replace(first, clip_id=second_id, text="두번째", start_s=1.5, end_s=2.0, duration_s=0.5)]
    assert findings.entries == []


def test_both_bit_depths_are_read_as_they_are(tmp_path: Path) -> None:
    for bits in (16, 24, 32):
        put_170(tmp_path, f"9.가스사고_{bits}", annotation("가스사고"), recording=wav(1.0, 44100, bits))

    clips, _ = read(tmp_path)

    assert [(clip.sample_rate_hz, clip.bit_depth) for clip in clips] == [(44100, 16), (44100, 24), (44100, 32)]


def test_indoor_files_without_speaker_are_normal(tmp_path: Path) -> None:
    bare = annotation("실내", gender=None, generation=None, dialect=None, note=None)
    put_170(tmp_path, "15.실내_1", bare, part="Validation")

    (clip,), findings = read(tmp_path)

    assert (clip.label, clip.kind, clip.voice, clip.text, findings.entries) == ("normal", "실내", "", "", [])


@pytest.mark.parametrize(
    ("written", "kind"), [("간헐", "갇힘"), ("태풍/강풍", "태풍-강풍"), ("태풍-강풍", "태풍-강풍")]
)
def test_aliases_of_classes(tmp_path: Path, written: str, kind: str) -> None:
    put_170(tmp_path, "6.갇힘_1", annotation(unicodedata.normalize("NFD", written)))

    (clip,), _ = read(tmp_path)

    assert (clip.kind, clip.label) == (kind, "emergency")


def test_decomposed_names_match_composed_ones_and_the_path_opens(tmp_path: Path) -> None:
    stem = unicodedata.normalize("NFD", "8.전기사고_1_label.wav")
    put(tmp_path / "Training" / unicodedata.normalize("NFD", "[원천]8.전기사고_1") / stem, wav())
    put(tmp_path / "Training/[라벨]8.전기사고/8.전기사고_1.json", label_170(annotation()))

    (clip,), findings = read(tmp_path)

    assert findings.entries == []
    assert clip.path != nfc(clip.path)
    assert read_recording(tmp_path, clip.path) == wav()
    assert clip.clip_id == nfc(clip.clip_id)


def test_orphans_of_both_sorts_are_listed(tmp_path: Path) -> None:
    put_170(tmp_path, "8.전기사고_1")
    put(tmp_path / "Training/[라벨]8.전기사고/8.전기사고_2.json", label_170(annotation()))
    put(tmp_path / "Training/[원천]8.전기사고_1/8.전기사고_3_label.wav", wav())
    put(tmp_path / "Validation/[원천]8.전기사고_1/8.전기사고_2_label.wav", wav())

    clips, findings = read(tmp_path)

    assert len(clips) == 1
    assert not_taken(findings) == {
        ("orphan", "label without wav", "8.전기사고_2.json"),
        ("orphan", "wav without label", "8.전기사고_3_label.wav"),
        ("orphan", "wav without label", "8.전기사고_2_label.wav"),  # of another part
    }


BAD_LABELS = {
    "label is not JSON": b'{"annotations": [',
    "label is not UTF-8": label_170(annotation()).encode("cp949"),
    "label is not a JSON object": b"[]",
    "label has no annotations": label_170().encode(),
    "class is unknown": label_170(annotation("폭설")).encode(),
    "annotation has no categories": label_170(annotation(categories=None)).encode(),
    "annotation has no area": label_170(annotation(area=None)).encode(),
    "time is not a number of at least 0": label_170(annotation(area={"start": 0, "end": 10**400})).encode(),
    "text is longer than 10000 characters": label_170(annotation(note="가" * 200_000)).encode(),
    "stretch is empty": label_170(annotation(start=0.5, end=0.5)).encode(),
    "stretch is shorter than 0.1 s": label_170(annotation(start=0.5, end=0.55)).encode(),
    "times fit the recording neither in seconds nor in milliseconds": label_170(annotation(end=5.0)).encode(),
}


@pytest.mark.parametrize("reason", BAD_LABELS)
def test_a_bad_label_is_named_and_the_others_are_read(tmp_path: Path, reason: str) -> None:
    put_170(tmp_path, "8.전기사고_1")
    put_170(tmp_path, "8.전기사고_2")
    put(tmp_path / "Training/[라벨]8.전기사고/8.전기사고_2.json", BAD_LABELS[reason])

    clips, findings = read(tmp_path)

    assert [clip.source_clip for clip in clips] == ["aihub170-training-8.전기사고_1"]
    ((group, found, item),) = not_taken(findings)
    assert (group, found, item.partition("#")[0]) == ("bad", reason, "8.전기사고_2.json")


def test_one_bad_annotation_leaves_its_neighbours(tmp_path: Path) -> None:
    put_170(tmp_path, "8.전기사고_1", annotation(), annotation("폭설"), annotation(start=0.5))

    clips, findings = read(tmp_path)

    assert [clip.clip_id[-1] for clip in clips] == ["0", "2"]
    assert findings.entries[0].item.endswith("8.전기사고_1.json#1")
    assert "폭설" in findings.entries[0].detail


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    put_170(tmp_path, "8.전기사고_1")
    put(tmp_path / "Training/[라벨]8.전기사고/8.전기사고_1.json", b"\xef\xbb\xbf" + label_170(annotation()).encode())

    assert len(read(tmp_path)[0]) == 1


def long_wav(chunk: bytes, size: int, shown_bytes: int) -> bytes:
    """A WAV file with a chunk before its samples that says it has `size` bytes and has `shown_bytes`."""
    whole = wav()
    at = whole.index(b"data")
    return whole[:at] + chunk + size.to_bytes(4, "little") + bytes(shown_bytes) + whole[at:]


BAD_WAVS = {
    "file is not a WAV file": b"",
    "wav has no samples": wav()[:30],
    "wav is truncated": wav()[:-100],
    "wav is shorter than 0.1 s": wav(0.05),
    "wav rate is not 8000 to 48000 Hz": wav(1.0, 96000),
    "wav is longer than 1800 s": wav_header(data_bytes=8000 * 1801, bits=8) + bytes(8000 * 1801),
}


@pytest.mark.parametrize("reason", BAD_WAVS)
def test_a_bad_recording_is_named_and_the_others_are_read(tmp_path: Path, reason: str) -> None:
    put_170(tmp_path, "8.전기사고_1")
    put_170(tmp_path, "8.전기사고_2")
    put(tmp_path / "Training/[원천]8.전기사고_1/8.전기사고_2_label.wav", BAD_WAVS[reason])

    clips, findings = read(tmp_path)

    assert len(clips) == 1
    assert not_taken(findings) == {("bad", reason, "8.전기사고_2_label.wav")}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("size", "taken"), [(5000, True), (5001, True), (MOST_HEADER_BYTES, False)])
def test_chunks_before_the_samples_are_skipped_up_to_a_limit(
    tmp_path: Path, packed: bool, size: int, taken: bool
) -> None:
    put_170(tmp_path / "a", "8.전기사고_1", recording=long_wav(b"JUNK", size, size + size % 2))
    if packed:
        zipped(tmp_path / "a/Training", tmp_path / "Training.zip")
        put(tmp_path / "b/Training.zip", (tmp_path / "Training.zip").read_bytes())

    clips, findings = read(tmp_path / ("b" if packed else "a"))

    assert [clip.duration_s for clip in clips] == ([1.0] if taken else [])
    assert {entry.reason for entry in findings.entries} == (set() if taken else {"wav has no samples"})


@pytest.mark.parametrize("chunk", [b"JUNK", b"fmt "])
def test_a_chunk_of_gigabytes_is_never_read(tmp_path: Path, chunk: bytes) -> None:
    """A sparse file that is as large as its header says."""
    put_170(tmp_path, "8.전기사고_1", recording=long_wav(chunk, (1 << 29) - 2, 0))
    with (tmp_path / "Training/[원천]8.전기사고_1/8.전기사고_1_label.wav").open("r+b") as file:
        file.truncate(1 << 29)

    tracemalloc.start()
    clips, findings = read(tmp_path)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert clips == []
    assert {entry.reason for entry in findings.entries} == {"wav has no samples"}
    assert peak_bytes < 4 << 20


def test_imports_take_what_training_takes() -> None:
    assert LONGEST_S == LONGEST_CLIP_S
    assert MOST_AUDIO_BYTES > LONGEST_CLIP_S * HIGHEST_RATE_HZ * 2 * 4  # stereo of 32 bits


def test_a_recording_that_training_would_not_read_is_bad(tmp_path: Path) -> None:
    put_170(tmp_path, "8.전기사고_1")
    with (tmp_path / "Training/[원천]8.전기사고_1/8.전기사고_1_label.wav").open("r+b") as file:
        file.truncate(MOST_AUDIO_BYTES + 1)

    _, findings = read(tmp_path)

    assert [entry.reason for entry in findings.entries] == [f"wav is larger than {MOST_AUDIO_BYTES} bytes"]


def test_labels_that_inflate_to_gigabytes_do_not_end_an_import(tmp_path: Path) -> None:
    put_170(tmp_path, "8.전기사고_0")
    archive = put(tmp_path / "Training/[라벨]8.전기사고.zip", b"")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as files:
        for at in range(1, 9):
            put(tmp_path / f"Training/[원천]8.전기사고_1/8.전기사고_{at}_label.wav", wav())
            with files.open(f"8.전기사고_{at}.json", "w") as label:
                for _ in range(17):
                    label.write(b" " * (1 << 20))

    tracemalloc.start()
    clips, findings = read(tmp_path, "--workers", "8")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert len(clips) == 1
    assert [entry.reason for entry in findings.entries] == ["label cannot be read"] * 8
    assert peak_bytes < 8 << 20


def test_half_a_character_in_a_label_does_not_stop_the_manifest(tmp_path: Path) -> None:
    label = label_170(annotation(note="불\ud83d이야"))
    put_170(tmp_path, "8.전기사고_1")
    put(tmp_path / "Training/[라벨]8.전기사고/8.전기사고_1.json", label.encode("ascii", "backslashreplace"))

    clips, _ = read(tmp_path)
    write_manifest(tmp_path / "manifest.csv", clips)

    assert read_manifest(tmp_path / "manifest.csv")[0].text == "불?이야"


VOICES = (("여", "30대", "경상"), ("여", "30대", "경상"), ("남", "30대", "경상"), (None, "30대", "경상"))


@pytest.mark.parametrize(
    ("words", "groups"),
    [
        ((), ["", "", "", ""]),
        (("--group-by", "none"), ["", "", "", ""]),
        (("--group-by", "voice"), ["aihub170-여/30대/경상", "aihub170-여/30대/경상", "aihub170-남/30대/경상", ""]),
    ],
)
def test_the_voice_is_a_speaker_group_where_it_is_asked_for(
    tmp_path: Path, words: tuple[str, ...], groups: list[str]
) -> None:
    for at, (gender, generation, dialect) in enumerate(VOICES):
        voice = annotation(gender=gender, generation=generation, dialect=dialect)
        put_170(tmp_path, f"8.전기사고_{at}", voice)

    clips, findings = read(tmp_path, *words)

    assert [clip.speaker_group for clip in clips] == groups
    assert findings.notes["clips of unknown voice, in no speaker group"] == ("voice" in words)


def test_times_in_milliseconds_are_told_by_the_recording(tmp_path: Path) -> None:
    put_170(tmp_path, "8.전기사고_1", annotation(start=250, end=1900), recording=wav(2.0))

    (clip,), findings = read(tmp_path)

    assert (clip.start_s, clip.end_s, clip.duration_s) == (0.25, 1.9, 1.65)
    assert findings.notes == {"labels with times in milliseconds": 1}


def test_an_end_just_behind_the_recording_is_its_end(tmp_path: Path) -> None:
    put_170(tmp_path, "8.전기사고_1", annotation(end=2.4), recording=wav(2.0))

    (clip,), _ = read(tmp_path)

    assert clip.end_s == 2.0


def test_archives_as_downloaded_need_not_be_unpacked(tmp_path: Path) -> None:
    put_170(tmp_path / "unpacked", "8.전기사고_1", recording=wav(1.0, 44100, 32))
    folder, packed = tmp_path / "unpacked/Training", tmp_path / "packed/Training"
    packed.mkdir(parents=True)
    zipped(folder / "[원천]8.전기사고_1", packed / "[원천]8.전기사고_1.zip")
    zipped(folder / "[라벨]8.전기사고", packed / "[라벨]8.전기사고.zip")

    (clip,), findings = read(tmp_path / "packed")

    assert clip.path == "Training/[원천]8.전기사고_1.zip/8.전기사고_1_label.wav"
    assert len(decode(read_recording(tmp_path / "packed", clip.path), AudioFormat(), 10)) == 8000
    assert findings.entries == []


def test_a_second_file_of_the_same_name_is_named(tmp_path: Path) -> None:
    put_170(tmp_path, "8.전기사고_1")
    put(tmp_path / "Training/[원천]8.전기사고_2/8.전기사고_1_label.wav", wav())

    clips, findings = read(tmp_path)

    assert len(clips) == 1
    assert not_taken(findings) == {("bad", "second wav of the same name", "8.전기사고_1_label.wav")}


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportFailed, match="nowhere is not a folder"):
        read(tmp_path / "nowhere")
