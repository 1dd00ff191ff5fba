"""Figures that a later run can be compared with: each carries all of its repetitions, so that noise can be told.

A document in JSON that holds such figures is `{**circumstances(), "model": "NAME/VERSION", "figures": [...]}`, with one
object {"name", "unit", "better", "values"} a figure; whatever else it holds is for people. `values` are repetitions of
the same measurement spread over the run, not its single calls. A figure that could not be measured is left out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, cast

Better = Literal["lower", "higher"]
BETTER: Final = ("lower", "higher")
FIELDS: Final = ("name", "unit", "better", "values")


@dataclass(frozen=True)
class Figure:
    """One figure: at least one repetition, each finite."""

    name: str
    unit: str
    better: Better
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, "unit": self.unit, "better": self.better, "values": list(self.values)}

    @classmethod
    def from_dict(cls, found: object) -> Self:
        """From JSON; raises ValueError, which names the figure and what is wrong with it."""
        if not isinstance(found, Mapping):
            raise ValueError(f"a figure is an object with {', '.join(FIELDS)}, not {found!r}")
        name, unit, better, values = (found.get(field) for field in FIELDS)
        if not isinstance(name, str) or not name or not isinstance(unit, str):
            raise ValueError(f"figure {name!r}: name and unit must be texts")
        if better not in BETTER:
            raise ValueError(f"figure {name!r}: better is {better!r}; it must be {' or '.join(BETTER)}")
        if not isinstance(values, list) or not values or not all(_is_number(value) for value in values):
            raise ValueError(f"figure {name!r}: values must be one or more finite numbers, not {values!r}")
        return cls(name, unit, cast(Better, better), tuple(float(value) for value in values))


def figures_to_json(figures: Iterable[Figure]) -> list[dict[str, Any]]:
    """What stands under "figures"; raises ValueError for a name that comes twice."""
    made = [figure.to_dict() for figure in figures]
    _check_names([figure["name"] for figure in made])
    return made


def figures_of(document: object) -> dict[str, Figure]:
    """The figures of a document by name; raises ValueError where there are none or one of them is wrong."""
    found = document.get("figures") if isinstance(document, Mapping) else None
    if not isinstance(found, list) or not found:
        raise ValueError('there is no list under "figures"')
    figures = [Figure.from_dict(each) for each in found]
    _check_names([figure.name for figure in figures])
    return {figure.name: figure for figure in figures}


def _check_names(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"figures must have names of their own; twice there: {', '.join(twice)}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
