"""Statistics of times: percentiles, and the same over stretches of a run."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

QUANTILES = (0.5, 0.9, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class Distribution:
    """Of times in milliseconds, by nearest rank: no value that was not measured. All 0 where nothing was."""

    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of_seconds(cls, seconds: Iterable[float]) -> Self:
        ordered = sorted(seconds)
        return cls(len(ordered), *(round(1000 * _quantile(ordered, each), 3) for each in QUANTILES))


def _quantile(ordered: Sequence[float], quantile: float) -> float:
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(quantile * len(ordered)) - 1)]


def over_time(times: Iterable[tuple[float, float]], stretch_s: float) -> dict[float, Distribution]:
    """The distribution of (moment, value) pairs, both in seconds, by the stretch that the moment falls in."""
    stretches: defaultdict[float, list[float]] = defaultdict(list)
    for moment_s, value_s in times:
        stretches[moment_s // stretch_s * stretch_s].append(value_s)
    return {start_s: Distribution.of_seconds(values) for start_s, values in sorted(stretches.items())}
