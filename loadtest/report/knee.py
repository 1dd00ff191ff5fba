"""Where a service bends: the load that it holds within a limit, and the knee of its waiting times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

_LEAST_MS: Final = 1e-3  # a time of 0 would have no logarithm


def knee(rates: Sequence[float], answered_per_s: Sequence[float], times_ms: Sequence[float]) -> float | None:
    """The load with the greatest power, which is calls answered a second over the time that a call takes.

    Up to it, one per cent more load costs less than one per cent more time, beyond it more (Kleinrock, "Power and
    deterministic rules of thumb for probabilistic problems in computer communications", ICC 1979). Between the measured
    loads it is the top of the parabola through the logarithms of the greatest power and of its two neighbours. None
    where the power still grows at the highest load, or already falls from the lowest on: then the knee lies outside.
    """
    powers = [
        math.log(answered / max(time_ms, _LEAST_MS)) if answered > 0 else -math.inf
        for answered, time_ms in zip(answered_per_s, times_ms, strict=True)
    ]
    best = max(range(len(powers)), key=lambda index: powers[index])
    if best in (0, len(powers) - 1):
        return None
    return _top(rates[best - 1 : best + 2], powers[best - 1 : best + 2])


def held(
    rates: Sequence[float], p99s_ms: Sequence[float], all_answered: Sequence[bool], limit_ms: float
) -> float | None:
    """The load up to which every call is answered and the p99 stays within the limit; None for none.

    Where the p99 alone goes beyond the limit, the load lies between two measured ones: on a straight line of the
    logarithm of the p99.
    """
    reached: float | None = None
    for index, (rate, p99_ms) in enumerate(zip(rates, p99s_ms, strict=True)):
        if all_answered[index] and p99_ms <= limit_ms:
            reached = rate
            continue
        if reached is not None and all_answered[index]:
            below, above = (math.log(max(each, _LEAST_MS)) for each in (p99s_ms[index - 1], p99_ms))
            return reached + (rate - reached) * (math.log(limit_ms) - below) / (above - below)
        break
    return reached


def _top(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Of the parabola through three points, of which the middle one is the highest."""
    (x0, x1, x2), (y0, y1, y2) = xs, ys
    left, right = (x1 - x0) * (y1 - y2), (x1 - x2) * (y1 - y0)
    if left == right or not math.isfinite(left - right):  # three powers alike, or a neighbour that answers nothing
        return x1
    return x1 - 0.5 * ((x1 - x0) * left - (x1 - x2) * right) / (left - right)
