"""The files of a corpus, in folders and in zip archives as downloaded, without reading them."""

from __future__ import annotations

import os
import unicodedata
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from training.importers.findings import Findings, ImportFailed
from training.recording_files import open_archive


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One file; `path` opens it, `name` is the same in composed Unicode and is what is compared."""

    path: str  # POSIX, relative to the corpus, spelt as on disk
    name: str

    @property
    def parts(self) -> tuple[str, ...]:
        return PurePosixPath(self.name).parts

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem


def nfc(text: str) -> str:
    """Composed Unicode: file names from macOS are decomposed."""
    return unicodedata.normalize("NFC", text)


def find_files(root: Path, suffixes: Sequence[str], findings: Findings) -> list[list[FoundFile]]:
    """The files below `root` for each of `suffixes` (".wav"), also those within zip archives, in order of their names.

    Names that no manifest can hold, folders and archives that do not open, links that leave `root` and what is no
    regular file are findings. Raises ImportFailed where `root` is no folder.
    """
    if not root.is_dir():
        raise ImportFailed(f"{root} is not a folder; give the folder that holds the corpus")
    files: dict[str, list[FoundFile]] = {suffix: [] for suffix in suffixes}
    for path in _all_files(root, findings):
        suffix = PurePosixPath(path).suffix.lower()
        if suffix not in files:
            findings.files["other"] += 1
        else:
            files[suffix].append(FoundFile(path, nfc(path)))
    for suffix, found in files.items():
        found.sort(key=lambda file: file.name)
        findings.files[suffix] += len(found)
    return [files[suffix] for suffix in suffixes]


def _refusal(path: str) -> str:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "file name is not UTF-8"
    odd = any(char == "\\" or unicodedata.category(char) == "Cc" for char in path)
    return "file name holds a backslash or control character" if odd else ""


def _all_files(root: Path, findings: Findings) -> Iterator[str]:
    pending, seen, home = [""], set(), os.path.realpath(root)
    while pending:
        folder = pending.pop()
        try:
            status = (root / folder).stat()
            if (status.st_dev, status.st_ino) in seen:  # a link back up
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(root / folder) as entries:
                found = [(entry, _refusal(entry.name) or _entry_refusal(entry, home)) for entry in entries]
        except OSError as error:
            findings.add("bad", "folder cannot be read", folder or ".", error.strerror or str(error))
            continue
        for entry, reason in found:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if reason:
                findings.add("bad", reason, path.encode("utf-8", "backslashreplace").decode("utf-8"))
            elif entry.is_dir():
                pending.append(path)
            elif entry.name.lower().endswith(".zip"):
                yield from _members(root, path, findings)
            elif not entry.name.startswith("._"):  # what macOS leaves beside files on foreign disks
                yield path


def _entry_refusal(entry: os.DirEntry[str], home: str) -> str:
    """Why an entry of a folder is not taken, "" where it is: nothing outside of `home` is read, nor what may block."""
    if entry.is_symlink():
        try:
            target = os.path.realpath(entry.path, strict=True)
        except OSError:
            return "link leads nowhere"
        if not Path(target).is_relative_to(home):
            return "link leads outside of the corpus"
    return "" if entry.is_dir() or entry.is_file() else "not a regular file"


def _members(root: Path, archive: str, findings: Findings) -> Iterator[str]:
    try:
        infos = open_archive(root / archive).infolist()
    except (OSError, zipfile.BadZipFile) as error:
        findings.add("bad", "archive cannot be opened", archive, str(error))
        return
    for info in infos:
        if not info.filename:
            findings.add("bad", "archive member has no name", archive)
        elif info.is_dir() or "__MACOSX" in info.filename:
            continue
        elif info.flag_bits & 0x1:
            findings.add("bad", "file in an archive is encrypted", f"{archive}/{info.filename}")
        elif reason := _refusal(info.filename):
            findings.add("bad", reason, f"{archive}/{info.filename}")
        elif ".." in PurePosixPath(info.filename).parts or info.filename.startswith("/"):
            findings.add("bad", "archive member points outside", f"{archive}/{info.filename}")
        else:
            yield f"{archive}/{info.filename}"
