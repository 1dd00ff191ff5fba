"""The morphemes of every transcript, computed once: Okt needs up to a millisecond a sentence, and a second to start."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from preprocess_service.features import text
from training import shards

TEXTS_PER_SHARD: Final = 4096


@dataclass(frozen=True)
class _Job:
    texts: tuple[str, ...]
    stop_words: frozenset[str]

    def __len__(self) -> int:
        return len(self.texts)


def morphemes(texts: Sequence[str], stop_words: frozenset[str], cache: Path, workers: int) -> Iterator[list[str]]:
    """The morphemes of each text, in order, as `text.morphemes` gives them; one shard is in memory at a time."""
    code = shards.code_digest(Path(text.__file__))
    folder = cache / f"morphemes-{shards.digest(code, version('konlpy'), *sorted(stop_words))[:16]}"
    jobs = [
        _Job(tuple(texts[start : start + TEXTS_PER_SHARD]), stop_words)
        for start in range(0, len(texts), TEXTS_PER_SHARD)
    ]
    names = [shards.digest(*map(repr, job.texts)) for job in jobs]
    shards.fill(folder, dict(zip(names, jobs, strict=True)), _write, workers, "transcripts to morphemes")
    for name in names:
        yield from json.loads((folder / name / "morphemes.json").read_text(encoding="utf-8"))


def _write(job: _Job, folder: Path) -> None:
    words = [text.morphemes(each, job.stop_words) for each in job.texts]
    (folder / "morphemes.json").write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")
