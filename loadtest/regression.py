"""What got worse between two runs by more than noise: `python -m loadtest compare OLD.json NEW.json`.

Noise is what the repetitions of a figure show. A figure has got worse if Student's t test on the logarithms of all its
repetitions (both runs' variances pooled, one-sided) holds when as many tests as there are figures are allowed for
(Holm), and its median has moved by at least so many percent. The test tells the noise within runs; that percentage
stands for what differs between two runs of the same code.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from scipy import special

from loadtest.figures import Figure, figures_of

Verdict = Literal["worse", "better", "same", "cannot be told"]

LEVEL: Final = 0.05  # chance that anything at all is called worse, or better, though only noise differs
LEAST_CHANGE: Final = 0.05
# What two documents must share; the rest of what differs is only said.
SAME: Final = ("kind", "machine.processor", "machine.cores", "model name", "plan")
NOTED: Final = ("commit", "model", "precision", "provider", "machine.system", "versions")


class Incomparable(Exception):
    """Two runs whose figures say nothing about each other, or a file that holds none; the message says why."""


@dataclass(frozen=True)
class Change:
    """One figure in both runs. `worse_by` is the change of its median as a share of the old one, above 0 for worse."""

    old: Figure
    new: Figure
    worse_by: float
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """All figures of both runs, those that only one of them has, and what else differs."""

    changes: tuple[Change, ...]
    gone: tuple[str, ...]
    added: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_worse(self) -> bool:
        """A figure that is no longer measured counts: what failed altogether has none."""
        return bool(self.gone) or any(change.verdict == "worse" for change in self.changes)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        changes = [
            {
                "name": each.old.name,
                "unit": each.old.unit,
                "old": list(each.old.values),
                "new": list(each.new.values),
                "worse_by": each.worse_by if math.isfinite(each.worse_by) else None,
                "verdict": each.verdict,
            }
            for each in self.changes
        ]
        return {"worse": self.is_worse, "changes": changes, "gone": self.gone, "added": self.added, "notes": self.notes}


def read_document(path: Path) -> dict[str, Any]:
    """The JSON of a run; raises Incomparable."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        figures_of(document)
    except (OSError, ValueError) as error:
        raise Incomparable(f"{path}: {error}") from error
    return dict(document)


def compare(old: Mapping[str, Any], new: Mapping[str, Any], least_change: float = LEAST_CHANGE) -> Comparison:
    """Compares two documents with figures; raises Incomparable, which names the field that differs."""
    for field in SAME:
        for name, before, after in _differences(field, _field(old, field), _field(new, field)):
            raise Incomparable(f"{name} differs: {_shown(before)} in the old run, {_shown(after)} in the new one")
    try:
        before_by_name, after_by_name = figures_of(old), figures_of(new)
    except ValueError as error:
        raise Incomparable(str(error)) from error
    both = [name for name in before_by_name if name in after_by_name]
    if not both:
        raise Incomparable("the two runs have no figure in common")
    pairs = [(before_by_name[name], after_by_name[name]) for name in both]
    for before, after in pairs:
        if (before.unit, before.better) != (after.unit, after.better):
            raise Incomparable(
                f"figure {before.name!r} is {_meaning(before)} in the old run, {_meaning(after)} in the new"
            )
    return Comparison(
        tuple(judge(pairs, least_change)),
        gone=tuple(name for name in before_by_name if name not in after_by_name),
        added=tuple(name for name in after_by_name if name not in before_by_name),
        notes=tuple(_notes(old, new)),
    )


def judge(pairs: Sequence[tuple[Figure, Figure]], least_change: float = LEAST_CHANGE) -> list[Change]:
    """The verdict on every pair (old, new)."""
    chances = [(chance_worse(old, new), chance_worse(new, old)) for old, new in pairs]
    worse = _holm([None if chance is None else chance[0] for chance in map(_both, chances)])
    better = _holm([None if chance is None else chance[1] for chance in map(_both, chances)])
    changes = []
    for (old, new), is_worse, is_better in zip(pairs, worse, better, strict=True):
        by = worse_by(old, new)
        verdict: Verdict = "same"
        if is_worse is None:
            verdict = "cannot be told"
        elif is_worse and by >= least_change:
            verdict = "worse"
        elif is_better and -by >= least_change:
            verdict = "better"
        changes.append(Change(old, new, by, verdict))
    return changes


def worse_by(old: Figure, new: Figure) -> float:
    """How far the median has moved to the worse, as a share of the old one; infinite from 0."""
    moved = new.median - old.median if old.better == "lower" else old.median - new.median
    if moved == 0:
        return 0.0
    return moved / abs(old.median) if old.median else math.copysign(math.inf, moved)


def chance_worse(old: Figure, new: Figure) -> float | None:
    """The p value of "new is worse than old" under the pooled one-sided t test; None where neither was repeated."""
    before, after = _scaled(old, new)
    freedom = len(before) + len(after) - 2
    if freedom < 1:
        return None
    apart = statistics.fmean(after) - statistics.fmean(before)
    apart = apart if old.better == "lower" else -apart
    squares = sum(_squares(values) for values in (before, after))
    if squares == 0:  # not a hair of noise: whatever differs is real
        return 0.0 if apart > 0 else 1.0
    error = math.sqrt(squares / freedom * (1 / len(before) + 1 / len(after)))
    return float(special.stdtr(freedom, -apart / error))


def _scaled(old: Figure, new: Figure) -> tuple[list[float], list[float]]:
    """Logarithms, as times and rates vary by shares of themselves; bare where there are zeros."""
    if min(*old.values, *new.values) > 0:
        return [math.log(value) for value in old.values], [math.log(value) for value in new.values]
    return list(old.values), list(new.values)


def _squares(values: Sequence[float]) -> float:
    middle = statistics.fmean(values)
    return sum((value - middle) ** 2 for value in values)


def _both(chances: tuple[float | None, float | None]) -> tuple[float, float] | None:
    return None if chances[0] is None or chances[1] is None else (chances[0], chances[1])


def _holm(chances: Sequence[float | None]) -> list[bool | None]:
    """Which tests hold at LEVEL for all of them together (Holm, Scand. J. Stat. 6, 1979)."""
    known = sorted((chance, index) for index, chance in enumerate(chances) if chance is not None)
    holds: list[bool | None] = [None if chance is None else False for chance in chances]
    for place, (chance, index) in enumerate(known):
        if chance > LEVEL / (len(known) - place):
            break
        holds[index] = True
    return holds


def _field(document: Mapping[str, Any], field: str) -> Any:
    if field == "model name":
        return str(document.get("model", "")).partition("/")[0]
    value: Any = document
    for key in field.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _differences(name: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """The fields that differ, with their paths, and both of their values."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            yield from _differences(f"{name}.{key}", before.get(key), after.get(key))
    elif before != after:
        yield name, before, after


def _notes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    differ = [
        f"{name}: {_shown(before)}, then {_shown(after)}"
        for field in NOTED
        for name, before, after in _differences(field, _field(old, field), _field(new, field))
    ]
    doubts = [f"{run} run: {doubt}" for run, made in (("old", old), ("new", new)) for doubt in made.get("doubts") or ()]
    return differ + doubts


def _shown(value: object) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)


def _meaning(figure: Figure) -> str:
    return f"in {figure.unit!r}, {figure.better} is better"
