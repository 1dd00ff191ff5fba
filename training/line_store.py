"""The recordings of a corpus brought to the telephone line once, for every feature that is made of them.

A shard holds `code_words.npy` (samples,) uint8, mu-law at 8000 Hz, `lengths.npy` (clips,) in samples, 0 for a clip that
cannot be used, and `bad.json`. An hour takes 29 MB.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preprocess_service import features
from preprocess_service.errors import InvalidAudio
from preprocess_service.features.audio import AudioFormat, Samples, decode
from preprocess_service.features.g711 import CodeWords
from training import line, shards
from training.recording_files import read_recording
from training.synthetic import telephone

CLIPS_PER_SHARD: Final = 128
NAMED_BAD_CLIPS: Final = 5
OPEN_SHARDS: Final = 64


@dataclass(frozen=True, slots=True)
class Recording:
    """A stretch of a recording; `mark` changes when its bytes do."""

    clip_id: str
    path: str
    start_s: float
    end_s: float | None
    mark: str


@dataclass(frozen=True)
class _Job:
    root: Path
    recordings: tuple[Recording, ...]

    def __len__(self) -> int:
        return len(self.recordings)


@dataclass(frozen=True)
class LineStore:
    """Clips as a telephone would deliver them, in the order of the corpus."""

    folders: tuple[Path, ...]
    lengths: NDArray[np.int64]  # (clips,) samples at 8000 Hz; 0 for a clip that cannot be used
    bad: dict[int, str]  # clip to reason

    def __len__(self) -> int:
        return len(self.lengths)

    def code_words(self, clip: int) -> CodeWords:
        """The mu-law code words (n,) of a clip; raises InvalidAudio for a bad one."""
        if clip in self.bad:
            raise InvalidAudio(self.bad[clip])
        return shard_code_words(self.folders[clip // CLIPS_PER_SHARD], clip % CLIPS_PER_SHARD)

    def samples(self, clip: int) -> Samples:
        """The clip as the service would decode it: (n,) at 8000 Hz; raises InvalidAudio for a bad one."""
        return line.heard(self.code_words(clip))


def shard_code_words(folder: Path, position: int) -> CodeWords:
    """The code words of the clip at that position of a shard."""
    words, ends = _opened(folder)
    return np.array(words[ends[position] : ends[position + 1]])


@lru_cache(maxsize=OPEN_SHARDS)
def _opened(folder: Path) -> tuple[CodeWords, NDArray[np.int64]]:
    lengths = np.load(folder / "lengths.npy")
    return np.load(folder / "code_words.npy", mmap_mode="r"), np.concatenate([[0], np.cumsum(lengths)])


def open_line(root: Path, recordings: Sequence[Recording], cache: Path, workers: int) -> LineStore:
    """Brings the recordings to the line, as far as `cache` does not hold them yet.

    A recording that cannot be read, decoded, or is too short never stops the run: it is in `bad`, which
    `list_bad_clips` writes down.
    """
    folder = cache / f"line-{_code()}"
    jobs = [
        _Job(root, tuple(recordings[start : start + CLIPS_PER_SHARD]))
        for start in range(0, len(recordings), CLIPS_PER_SHARD)
    ]
    by_name = {shards.digest(*job.recordings): job for job in jobs}
    names = [shards.digest(*job.recordings) for job in jobs]
    for name in names:
        if (folder / name).is_dir() and any(may_pass for _, may_pass in _bad(folder / name).values()):
            shutil.rmtree(folder / name)
            _opened.cache_clear()
    shards.fill(folder, by_name, _write, workers, "clips to the line")
    folders = tuple(folder / name for name in names)
    lengths = np.concatenate([np.load(each / "lengths.npy") for each in folders])
    bad = {
        index * CLIPS_PER_SHARD + position: reason
        for index, each in enumerate(folders)
        for position, (reason, _) in _bad(each).items()
    }
    return LineStore(folders, lengths, bad)


def list_bad_clips(bad: dict[int, str], recordings: Sequence[Recording], path: Path) -> str | None:
    """Lists the bad clips in a CSV file and gives a warning with their share and the first of them, None where there
    are none: they are left out, however many they are, and never silently."""
    if not bad:
        path.unlink(missing_ok=True)
        return None
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["clip_id", "path", "reason"])
        writer.writerows([recordings[clip].clip_id, recordings[clip].path, reason] for clip, reason in bad.items())
    partial.replace(path)
    share = f"{len(bad)} of {len(recordings)} clips ({len(bad) / len(recordings):.1%})"
    first = "; ".join(f"{recordings[clip].clip_id}: {reason}" for clip, reason in list(bad.items())[:NAMED_BAD_CLIPS])
    return f"WARNING: {share} cannot be used and are left out; {path} names all of them; the first: {first}"


def _code() -> str:
    decoders = Path(features.__file__).parent
    names = ("audio.py", "containers.py", "g711.py", "mpeg.py")
    return shards.code_digest(*(decoders / name for name in names), Path(line.__file__), Path(telephone.__file__))[:12]


def _bad(folder: Path) -> dict[int, tuple[str, bool]]:
    """Position to reason, and whether it may pass: a disk that did not answer, not a file that is damaged."""
    found = json.loads((folder / "bad.json").read_text(encoding="utf-8"))
    return {int(position): (reason, may_pass) for position, (reason, may_pass) in found.items()}


def _write(job: _Job, folder: Path) -> None:
    lengths = np.zeros(len(job), np.int64)
    bad: dict[int, tuple[str, bool]] = {}
    with shards.ArrayFile(folder / "code_words.npy", (), np.dtype(np.uint8)) as file:
        # Many clips one after another may be of one long recording, which is then decoded once.
        for path, clips in groupby(enumerate(job.recordings), key=lambda clip: clip[1].path):
            try:
                whole = decode(read_recording(job.root, path), AudioFormat(), line.LONGEST_CLIP_S)
            except (InvalidAudio, OSError) as error:
                bad.update({position: (str(error), _may_pass(error)) for position, _ in clips})
                continue
            for position, each in clips:
                try:
                    words = _stretch_code_words(whole, each)
                except InvalidAudio as error:
                    bad[position] = (str(error), False)
                    continue
                file.append(words)
                lengths[position] = len(words)
    np.save(folder / "lengths.npy", lengths)
    (folder / "bad.json").write_text(json.dumps(bad, ensure_ascii=False), encoding="utf-8")


def _stretch_code_words(whole: Samples, of: Recording) -> CodeWords:
    """`line.line_code_words` of a recording that is decoded already."""
    return line.code_words(line.levelled(line.trimmed(line.centred(line.cut(whole, of.start_s, of.end_s)))))


def _may_pass(error: Exception) -> bool:
    cause = error.__cause__ if isinstance(error, OSError) else None
    return isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError)
