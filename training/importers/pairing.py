"""Recordings and labels of the same name, found as pairs; what has no partner is reported."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from training.importers.findings import Findings
from training.importers.tree import FoundFile


@dataclass(frozen=True, slots=True)
class Pair:
    """A recording and its label."""

    wav: FoundFile
    label: FoundFile


def pair(
    wavs: Iterable[FoundFile],
    labels: Iterable[FoundFile],
    wav_key: Callable[[FoundFile], Hashable],
    label_key: Callable[[FoundFile], Hashable],
    findings: Findings,
) -> list[Pair]:
    """The pairs of equal keys, in order of labels; orphans of both sorts and second files of a key are findings."""
    wav_of = _unique(wavs, wav_key, "second wav of the same name", findings)
    label_of = _unique(labels, label_key, "second label of the same name", findings)
    for key, label in label_of.items():
        if key not in wav_of:
            findings.add("orphan", "label without wav", label.path)
    for key, wav in wav_of.items():
        if key not in label_of:
            findings.add("orphan", "wav without label", wav.path)
    return [Pair(wav_of[key], label) for key, label in label_of.items() if key in wav_of]


def _unique(
    files: Iterable[FoundFile], key_of: Callable[[FoundFile], Hashable], reason: str, findings: Findings
) -> dict[Hashable, FoundFile]:
    by_key: dict[Hashable, FoundFile] = {}
    for file in files:
        first = by_key.setdefault(key_of(file), file)
        if first is not file:
            findings.add("bad", reason, file.path, f"taken: {first.path}")
    return by_key


def part_of(file: FoundFile) -> str:
    """The published part that a file lies in, "Training" or "Validation"; "" where its path names none."""
    for folder in file.parts[:-1]:
        for part in ("Training", "Validation"):
            if folder.removesuffix(".zip").casefold() == part.casefold():
                return part
    return ""
