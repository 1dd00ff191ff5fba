"""What an import took and what it did not: as JSON with full lists, and as tables with the first few."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from training.importers.findings import GROUPS, Findings
from training.manifest import LABELS, SPLITS, Clip

SUMMARY_NAME: Final = "import_summary.json"
SHOWN: Final = 3  # findings of a reason that the table names; the file names all
DURATION_EDGES_S: Final = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 60, 120)


@dataclass
class Amount:
    """Clips and their length, by label."""

    clips: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(LABELS, 0.0))

    def add(self, clip: Clip) -> None:
        self.clips[clip.label] += 1
        self.seconds[clip.label] += clip.duration_s

    @property
    def hours(self) -> float:
        return sum(self.seconds.values()) / 3600

    def facts(self) -> dict[str, Any]:
        by_label: dict[str, int] = {label: self.clips[label] for label in LABELS}
        return {"clips": self.clips.total(), "hours": round(self.hours, 4), **by_label}


@dataclass(frozen=True)
class Summary:
    """One import: its clips by class, recording format, length, split and source, and its findings."""

    corpus: str
    options: dict[str, Any]
    findings: Findings
    total: Amount
    kinds: dict[str, Amount]
    formats: dict[str, Amount]
    durations: dict[str, Amount]
    splits: dict[str, Amount]
    sources: dict[str, Amount]
    components: int
    largest_component: int

    def facts(self) -> dict[str, Any]:
        """Everything, as written to SUMMARY_NAME."""
        tables = ("kinds", "formats", "durations", "splits", "sources")
        return {
            "corpus": self.corpus,
            "options": self.options,
            "total": self.total.facts(),
            **{name: {key: amount.facts() for key, amount in getattr(self, name).items()} for name in tables},
            "components": self.components,
            "largest_component": self.largest_component,
            "files": dict(self.findings.files),
            "notes": dict(self.findings.notes),
            "warnings": self.warnings(),
            "findings": {group: self._items(group) for group in GROUPS},
        }

    def _items(self, group: str) -> dict[str, list[dict[str, str]]]:
        return {
            reason: [{"item": entry.item, "detail": entry.detail} for entry in entries]
            for (its_group, reason), entries in self.findings.reasons().items()
            if its_group == group
        }

    def warnings(self) -> list[str]:
        """What would spoil a training on this corpus."""
        warnings = []
        present = [label for label in LABELS if self.total.clips[label]]
        if len(present) == 1:
            warnings.append(f"all clips are {present[0]}: training needs both classes, merge with another corpus")
        lacking = [f"{label} in {split}" for split in SPLITS for label in present if not self._has(split, label)]
        if lacking:
            warnings.append(f"no {', no '.join(lacking)}: the components are too few or too large")
        for title, table in (("recordings of", self.formats), ("corpus", self.sources)):
            if len(present) < 2 or len(table) < 2:
                continue
            for name, amount in table.items():
                if len(+amount.clips) == 1:
                    (label,) = +amount.clips
                    warnings.append(f"{title} {name}: all are {label}, so the recording gives the class away")
        return warnings

    def _has(self, split: str, label: str) -> bool:
        return split in self.splits and self.splits[split].clips[label] > 0


def summarise(
    corpus: str, options: dict[str, Any], clips: Sequence[Clip], findings: Findings, components: tuple[int, int]
) -> Summary:
    """The summary of an import; `components` are their number and the clips of the largest."""
    total = Amount()
    tables: list[defaultdict[Any, Amount]] = [defaultdict(Amount) for _ in range(5)]
    for clip in clips:
        total.add(clip)
        keys = (clip.kind, _format(clip), _duration(clip), clip.split, clip.source)
        for table, key in zip(tables, keys, strict=True):
            table[key].add(clip)
    kinds, formats, durations, splits, sources = tables
    return Summary(
        corpus,
        options,
        findings,
        total,
        dict(sorted(kinds.items(), key=lambda item: -item[1].hours)),
        dict(sorted(formats.items(), key=lambda item: -item[1].hours)),
        {DURATION_NAMES[at]: durations[at] for at in sorted(durations)},
        {split: splits[split] for split in SPLITS if split in splits},
        dict(sorted(sources.items())),
        *components,
    )


def _format(clip: Clip) -> str:
    if clip.sample_rate_hz is None:
        return "unknown"
    return f"{clip.sample_rate_hz} Hz {f'{clip.bit_depth} bit' if clip.bit_depth else 'unknown depth'}"


DURATION_NAMES: Final = (
    *(f"{low}-{high} s" for low, high in pairwise(DURATION_EDGES_S)),
    f"over {DURATION_EDGES_S[-1]} s",
)


def _duration(clip: Clip) -> int:
    return bisect_right(DURATION_EDGES_S, clip.duration_s) - 1


def write_summary(folder: Path, summary: Summary) -> None:
    """SUMMARY_NAME in `folder`; complete or not at all."""
    path = folder / SUMMARY_NAME
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(summary.facts(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def print_summary(console: Console, summary: Summary) -> None:
    """Totals, hours per class, formats, splits, and each sort of finding with the first of its items."""
    for title, table in (
        ("class", summary.kinds),
        ("recordings", summary.formats),
        ("length", summary.durations),
        ("split", summary.splits),
    ):
        console.print(_amounts(title, table))
    if summary.findings.entries:
        console.print(_findings(summary.findings))
    files = ", ".join(f"{count} {kind}" for kind, count in summary.findings.files.items())
    notes = "".join(f"; {count} {note}" for note, count in summary.findings.notes.items())
    counts = ", ".join(f"{summary.findings.count(group)} {group}" for group in GROUPS)
    console.print(Text(f"found: {files or 'no files'}{notes}"))
    clips = f"{summary.total.clips.total()} clips, {summary.total.hours:.2f} h"
    console.print(Text(f"{clips}; not taken: {counts} (all in {SUMMARY_NAME})"))
    for warning in summary.warnings():
        console.print(Text(f"warning: {warning}", style="yellow"))


def _amounts(title: str, amounts: dict[str, Amount]) -> Table:
    table = Table(title, *LABELS, "hours")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, amount in amounts.items():
        table.add_row(Text(name), *(str(amount.clips[label]) for label in LABELS), f"{amount.hours:.2f}")
    return table


def _findings(findings: Findings) -> Table:
    table = Table("not taken", "why", "count", f"first {SHOWN}")
    table.columns[-1].overflow = "fold"  # paths are worth nothing when cut
    for (group, reason), entries in findings.reasons().items():
        first = "\n".join(f"{entry.item}: {entry.detail}" if entry.detail else entry.item for entry in entries[:SHOWN])
        table.add_row(group, Text(reason), str(len(entries)), Text(first))
    return table
