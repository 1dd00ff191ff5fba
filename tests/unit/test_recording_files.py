"""The bytes of a recording, from a file or an archive, in threads and processes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.published_corpora import put
from training.importers.findings import Findings
from training.importers.tree import find_files
from training.manifest import ManifestError
from training.recording_files import (
    MOST_AUDIO_BYTES,
    UnreadableRecording,
    audio_root,
    read_recording,
    recording_size,
    split_archive,
    write_corpus,
)

MEMBERS = {f"폴더/{at}.wav": os.urandom(2000 + at) for at in range(50)}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "4차년도.zip", "w", zipfile.ZIP_DEFLATED) as files:
        for name, content in MEMBERS.items():
            files.writestr(name, content)
    return tmp_path / "4차년도.zip"


def test_a_path_may_lead_through_an_archive(archive: Path) -> None:
    for name, content in MEMBERS.items():
        assert read_recording(archive.parent, f"{archive.name}/{name}") == content
        assert recording_size(archive.parent, f"{archive.name}/{name}") == len(content)


def test_a_plain_path_is_a_file_also_below_a_folder_called_zip(tmp_path: Path) -> None:
    put(tmp_path / "zip/a.wav", b"abc")

    assert read_recording(tmp_path, "zip/a.wav") == b"abc"
    assert recording_size(tmp_path, "zip/a.wav") == 3


def test_threads_share_an_archive(archive: Path) -> None:
    paths = [f"{archive.name}/{name}" for name in MEMBERS] * 20

    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(lambda path: read_recording(archive.parent, path), paths))

    assert contents == list(MEMBERS.values()) * 20


READ_IN_A_FORK = """
import os, sys
from pathlib import Path
from training.recording_files import open_archive, read_recording
archive = Path(sys.argv[1])
names = open_archive(archive).namelist()  # open before the fork
first = {name: read_recording(archive.parent, f"{archive.name}/{name}") for name in names}
child = os.fork()
for _ in range(20):
    for name in names if child else reversed(names):
        assert read_recording(archive.parent, f"{archive.name}/{name}") == first[name]
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_forked_processes_do_not_share_a_file_position(archive: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", READ_IN_A_FORK, str(archive)]

    assert subprocess.run(command, check=False).returncode == 0


def test_a_replaced_archive_is_opened_anew(archive: Path) -> None:
    read_recording(archive.parent, f"{archive.name}/폴더/0.wav")
    archive.unlink()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("폴더/0.wav", b"new")

    assert read_recording(archive.parent, f"{archive.name}/폴더/0.wav") == b"new"


@pytest.mark.parametrize("encoding", ["cp949", "utf-8"])
def test_member_names_without_an_encoding_flag_are_understood(tmp_path: Path, encoding: str) -> None:
    """Korean archivers write cp949, macOS UTF-8, and neither says so."""
    name = "가스사고.wav"
    stand_in = "x" * len(name.encode(encoding))  # an ASCII name of the same length sets no flag
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as files:
        files.writestr(stand_in, b"abc")
    raw = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(raw.replace(stand_in.encode(), name.encode(encoding)))

    ((found,),) = find_files(tmp_path, (".wav",), Findings())

    assert found.path == f"a.zip/{name}"
    assert read_recording(tmp_path, found.path) == b"abc"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("no.wav", "no.wav: No such file"),
        ("no.zip/a.wav", "no.zip/a.wav: No such file"),
        ("4차년도.zip/no.wav", "4차년도.zip/no.wav: the archive has no such member"),
        ("broken.zip/a.wav", "broken.zip/a.wav: File is not a zip file"),
    ],
)
def test_errors_name_the_file(archive: Path, path: str, words: str) -> None:
    put(archive.parent / "broken.zip", b"PK and nothing else")

    for read in (read_recording, recording_size):
        with pytest.raises(UnreadableRecording) as caught:
            read(archive.parent, path)
        assert words in str(caught.value)


