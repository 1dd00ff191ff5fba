"""The recordings that a load test sends: a folder with manifest.csv, or with transcripts beside the audio."""

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from client.recordings import find_recordings, format_of, read_sidecar
from client.requests import classify_request
from preprocess_service.proto.wigeup.v1 import triage_pb2

MANIFEST_NAME = "manifest.csv"
MANIFEST_COLUMNS = ("path", "text")
MOST_IN_MEMORY = 1000


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording and what is said in it."""

    path: Path
    text: str

    def request(self, model: str = "") -> triage_pb2.ClassifyRequest:
        """The Classify message for this recording; raises OSError, or ValueError for a format that nothing tells."""
        audio = self.path.read_bytes()
        return classify_request(audio, format=format_of(self.path), transcript=self.text, model=model)


def load_clips(folder: Path) -> list[Clip]:
    """The clips of a folder: those of its manifest.csv (columns path and text, paths relative to it), else all
    recordings below it with the text of NAME.txt beside them.

    Raises ValueError for a folder without clips or a manifest without its columns, OSError for unreadable files.
    """
    manifest = folder / MANIFEST_NAME
    if manifest.is_file():
        clips = _from_manifest(manifest)
    else:
        clips = [Clip(path, read_sidecar(path)) for path in find_recordings(folder)]
    if not clips:
        raise ValueError(f"no recordings in {folder}")
    return clips


def some(clips: Sequence[Clip], seed: int = 1) -> list[Clip]:
    """All clips, or MOST_IN_MEMORY of them by chance: the whole of a large corpus would fill the memory."""
    return list(clips) if len(clips) <= MOST_IN_MEMORY else random.Random(seed).sample(clips, MOST_IN_MEMORY)


def _from_manifest(manifest: Path) -> list[Clip]:
    with manifest.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        missing = set(MANIFEST_COLUMNS) - set(rows.fieldnames or ())
        if missing:
            raise ValueError(f"{manifest} lacks the column {', '.join(sorted(missing))}")
        return [Clip(manifest.parent / row["path"], row["text"] or "") for row in rows]
