"""What the figures say: the noise, the Pareto front, and whether anything is better than the present setting."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

from loadtest.tune.measuring import Pair, Point

RESAMPLED: Final = 2000
CONFIDENCE: Final = 0.95
UNSTEADY: Final = 0.25  # noise of a ratio above which nothing can be told
HOPELESS: Final = 3
LEAST_NOISE: Final = 0.02  # a few pairs may agree by chance

T = TypeVar("T")


@dataclass(frozen=True)
class Noise:
    """By how much the median ratio of a setting to itself differs from 1, in 95 of 100 cases."""

    throughput: float
    latency: float

    @property
    def is_unsteady(self) -> bool:
        return max(self.throughput, self.latency) > UNSTEADY


def noise(against_itself: Sequence[Pair], others: Iterable[Point], count: int) -> Noise:
    """Of medians of `count` pairs.

    From pairs of the present setting with itself, and from its samples in the pairs of other settings, each with the
    next of the same point: what lies between two of them in time is what lies between the two of a pair, and more.
    """
    neighbours = [pair for point in others for pair in pairwise(each.present for each in point.pairs)]
    throughput = [each.throughput for each in against_itself]
    latency = [each.latency for each in against_itself]
    throughput += [after.per_s / before.per_s for before, after in neighbours]
    latency += [after.latency_ms / before.latency_ms for before, after in neighbours]
    return Noise(deviation(throughput, count), deviation(latency, count))


def deviation(ratios: Sequence[float], count: int) -> float:
    """The 95th percentile of |median - 1| over resampled draws of `count` ratios; at least LEAST_NOISE."""
    if not ratios:
        raise ValueError("no pair of the present setting with itself; noise cannot be told")
    chance = random.Random(1)
    drawn = sorted(abs(statistics.median(chance.choices(ratios, k=count)) - 1) for _ in range(RESAMPLED))
    return max(LEAST_NOISE, drawn[int(CONFIDENCE * RESAMPLED) - 1])


def is_better(point: Point, by_more_than: Noise) -> bool:
    """More throughput or less latency by more than the noise, and neither worse by more than it; nothing failed."""
    if point.failures:
        return False
    more, less = point.throughput - 1, 1 - point.latency
    gains = more > by_more_than.throughput or less > by_more_than.latency
    return gains and more >= -by_more_than.throughput and less >= -by_more_than.latency


def is_hopeless(pair: Pair, of_one: Noise) -> bool:
    """Whether one pair suffices: worse in either by three times the noise of a pair, which no other pair mends."""
    return pair.throughput < 1 - HOPELESS * of_one.throughput or pair.latency > 1 + HOPELESS * of_one.latency


def best(points: Iterable[Point], by_more_than: Noise) -> Point | None:
    """Of those that are better the one that gains most, throughput and latency counting alike."""
    better = [point for point in points if is_better(point, by_more_than)]
    return max(better, key=gain, default=None)


def gain(point: Point) -> float:
    return point.throughput / point.latency


def front(points: Sequence[tuple[T, float, float]]) -> list[T]:
    """Of (item, latency, throughput) those that no other beats in both; in order of latency."""
    kept: list[T] = []
    highest = float("-inf")
    for item, _, throughput in sorted(points, key=lambda each: (each[1], -each[2])):
        if throughput > highest:
            kept.append(item)
            highest = throughput
    return kept