def put_archive(folder: Path, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """`folder`/a.zip with the member a.wav."""
    with zipfile.ZipFile(folder / "a.zip", "w", method) as files:
        files.writestr("a.wav", content)
    return folder / "a.zip"


def test_no_more_bytes_are_read_than_asked_for(tmp_path: Path) -> None:
    put(tmp_path / "a.wav", bytes(1001))
    put_archive(tmp_path, bytes(1001))

    for path in ("a.wav", "a.zip/a.wav"):
        assert read_recording(tmp_path, path, 1001) == bytes(1001)
        with pytest.raises(UnreadableRecording, match=f"{path}: 1001 bytes; at most 1000 are read"):
            read_recording(tmp_path, path, 1000)


def test_a_recording_has_a_limit_without_asking(tmp_path: Path) -> None:
    with (tmp_path / "a.wav").open("wb") as file:
        file.truncate(MOST_AUDIO_BYTES + 1)  # sparse: takes no room

    with pytest.raises(UnreadableRecording, match=f"at most {MOST_AUDIO_BYTES} are read"):
        read_recording(tmp_path, "a.wav")


def test_a_member_that_inflates_to_more_than_its_archive_says_is_not_inflated(tmp_path: Path) -> None:
    content = bytes(64 << 20)
    path = put_archive(tmp_path, content)
    packed = bytearray(path.read_bytes())
    for at in (packed.find(b"PK\x03\x04") + 22, packed.find(b"PK\x01\x02") + 24):
        assert int.from_bytes(packed[at : at + 4], "little") == len(content)
        packed[at : at + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(packed)

    tracemalloc.start()
    with pytest.raises(UnreadableRecording, match=r"a\.zip/a\.wav: Bad CRC-32"):
        read_recording(tmp_path, "a.zip/a.wav", 2000)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak_bytes < 4 << 20


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_without_a_bound_are_refused(tmp_path: Path, method: int) -> None:
    put_archive(tmp_path, b"abc", method)

    with pytest.raises(UnreadableRecording, match=f"a.zip/a.wav: compressed by method {method}; only stored"):
        read_recording(tmp_path, "a.zip/a.wav")


def test_what_is_no_regular_file_is_refused_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    os.mkfifo(tmp_path / "a.zip")
    (tmp_path / "b.wav").mkdir()

    for path in ("a.wav", "a.zip/a.wav", "b.wav"):
        for read in (read_recording, recording_size):
            with pytest.raises(UnreadableRecording, match=f"{path[:5]}: not a regular file"):
                read(tmp_path, path)


def test_a_member_name_that_is_not_the_utf_8_it_claims_to_be_is_named(archive: Path) -> None:
    packed = archive.read_bytes()
    archive.write_bytes(packed.replace("폴더/7.wav".encode(), b"\xff" * len("폴더/7.wav".encode())))
    local_only = packed.replace("폴더/7.wav".encode(), b"\xff" * len("폴더/7.wav".encode()), 1)
    put(archive.with_name("b.zip"), local_only)

    with pytest.raises(UnreadableRecording, match="4차년도.zip/폴더/0.wav: the name of a member is marked as UTF-8"):
        read_recording(archive.parent, "4차년도.zip/폴더/0.wav")
    with pytest.raises(UnreadableRecording, match="b.zip/폴더/7.wav: 'utf-8' codec"):
        read_recording(archive.parent, "b.zip/폴더/7.wav")
    assert read_recording(archive.parent, "b.zip/폴더/8.wav") == MEMBERS["폴더/8.wav"]


def test_a_damaged_archive_never_ends_in_another_error(tmp_path: Path) -> None:
    """Bytes of the headers and the directory set to anything, as a broken download or a hostile file has them."""
    packed = put_archive(tmp_path, b"RIFF" * 20).read_bytes()
    rng, refused = random.Random(1), 0

    for at in range(600):
        damaged = bytearray(packed)
        for _ in range(rng.choice((1, 1, 2, 4))):
            damaged[rng.randrange(len(packed))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        put(tmp_path / f"{at}/a.zip", bytes(damaged))
        find_files(tmp_path / f"{at}", (".wav",), Findings())
        try:
            read_recording(tmp_path, f"{at}/a.zip/a.wav")
        except UnreadableRecording:
            refused += 1

    assert 200 < refused < 600


def test_a_damaged_member_is_named(archive: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[200:260] = bytes(60)
    archive.write_bytes(content)

    with pytest.raises(UnreadableRecording, match="4차년도.zip/폴더/0.wav"):
        read_recording(archive.parent, "4차년도.zip/폴더/0.wav")


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a/b.wav", (None, "a/b.wav")),
        ("a/b.zip/c/d.wav", ("a/b.zip", "c/d.wav")),
        ("B.ZIP/d.wav", ("B.ZIP", "d.wav")),
        ("a/b.zip", (None, "a/b.zip")),
    ],
)
def test_the_first_archive_on_a_path_counts(path: str, parts: tuple[str | None, str]) -> None:
    assert split_archive(path) == parts


def test_the_audio_root_is_what_corpus_json_says(tmp_path: Path) -> None:
    assert audio_root(tmp_path) == tmp_path

    put(tmp_path / "corpus.json", json.dumps({"audio_root": "../elsewhere"}))
    assert audio_root(tmp_path) == tmp_path / "../elsewhere"

    write_corpus(tmp_path, tmp_path / "음성", source="aihub170")
    assert audio_root(tmp_path) == tmp_path / "음성"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"audio_root": 3}', '{"audio_root": ""}'])
def test_a_malformed_corpus_json_is_refused_by_name(tmp_path: Path, text: str) -> None:
    put(tmp_path / "corpus.json", text)

    with pytest.raises(ManifestError, match="corpus.json"):
        audio_root(tmp_path)
