"""What tells whether a recording changed, without reading thousands of hours of it.

Up to HASHED_BYTES in all, the mark of a recording is a digest of its bytes. Beyond, it is its size, or the checksum
that a zip archive keeps of it: a changed recording of the very same size is then not noticed. Times of change are
never part of it, so copies of a corpus are equal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Final

from training.recording_files import UnreadableRecording, open_archive, read_recording, recording_size, split_archive

HASHED_BYTES: Final = 1 << 30
MISSING: Final = "missing"
PATHS_PER_TASK: Final = 500
THREADS: Final = 16  # for disks and networks that answer late


def marks(root: Path, paths: Sequence[str], hashed_bytes: int = HASHED_BYTES) -> dict[str, str]:
    """The mark of every recording, MISSING for those that are not there."""
    parts = [paths[start : start + PATHS_PER_TASK] for start in range(0, len(paths), PATHS_PER_TASK)]
    with ThreadPoolExecutor(THREADS) as pool:
        sizes = list(chain.from_iterable(pool.map(lambda part: [_size(root, path) for path in part], parts)))
        mark = _hash if sum(size or 0 for size in sizes) <= hashed_bytes else _mark
        found = chain.from_iterable(pool.map(lambda part: [mark(root, path) for path in part], parts))
        return dict(zip(paths, found, strict=True))


def _size(root: Path, path: str) -> int | None:
    try:
        return recording_size(root, path)
    except UnreadableRecording:
        return None


def _hash(root: Path, path: str) -> str:
    try:
        return hashlib.sha256(read_recording(root, path)).hexdigest()
    except UnreadableRecording:
        return _mark(root, path)


def _mark(root: Path, path: str) -> str:
    size = _size(root, path)
    if size is None:
        return MISSING
    archive, member = split_archive(path)
    checksum = f", CRC {open_archive(root / archive).getinfo(member).CRC:08x}" if archive else ""
    return f"{size} bytes{checksum}"
