"""The time that a request has left, which shrinks along its way."""

from __future__ import annotations

import time

from preprocess_service.errors import DeadlinePassed


class Deadline:
    """A point in time, `seconds` after its making."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def remaining_s(self) -> float:
        """Seconds left; raises DeadlinePassed where there are none."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise DeadlinePassed("the request's deadline passed before its answer was ready")
        return left
