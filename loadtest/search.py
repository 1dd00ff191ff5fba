"""The greatest number of calls that the service carries."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from loadtest.live_result import LiveResult

STEP: Final = 0.1
PAUSE_S: Final = 1.0  # between two steps, for the service to come to rest


@dataclass(frozen=True)
class Found:
    """How a search ended."""

    calls: int  # carried; 0 for none
    steps: list[LiveResult]
    ended_by: str


def find_most(
    measure: Callable[[int], LiveResult], first: int, most: int, limit_s: float, pause_s: float = PAUSE_S
) -> Found:
    """Goes up from `first` calls in steps of STEP until the service falls short, or down until it does not.

    Ends as well at `most` calls, where the generator was late, and after `limit_s` seconds.
    """
    steps: list[LiveResult] = []
    until, calls = time.monotonic() + limit_s, min(first, most)
    while True:
        result = measure(calls)
        steps.append(result)
        following = _next(steps, most)
        if isinstance(following, str):
            return Found(_carried(steps), steps, following)
        if time.monotonic() + pause_s > until:
            return Found(_carried(steps), steps, f"the limit of {limit_s:g} s")
        calls = following
        time.sleep(pause_s)


def _next(steps: list[LiveResult], most: int) -> int | str:
    """How many calls come next, or why none do."""
    result, carried = steps[-1], _carried(steps)
    if not result.is_valid:
        return "the generator was late, so it may be the limit"
    if not result.shortcomings:
        if any(step.shortcomings for step in steps):
            return "more calls were not carried"
        return min(most, calls_up(result.calls)) if result.calls < most else f"the limit of {most} calls"
    if carried:
        return "; ".join(result.shortcomings)
    return calls_down(result.calls) if result.calls > 1 else "not even one call was carried"


def _carried(steps: list[LiveResult]) -> int:
    return max((step.calls for step in steps if step.is_valid and not step.shortcomings), default=0)


def calls_up(calls: int) -> int:
    """One step more."""
    return max(calls + 1, round(calls * (1 + STEP)))


def calls_down(calls: int) -> int:
    """One step fewer."""
    return max(1, min(calls - 1, math.floor(calls / (1 + STEP))))
