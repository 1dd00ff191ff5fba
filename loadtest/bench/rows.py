"""The table: what was measured beside what is to be reached."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from loadtest.figures import Better, Figure
from loadtest.markdown import table

PASS, SHORT, NOT_MEASURED = "pass", "short", "not measured"
Verdict = Literal["pass", "short", "not measured"]


@dataclass(frozen=True)
class Goal:
    """A row before it is measured: a figure, the unit it is in, and where it must be."""

    name: str  # for --only and JSON
    figure: str
    reach: float
    better: Better
    unit: str = ""  # none for ratios

    @property
    def rule(self) -> str:
        sign = "≤" if self.better == "lower" else "≥"
        return f"{sign} {self.reach:g}{f' {self.unit}' if self.unit else ''}"


@dataclass(frozen=True)
class Row:
    """A goal and what came of it.

    `values` are repetitions, of which the median counts; none where it could not be measured, and then
    `shortcomings` say why. Any shortcoming makes a row short, whatever its figure. `behind` is what the figure was made
    of, for people and for later comparisons.
    """

    goal: Goal
    variant: str = ""  # "fp32", "int8"
    values: Sequence[float] = ()
    notes: Sequence[str] = ()
    shortcomings: Sequence[str] = ()
    behind: Sequence[Figure] = field(default=())

    @property
    def name(self) -> str:
        return "/".join(filter(None, (self.goal.name, self.variant)))

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def verdict(self) -> Verdict:
        if not self.values:
            return "not measured"
        goal = self.goal
        reached = self.median <= goal.reach if goal.better == "lower" else self.median >= goal.reach
        return "pass" if reached and not self.shortcomings else "short"

    @property
    def figures(self) -> list[Figure]:
        """The row's own and those behind it."""
        if not self.values:
            return list(self.behind)
        own = Figure(f"bench/{self.name}", self.goal.unit or "ratio", self.goal.better, tuple(self.values))
        return [own, *self.behind]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "figure": self.goal.figure,
            "reach": self.goal.rule,
            "median": self.median if self.values else None,
            "values": list(self.values),
            "verdict": self.verdict,
            "notes": list(self.notes),
            "shortcomings": list(self.shortcomings),
        }


CPU: Final = Goal("cpu", "server CPU per request (service + Triton) ÷ in-process limit", 1.25, "lower")
THROUGHPUT: Final = Goal("throughput", "throughput at saturation ÷ in-process limit, load included", 0.75, "higher")
PLAIN_FP32: Final = Goal("plain", "throughput ÷ plain FastAPI service with fp32, both at saturation", 1.35, "higher")
PLAIN_INT8: Final = Goal("plain", PLAIN_FP32.figure, 2.3, "higher")
FRONT_END: Final = Goal("front-end", "feature front end: times as fast as librosa's calls, one thread", 2.5, "higher")
TAIL: Final = Goal("tail", "p99 at 70 % of saturation (open loop) ÷ p50 at concurrency 1", 4.0, "lower")
BATCHING: Final = Goal("batching", "Triton alone ÷ bare ONNX Runtime with its best batch size", 0.9, "higher")
LIVE: Final = Goal("live", "p99 lag of 240 live calls, 1 s hop", 500.0, "lower", "ms")
LIVE_CPU: Final = Goal(
    "live-cpu", "server CPU per second of live audio ÷ (incremental features + one inference)", 1.5, "lower"
)
VGG16: Final = Goal("vgg16", "vgg16: int8 ÷ fp32 throughput", 3.5, "higher")
GOALS: Final = (CPU, THROUGHPUT, PLAIN_FP32, PLAIN_INT8, FRONT_END, TAIL, BATCHING, LIVE, LIVE_CPU, VGG16)
NAMES: Final = tuple(dict.fromkeys(goal.name for goal in GOALS))


def markdown(rows: Sequence[Row]) -> str:
    """The table and, below it, what its figures were made of and what they fell short by."""
    cells = [
        (
            f"{row.goal.figure}{f', {row.variant}' if row.variant else ''}",
            _measured(row),
            row.goal.rule,
            row.verdict,
        )
        for row in rows
    ]
    told = [f"- {row.name}: {'; '.join([*row.shortcomings, *row.notes])}" for row in rows if _has_more(row)]
    return "\n".join([table(("figure", "measured", "reach", ""), cells), "", *told])


def _measured(row: Row) -> str:
    if not row.values:
        return "–"
    unit = f" {row.goal.unit}" if row.goal.unit else ""
    median, low, high = row.median, min(row.values), max(row.values)
    digits = 0 if row.goal.unit else 2
    spread = f" ({low:.{digits}f}–{high:.{digits}f})" if len(row.values) > 1 else ""
    return f"{median:.{digits}f}{unit}{spread}"


def _has_more(row: Row) -> bool:
    return bool(row.notes or row.shortcomings)
