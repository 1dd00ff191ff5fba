"""Where the recordings of a manifest lie, and their bytes: plain files, or members of zip archives as published.

A manifest's paths are relative to its audio root: the folder that `corpus.json` beside the manifest names, or the
manifest's own folder. A path may lead through an archive: `4차년도.zip/abc.wav`. Only regular files are opened, so that
nothing blocks, and only as many bytes are read as a file of its kind may have.
"""

from __future__ import annotations

import json
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from training.manifest import ManifestError

CORPUS_NAME: Final = "corpus.json"
OPEN_ARCHIVES: Final = 64  # kept open per process; a directory of 20,000 members takes about 10 MB
# Archives made in Korea often hold names in cp949 without saying so, others UTF-8 without its flag.
NAME_ENCODINGS: Final = ("utf-8", "cp949")
# The others inflate a few bytes to any size in one step, so that no limit would hold.
COMPRESSIONS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
MOST_AUDIO_BYTES: Final = 704 << 20  # half an hour, the longest that is decoded, in stereo of 32 bits at 48 kHz
_ARCHIVE_ERRORS: Final = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OverflowError,  # an offset that no file has
    UnicodeDecodeError,  # a name that differs between the directory of the archive and the member
)


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


def read_recording(root: Path, path: str, most_bytes: int = MOST_AUDIO_BYTES) -> bytes:
    """The bytes of one recording; safe in threads and in processes, forked ones too.

    Raises UnreadableRecording, naming the file, where it is missing, no regular file or larger than `most_bytes`, or
    where an archive is damaged.
    """
    with open_recording(root, path) as (file, size_bytes):
        if size_bytes > most_bytes:
            raise UnreadableRecording(f"{root / path}: {size_bytes} bytes; at most {most_bytes} are read")
        return file.read(size_bytes)  # a member that inflates to more than its archive says is never inflated further


def recording_size(root: Path, path: str) -> int:
    """The size of one recording in bytes, without reading it; raises as `read_recording` does."""
    archive, member = split_archive(path)
    with _named_errors(root, path):
        return open_archive(root / archive).getinfo(member).file_size if archive else _status(root / path).st_size


@contextmanager
def open_recording(root: Path, path: str) -> Iterator[tuple[IO[bytes], int]]:
    """A recording open for reading from its beginning, and its size in bytes; raises as `read_recording` does."""
    archive, member = split_archive(path)
    with _named_errors(root, path):
        if archive is None:
            _status(root / path)
            with (root / path).open("rb") as file:
                yield file, os.fstat(file.fileno()).st_size
        else:
            files = open_archive(root / archive)
            info = files.getinfo(member)
            if info.compress_type not in COMPRESSIONS:
                reason = f"compressed by method {info.compress_type}; only stored and deflated members are read"
                raise UnreadableRecording(f"{root / path}: {reason}")
            with files.open(info) as file:
                yield file, info.file_size


def _status(path: Path) -> os.stat_result:
    """The status of a regular file; others, such as named pipes, may block whoever opens them."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableRecording(f"{path}: not a regular file; only regular files are read")
    return status


@contextmanager
def _named_errors(root: Path, path: str) -> Iterator[None]:
    try:
        yield
    except UnreadableRecording:
        raise
    except KeyError:
        raise UnreadableRecording(f"{root / path}: the archive has no such member") from None
    except _ARCHIVE_ERRORS as error:
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
    status = _status(path)
    # A forked child shares the parent's file offset, so it opens its own; a replaced file is opened anew.
    return _open(os.getpid(), path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=OPEN_ARCHIVES)
def _open(_process: int, path: Path, _changed_ns: int, _size_bytes: int) -> zipfile.ZipFile:
    try:
        for encoding in NAME_ENCODINGS:
            with suppress(UnicodeDecodeError):
                return zipfile.ZipFile(path, metadata_encoding=encoding)
        return zipfile.ZipFile(path)
    except UnicodeDecodeError as error:
        raise zipfile.BadZipFile(f"the name of a member is marked as UTF-8 and is not: {error}") from error
    except (NotImplementedError, ValueError, OverflowError) as error:  # of a directory that is damaged
        raise zipfile.BadZipFile(str(error)) from error
