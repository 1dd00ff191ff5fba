"""Where the recordings of a manifest lie, and their bytes: plain files, or members of zip archives as published.

A manifest's paths are relative to its audio root: the folder that `corpus.json` beside the manifest names, or the
manifest's own folder. A path may lead through an archive: `4차년도.zip/abc.wav`.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from training.manifest import ManifestError

CORPUS_NAME: Final = "corpus.json"
OPEN_ARCHIVES: Final = 64  # kept open per process; a directory of 20,000 members takes about 10 MB
# Archives made in Korea often hold names in cp949 without saying so, others UTF-8 without its flag.
NAME_ENCODINGS: Final = ("utf-8", "cp949")


class UnreadableRecording(OSError):
    """A recording whose bytes cannot be had; the message names the file and why."""


def audio_root(folder: Path) -> Path:
    """The folder that the paths of `folder`/manifest.csv start from.

    `corpus.json` gives it as {"audio_root": path}, absolute or relative to `folder`; without that file it is `folder`.
    Raises ManifestError for a malformed file.
    """
    path = folder / CORPUS_NAME
    if not path.exists():
        return folder
    try:
        root = json.loads(path.read_text(encoding="utf-8"))["audio_root"]
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path}: {error!r}; it must be JSON with the key audio_root") from error
    if not isinstance(root, str) or not root:
        raise ManifestError(f"{path}: audio_root {root!r} must be a path")
    return folder / root


def write_corpus(folder: Path, root: Path, **facts: Any) -> None:
    """Name `root` as the audio root of `folder`, beside whatever `facts` say; complete or not at all."""
    path = folder / CORPUS_NAME
    partial = path.with_name(path.name + ".partial")
    text = json.dumps({"audio_root": str(root.resolve()), **facts}, ensure_ascii=False, indent=1)
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)


def read_recording(root: Path, path: str) -> bytes:
    """The bytes of one recording; safe in threads and in processes, forked ones too.

    Raises UnreadableRecording, naming the file, where it is missing or an archive is damaged.
    """
    with open_recording(root, path) as (file, _):
        return file.read()


def recording_size(root: Path, path: str) -> int:
    """The size of one recording in bytes, without reading it; raises as `read_recording` does."""
    archive, member = split_archive(path)
    with _named_errors(root, path):
        return open_archive(root / archive).getinfo(member).file_size if archive else (root / path).stat().st_size


@contextmanager
def open_recording(root: Path, path: str) -> Iterator[tuple[IO[bytes], int]]:
    """A recording open for reading from its beginning, and its size in bytes; raises as `read_recording` does."""
    archive, member = split_archive(path)
    with _named_errors(root, path):
        if archive is None:
            with (root / path).open("rb") as file:
                yield file, os.fstat(file.fileno()).st_size
        else:
            files = open_archive(root / archive)
            with files.open(member) as file:
                yield file, files.getinfo(member).file_size


@contextmanager
def _named_errors(root: Path, path: str) -> Iterator[None]:
    try:
        yield
    except UnreadableRecording:
        raise
    except KeyError:
        raise UnreadableRecording(f"{root / path}: the archive has no such member") from None
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else None  # without the path, which is named already
        raise UnreadableRecording(f"{root / path}: {reason or error}") from error


def split_archive(path: str) -> tuple[str | None, str]:
    """("a/b.zip", "c/d.wav") of "a/b.zip/c/d.wav", or (None, path) where no archive is on the way."""
    parts = PurePosixPath(path).parts
    for count, part in enumerate(parts[:-1], start=1):
        if part.lower().endswith(".zip"):
            return "/".join(parts[:count]), "/".join(parts[count:])
    return None, path


def open_archive(path: Path) -> zipfile.ZipFile:
    """An archive for reading, kept open per process; raises OSError or BadZipFile."""
    status = path.stat()
    # A forked child shares the parent's file offset, so it opens its own; a replaced file is opened anew.
    return _open(os.getpid(), path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=OPEN_ARCHIVES)
def _open(_process: int, path: Path, _changed_ns: int, _size_bytes: int) -> zipfile.ZipFile:
    for encoding in NAME_ENCODINGS:
        try:
            return zipfile.ZipFile(path, metadata_encoding=encoding)
        except UnicodeDecodeError:
            continue
    return zipfile.ZipFile(path)
