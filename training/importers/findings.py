"""What an import met and did not take: nothing is skipped without an entry here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

Group = Literal["bad", "orphan", "left out"]
GROUPS: tuple[Group, ...] = ("bad", "orphan", "left out")


class ImportFailed(ValueError):
    """An import that cannot give anything; the message names the place and what was looked for there."""


class BadItem(ValueError):
    """One file or row that breaks a rule; `reason` names the rule in general, the message the value."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was not taken."""

    group: Group
    reason: str  # a rule, the same words for every item that breaks it
    item: str  # a path relative to the corpus, with row or annotation where there is one
    detail: str = ""


@dataclass
class Findings:
    """Everything that was not taken, in full, and how many files of each sort were seen."""

    entries: list[Finding] = field(default_factory=list)
    files: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)  # facts worth a line: units of time met, levels met

    def add(self, group: Group, reason: str, item: str, detail: str = "") -> None:
        self.entries.append(Finding(group, reason, item, detail))

    def extend(self, entries: Iterable[Finding]) -> None:
        self.entries.extend(entries)

    def count(self, group: Group) -> int:
        return sum(entry.group == group for entry in self.entries)

    def reasons(self) -> dict[tuple[Group, str], list[Finding]]:
        """The entries by group and reason, the groups in order of GROUPS and the most frequent reason first."""
        by_reason: dict[tuple[Group, str], list[Finding]] = {}
        for entry in self.entries:
            by_reason.setdefault((entry.group, entry.reason), []).append(entry)
        ranked = sorted(by_reason.items(), key=lambda item: (GROUPS.index(item[0][0]), -len(item[1]), item[0][1]))
        return dict(ranked)
