"""How many users there are at which moment: the shapes of a load, without Locust."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

STEP, SPIKE = "step", "spike"
STEPS: Final = 5


def step_users(at_s: float, users: int, peak: int, seconds: float) -> int | None:
    """From `users` to `peak` in STEPS steps of the same length; None once the time is over."""
    if at_s >= seconds:
        return None
    step = min(STEPS - 1, math.floor(at_s / seconds * STEPS))
    return round(users + (peak - users) * step / (STEPS - 1))


def spike_users(at_s: float, users: int, peak: int, seconds: float) -> int | None:
    """`peak` users in the middle third of the time, `users` before it and after it; None once the time is over.

    The last third shows whether the service recovers.
    """
    if at_s >= seconds:
        return None
    return peak if seconds / 3 <= at_s < 2 * seconds / 3 else users


SHAPES: Final[Mapping[str, Callable[[float, int, int, float], int | None]]] = {STEP: step_users, SPIKE: spike_users}
