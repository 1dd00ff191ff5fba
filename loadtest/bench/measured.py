"""What was done, and what it took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Work:
    """Units of work, the wall time and the processor time that they took; `generator_s` is processor time of whoever
    asked, which is no part of `cpu_s`."""

    units: int
    wall_s: float
    cpu_s: float
    generator_s: float = 0.0

    @property
    def per_s(self) -> float:
        return self.units / self.wall_s

    @property
    def cpu_ms(self) -> float:
        """Of processor time a unit."""
        return 1000 * self.cpu_s / self.units

    @classmethod
    def together(cls, parts: Iterable[Work]) -> Self:
        """Parts that went on at the same time."""
        parts = list(parts)
        units, cpu_s = sum(each.units for each in parts), sum(each.cpu_s for each in parts)
        # Their stretches do not end at quite the same moment: throughputs add up, not units over one of them.
        return cls(units, units / sum(each.per_s for each in parts), cpu_s)


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Of two figures that were measured in turns, turn by turn."""
    return [one / other for one, other in zip(above, below, strict=True)]
