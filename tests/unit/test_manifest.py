"""The table of clips: round trip, refusals, and what splits may not share."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from training.manifest import (
    COLUMNS,
    Clip,
    ManifestError,
    SplitError,
    check_splits,
    normalise_sentence,
    read_manifest,
    write_manifest,
)

CLIP = Clip(
    clip_id="a",
    path="clips/a.wav",
    text='불이 났어요, "빨리" 와 주세요',
    label="emergency",
    kind="화재",
    split="train",
    seed=7,
    duration_s=3.25,
    start_s=0.5,
    end_s=3.75,
    sample_rate_hz=44100,
    bit_depth=32,
    source_clip="r1",
    speaker_group="s1",
    background_group="b1",
    transcript_noise=True,
    snr_db=-1.5,
)
OTHER = replace(
    CLIP,
    clip_id="b",
    path="4차년도.zip/b.wav",
    text="예약하려고요",
    label="normal",
    kind="식당예약",
    source_clip="r2",
    votes="angry:3 sad:2",
    agreement=0.6,
    intensities="angry:2,1,1 sad:0,1",
)
HEADER = "clip_id,path,text,label,kind,split,seed,duration_s"  # the oldest manifests have these
REQUIRED = "clip_id,path,text,label,kind,split,duration_s"


def manifest(tmp_path: Path, *rows: str, header: str = HEADER) -> Path:
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def test_round_trip_keeps_every_column(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"

    write_manifest(path, [CLIP, OTHER])

    assert read_manifest(path) == [CLIP, OTHER]
    assert [entry.name for entry in tmp_path.iterdir()] == ["manifest.csv"]


def test_optional_columns_may_be_absent(tmp_path: Path) -> None:
    path = manifest(tmp_path, "a,a.wav,여보세요,normal,실내,test,0,2.5")

    assert read_manifest(path) == [Clip("a", "a.wav", "여보세요", "normal", "실내", "test", 2.5)]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a,a.wav,t,urgent,화재,train,0,2", ["label 'urgent'", "emergency, normal"]),
        ("a,a.wav,t,emergency,화재,dev,0,2", ["split 'dev'", "train, validation, test"]),
        ("a,/a.wav,t,emergency,화재,train,0,2", ["path '/a.wav'", "below the audio root"]),
        ("a,../a.wav,t,emergency,화재,train,0,2", ["path '../a.wav'"]),
        ("a,a\0.wav,t,emergency,화재,train,0,2", [r"path 'a\x00.wav'", "below the audio root"]),
        ("a,a.wav,t,emergency,화재,train,-1,2", ["seed '-1'", "at least 0"]),
        ("a,a.wav,t,emergency,화재,train,0,0", ["duration_s '0'", "longer than 0 s"]),
        ("a,a.wav,t,emergency,화재,train,0,nan", ["duration_s 'nan'", "finite"]),
        ("a,a.wav,t,emergency,배달,train,0,2", ["'배달'", "emergency kinds"]),
        ("a,a.wav,t,normal,화재,train,0,2", ["'화재'", "none of them"]),
        (",a.wav,t,emergency,화재,train,0,2", ["clip_id ''", "must not be empty"]),
        ("a,a.wav,t,emergency,화재,train,0", ["one cell a column"]),
        ("a,a.wav,t,emergency,화재,train,0,2,3", ["one cell a column"]),
    ],
)
def test_names_file_line_value_and_rule_of_a_bad_row(tmp_path: Path, row: str, words: list[str]) -> None:
    path = manifest(tmp_path, "ok,ok.wav,t,emergency,화재,train,0,2", row)

    with pytest.raises(ManifestError) as caught:
        read_manifest(path)

    assert all(word in str(caught.value) for word in [f"{path}, line 3", *words])


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ("-0.5,1.5,,,", ["start_s '-0.5'", "at least 0 s"]),
        ("1,2.5,,,", ["start_s 1 and end_s 2.5", "duration_s (2)"]),
        (",,0,,", ["sample_rate_hz '0'", "at least 1"]),
        (",,,sixteen,", ["bit_depth 'sixteen'", "at least 1"]),
        (",,,,1.5", ["agreement '1.5'", "within 0 and 1"]),
    ],
)
def test_names_a_bad_optional_cell(tmp_path: Path, cells: str, words: list[str]) -> None:
    header = REQUIRED + ",start_s,end_s,sample_rate_hz,bit_depth,agreement"

    with pytest.raises(ManifestError) as caught:
        read_manifest(manifest(tmp_path, f"a,a.wav,t,normal,실내,train,2,{cells}", header=header))

    assert all(word in str(caught.value) for word in ["line 2", *words])


def test_a_clip_without_stretch_is_the_whole_recording(tmp_path: Path) -> None:
    header = REQUIRED + ",start_s,end_s,seed"

    (clip,) = read_manifest(manifest(tmp_path, "a,a.wav,t,normal,실내,train,2,,,", header=header))

    assert (clip.start_s, clip.end_s, clip.seed) == (0.0, None, 0)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("clip_id,path", ["'text' is missing"]),
        (HEADER + ",colour", ["'colour' is not one of"]),
        (HEADER + ",voice,voice", ["'voice' occurs twice"]),
    ],
)
def test_refuses_a_bad_header(tmp_path: Path, header: str, words: list[str]) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(manifest(tmp_path, header=header))

    assert all(word in str(caught.value) for word in words)


def test_refuses_an_id_that_occurs_twice(tmp_path: Path) -> None:
    row = "a,a.wav,t,emergency,화재,train,0,2"

    with pytest.raises(ManifestError, match="'a' is on line 2 too"):
        read_manifest(manifest(tmp_path, row, row))


def test_required_columns_come_first() -> None:
    assert ",".join(COLUMNS).startswith(REQUIRED)


def test_equal_words_are_equal_sentences_however_written() -> None:
    decomposed = unicodedata.normalize("NFD", "불이 났어요")

    assert normalise_sentence("불이 났어요!") == normalise_sentence(" 불이났어요. ") == normalise_sentence(decomposed)


@pytest.mark.parametrize(
    ("shared", "named"),
    [
        ({"text": "불이 났어요 빨리 와 주세요."}, "sentence"),
        ({"spoken_text": CLIP.text}, "sentence"),
        ({"source_clip": "r1"}, "source_clip 'r1'"),
        ({"speaker_group": "s1"}, "speaker_group 's1'"),
        ({"background_group": "b1"}, "background_group 'b1'"),
    ],
)
def test_names_what_two_splits_share(shared: dict[str, str], named: str) -> None:
    apart = replace(OTHER, split="test", speaker_group="s2", background_group="b2")
    check_splits([CLIP, apart])

    with pytest.raises(SplitError, match=named) as caught:
        check_splits([CLIP, replace(apart, **shared)])  # type: ignore[arg-type]

    assert "clip a (train) and clip b (test)" in str(caught.value)


def test_names_a_held_out_template_that_training_uses() -> None:
    held_out = replace(OTHER, split="test", template_group="t", unseen_template=True)
    held_out = replace(held_out, speaker_group="", background_group="")

    with pytest.raises(SplitError, match="template_group 't'"):
        check_splits([replace(CLIP, template_group="t"), held_out])


def test_unknown_groups_are_not_shared() -> None:
    check_splits([replace(CLIP, speaker_group="", background_group=""), replace(OTHER, split="test", speaker_group="")])
