"""Finding the files of a corpus: what cannot be used is named."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from tests.unit.published_corpora import not_taken, put, zipped
from training.importers.findings import Findings
from training.importers.tree import find_files


def test_files_are_found_in_folders_and_archives_in_order_of_names(tmp_path: Path) -> None:
    for name in ("나/2.wav", "나/1.WAV", "가.wav", "가.json", "읽어보세요.txt"):
        put(tmp_path / "data" / name, b"")
    zipped(tmp_path / "data", tmp_path / "다.zip")
    (tmp_path / "다.zip").rename(tmp_path / "data/다.zip")
    findings = Findings()

    wavs, labels = find_files(tmp_path / "data", (".wav", ".json"), findings)

    assert [file.path for file in wavs] == [
        "가.wav",
        "나/1.WAV",
        "나/2.wav",
        "다.zip/가.wav",
        "다.zip/나/1.WAV",
        "다.zip/나/2.wav",
    ]
    assert [file.path for file in labels] == ["가.json", "다.zip/가.json"]
    assert findings.files == {".wav": 6, ".json": 2, "other": 2}


def test_a_link_back_up_ends_the_walk(tmp_path: Path) -> None:
    put(tmp_path / "a/1.wav", b"")
    (tmp_path / "a/again").symlink_to(tmp_path)

    ((found,),) = find_files(tmp_path, (".wav",), Findings())

    assert found.path == "a/1.wav"


def test_what_macos_leaves_behind_is_no_recording(tmp_path: Path) -> None:
    put(tmp_path / "z/__MACOSX/._1.wav", b"")
    put(tmp_path / "z/1.wav", b"")
    zipped(tmp_path / "z", tmp_path / "z.zip")
    put(tmp_path / "._2.wav", b"")
    findings = Findings()

    (found,) = find_files(tmp_path, (".wav",), findings)

    assert [file.path for file in found] == ["z.zip/1.wav", "z/1.wav"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (b"\xb0\xa1.wav", "file name is not UTF-8"),  # 가 in cp949
        (b"\xb0\xa1/a.wav", "file name is not UTF-8"),
        (b"\xb0\xa1.zip", "file name is not UTF-8"),
        (b"a\\b.wav", "file name holds a backslash or control character"),
        (b"a\nb.wav", "file name holds a backslash or control character"),
    ],
)
def test_names_that_no_manifest_can_hold_are_reported(tmp_path: Path, name: bytes, reason: str) -> None:
    put(tmp_path / os.fsdecode(name), b"")
    findings = Findings()

    assert find_files(tmp_path, (".wav",), findings) == [[]]
    assert [(entry.group, entry.reason) for entry in findings.entries] == [("bad", reason)]


def test_an_archive_that_does_not_open_is_reported(tmp_path: Path) -> None:
    put(tmp_path / "a.zip", b"not a zip")
    findings = Findings()

    assert find_files(tmp_path, (".wav",), findings) == [[]]
    assert not_taken(findings) == {("bad", "archive cannot be opened", "a.zip")}


def test_an_archive_with_a_name_that_is_not_the_utf_8_it_claims_to_be_is_reported(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as files:
        files.writestr("가.wav", b"")
    packed = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(packed.replace("가".encode(), b"\xff\xfe\xfd"))
    put(tmp_path / "b.wav", b"")
    findings = Findings()

    ((found,),) = find_files(tmp_path, (".wav",), findings)

    assert found.path == "b.wav"
    assert not_taken(findings) == {("bad", "archive cannot be opened", "a.zip")}


def test_links_that_leave_the_corpus_are_reported_and_not_followed(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere/secret.wav", b"")
    zipped(tmp_path / "elsewhere", tmp_path / "elsewhere.zip")
    put(tmp_path / "corpus/a/1.wav", b"")
    links = {"file.wav": "elsewhere/secret.wav", "folder": "elsewhere", "archive.zip": "elsewhere.zip", "gone.wav": "-"}
    for name, target in links.items():
        (tmp_path / "corpus" / name).symlink_to(tmp_path / target)
    (tmp_path / "corpus/round.wav").symlink_to("round.wav")
    (tmp_path / "corpus/inside.wav").symlink_to("a/1.wav")
    (tmp_path / "linked").symlink_to("corpus")
    findings = Findings()

    (found,) = find_files(tmp_path / "linked", (".wav",), findings)

    assert [file.path for file in found] == ["a/1.wav", "inside.wav"]
    assert not_taken(findings) == {
        ("bad", "link leads outside of the corpus", "file.wav"),
        ("bad", "link leads outside of the corpus", "folder"),
        ("bad", "link leads outside of the corpus", "archive.zip"),
        ("bad", "link leads nowhere", "gone.wav"),
        ("bad", "link leads nowhere", "round.wav"),
    }


def test_named_pipes_are_reported_and_do_not_block(tmp_path: Path) -> None:
    for name in ("a.wav", "a.zip", "a.csv"):
        os.mkfifo(tmp_path / name)
    findings = Findings()

    assert find_files(tmp_path, (".wav", ".csv"), findings) == [[], []]
    assert not_taken(findings) == {("bad", "not a regular file", name) for name in ("a.wav", "a.zip", "a.csv")}
