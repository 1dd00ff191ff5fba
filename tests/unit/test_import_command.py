"""`python -m training import`: what it writes, what it prints, and how it ends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.published_corpora import annotation, label_170, put, put_170, put_call, row_263, said, table_263, wav
from training.__main__ import main
from training.manifest import SPLITS, check_splits, read_manifest, write_manifest
from training.recording_files import audio_root, read_recording


@pytest.fixture
def corpus_170(tmp_path: Path) -> Path:
    """40 recordings, half of them normal, one orphan and one label in another encoding."""
    root = tmp_path / "170"
    for at in range(20):
        put_170(root, f"8.전기사고_{at}", annotation(note=f"전기 {at}"), recording=wav(1.0, 44100, 32))
        put_170(
            root, f"15.실내_{at}", annotation("실내", note=f"방 안 {at}"), recording=wav(1.0, 44100, 16 + 16 * (at % 2))
        )
    put(root / "Training/[라벨]8.전기사고/8.전기사고_99.json", label_170(annotation()))
    put(root / "Training/[라벨]8.전기사고/8.전기사고_3.json", label_170(annotation()).encode("cp949"))
    return root


@pytest.fixture
def corpus_263(tmp_path: Path) -> Path:
    """40 rows of neutral speech by 40 speakers."""
    root = tmp_path / "263"
    rows = [row_263(f"w{at}", ["neutral"] * 5, f"문장 {at}", age=str(20 + at)) for at in range(40)]
    put(root / "5차년도.csv", table_263(rows))
    for at in range(40):
        put(root / f"5차년도/w{at}.wav", wav(1.0, 48000))
    return root


def summary_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "import_summary.json").read_text(encoding="utf-8"))
    return found


def test_writes_manifest_root_summary_and_picture(
    tmp_path: Path, corpus_170: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"

    assert main(["import", "aihub170", str(corpus_170), "--out", str(out)]) == 0

    clips = read_manifest(out / "manifest.csv")
    check_splits(clips)
    assert {clip.split for clip in clips} == set(SPLITS)
    assert all(read_recording(audio_root(out), clip.path)[:4] == b"RIFF" for clip in clips)
    assert sorted(path.name for path in out.iterdir()) == [
        "corpus.json",
        "import_summary.json",
        "import_summary.png",
        "manifest.csv",
    ]
    assert (out / "import_summary.png").read_bytes().startswith(b"\x89PNG")
    summary = summary_of(out)
    assert summary["total"] == {"clips": 39, "hours": pytest.approx(39 / 3600, abs=1e-3), "emergency": 19, "normal": 20}
    assert summary["formats"]["44100 Hz 16 bit"]["clips"] == 10
    assert summary["files"] == {".wav": 40, ".json": 41}
    printed = capsys.readouterr().out
    for words in (
        "전기사고",
        "label is not UTF-8",
        "label without wav",
        "[라벨]8.전기사고",
        "39 clips",
        "1 bad, 1 orphan",
    ):
        assert words in printed


def test_the_summary_lists_every_item_that_was_not_taken(tmp_path: Path, corpus_170: Path) -> None:
    for at in range(100, 120):
        put(corpus_170 / f"Training/[라벨]8.전기사고/8.전기사고_{at}.json", label_170(annotation()))

    main(["import", "aihub170", str(corpus_170), "--out", str(tmp_path / "out")])

    orphans = summary_of(tmp_path / "out")["findings"]["orphan"]["label without wav"]
    assert {entry["item"] for entry in orphans} >= {
        f"Training/[라벨]8.전기사고/8.전기사고_{at}.json" for at in (99, *range(100, 120))
    }
    assert len(orphans) == 21


def test_a_corpus_of_one_class_is_imported_with_a_warning(tmp_path: Path, corpus_263: Path) -> None:
    assert main(["import", "aihub263", str(corpus_263), "--out", str(tmp_path / "out")]) == 0

    assert len(read_manifest(tmp_path / "out/manifest.csv")) == 40
    assert "training needs both classes" in summary_of(tmp_path / "out")["warnings"][0]


def test_nothing_usable_is_a_failure_that_keeps_the_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_170(tmp_path / "170", "8.전기사고_1", annotation("폭설"))

    assert main(["import", "aihub170", str(tmp_path / "170"), "--out", str(tmp_path / "out")]) == 1

    assert not (tmp_path / "out/manifest.csv").exists()
    assert list(summary_of(tmp_path / "out")["findings"]["bad"]) == ["class is unknown"]
    assert "no usable clip" in capsys.readouterr().err


def test_a_failed_import_leaves_no_manifest_of_an_earlier_one(tmp_path: Path, corpus_170: Path) -> None:
    out = str(tmp_path / "out")
    assert main(["import", "aihub170", str(corpus_170), "--out", out]) == 0
    put_170(tmp_path / "bad", "8.전기사고_1", annotation("폭설"))

    assert main(["import", "aihub170", str(tmp_path / "bad"), "--out", out]) == 1

    assert not (tmp_path / "out/manifest.csv").exists()


def test_grouped_by_voice_no_voice_is_in_two_splits(tmp_path: Path) -> None:
    for at in range(60):
        kind = "실내" if at % 2 else "전기사고"
        said_by = annotation(kind, note=f"말 {at}", gender="여남"[at % 2], generation=f"{at % 20 // 2}0대")
        put_170(tmp_path / "170", f"8.전기사고_{at}", said_by)

    for words, shared in (((), True), (("--group-by", "voice"), False)):
        out = tmp_path / f"out{len(words)}"
        assert main(["import", "aihub170", str(tmp_path / "170"), "--out", str(out), *words]) == 0
        clips = read_manifest(out / "manifest.csv")
        check_splits(clips)
        assert len(clips) == 60
        assert {clip.split for clip in clips} == set(SPLITS)
        voices = {clip.voice for clip in clips}
        assert len(voices) == 20
        assert (len({(clip.voice, clip.split) for clip in clips}) > len(voices)) is shared


def test_a_missing_folder_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "aihub263", str(tmp_path / "no"), "--out", str(tmp_path / "out")]) == 1

    assert "no is not a folder" in capsys.readouterr().err


def test_the_manifest_of_another_corpus_is_not_overwritten(tmp_path: Path, corpus_263: Path) -> None:
    manifest = put(tmp_path / "out/manifest.csv", "of a synthetic corpus")

    assert main(["import", "aihub263", str(corpus_263), "--out", str(tmp_path / "out")]) == 1

    assert manifest.read_text() == "of a synthetic corpus"


def test_an_import_can_be_repeated_and_comes_out_the_same(tmp_path: Path, corpus_170: Path) -> None:
    manifests = set()
    for workers in ("1", "7"):
        main(["import", "aihub170", str(corpus_170), "--out", str(tmp_path / "out"), "--workers", workers])
        manifests.add((tmp_path / "out/manifest.csv").read_bytes())

    assert len(manifests) == 1


def test_corpora_merge_over_a_common_root_and_are_split_anew(
    tmp_path: Path, corpus_170: Path, corpus_263: Path
) -> None:
    main(["import", "aihub170", str(corpus_170), "--out", str(tmp_path / "a")])
    main(["import", "aihub263", str(corpus_263), "--out", str(tmp_path / "b")])

    assert main(["import", "merge", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "both")]) == 0

    clips = read_manifest(tmp_path / "both/manifest.csv")
    check_splits(clips)
    assert len(clips) == 79
    assert {(clip.split, clip.source) for clip in clips} == {(a, b) for a in SPLITS for b in ("aihub170", "aihub263")}
    assert all(read_recording(audio_root(tmp_path / "both"), clip.path)[:4] == b"RIFF" for clip in clips)


def test_a_recording_format_of_one_class_only_is_a_warning(tmp_path: Path, corpus_170: Path, corpus_263: Path) -> None:
    main(["import", "aihub170", str(corpus_170), "--out", str(tmp_path / "a")])
    main(["import", "aihub263", str(corpus_263), "--out", str(tmp_path / "b")])

    main(["import", "merge", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "both")])

    warnings = summary_of(tmp_path / "both")["warnings"]
    assert "recordings of 48000 Hz 16 bit: all are normal, so the recording gives the class away" in warnings
    assert not any("44100 Hz 32 bit" in warning for warning in warnings)


def test_a_merge_without_both_classes_is_refused(
    tmp_path: Path, corpus_263: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["import", "aihub263", str(corpus_263), "--out", str(tmp_path / "b")])

    assert main(["import", "merge", str(tmp_path / "b"), "--out", str(tmp_path / "both")]) == 1

    assert "no emergency clip" in capsys.readouterr().err
    assert not (tmp_path / "both/manifest.csv").exists()


def test_a_merge_refuses_ids_that_occur_twice_and_its_own_input(
    tmp_path: Path, corpus_170: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        main(["import", "aihub170", str(corpus_170), "--out", str(tmp_path / name)])
    a, b = str(tmp_path / "a"), str(tmp_path / "b")

    assert main(["import", "merge", a, b, "--out", str(tmp_path / "both")]) == 1
    assert "ids are unique" in capsys.readouterr().err
    assert main(["import", "merge", a, b, "--out", b]) == 1
    assert "give another folder" in capsys.readouterr().err


def test_groups_of_equal_name_in_two_corpora_are_two(tmp_path: Path, corpus_170: Path, corpus_263: Path) -> None:
    """Both have clips of "s1": no reason to keep them together, or to count them as one."""
    for name, root in (("a", corpus_170), ("b", corpus_263)):
        main(["import", f"aihub{root.name}", str(root), "--out", str(tmp_path / name)])
        path = tmp_path / name / "manifest.csv"
        write_manifest(path, [replace(clip, speaker_group=f"s{at}") for at, clip in enumerate(read_manifest(path))])

    main(["import", "merge", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "both")])

    groups = {clip.speaker_group for clip in read_manifest(tmp_path / "both/manifest.csv")}
    assert {"aihub170-s1", "aihub263-s1"} <= groups
    assert summary_of(tmp_path / "both")["largest_component"] == 1


def test_calls_keep_their_clips_in_one_split(tmp_path: Path) -> None:
    for at in range(16):
        talk = [said(f"{at} 번째 말 {part}", part * 2, part * 2 + 1.9) for part in range(8)]
        put_call(tmp_path / "71768", f"{at:04}", talk, urgencyLevel="상" if at % 2 else "하", seconds=16.0)

    assert main(["import", "aihub71768", str(tmp_path / "71768"), "--out", str(tmp_path / "out")]) == 0

    clips = read_manifest(tmp_path / "out/manifest.csv")
    assert len({(clip.source_clip, clip.split) for clip in clips}) == len({clip.source_clip for clip in clips}) == 16
    assert all(clip.duration_s <= 7 for clip in clips)
    assert {clip.split for clip in clips} == set(SPLITS)
