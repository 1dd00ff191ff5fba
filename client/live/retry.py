"""When a live call tries its service again, and when it gives up."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from client.errors import AccessDenied, InvalidRequest, ModelNotFound, NotImplementedByService, TriageError

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 2.0
# Asking again changes nothing about these; every other status may be that of a service or a way to it that has gone.
FINAL = (AccessDenied, InvalidRequest, ModelNotFound, NotImplementedByService)


def is_final(error: TriageError) -> bool:
    """Whether the service will say the same again."""
    return isinstance(error, FINAL) or error.status is grpc.StatusCode.DATA_LOSS


@dataclass(slots=True)
class Retry:
    """Waits between tries: none before the first, then jittered and twice as long each time, up to 2 s.

    The limit counts from the failure that ended the last progress, or from the first.
    """

    limit_s: float
    clock: Callable[[], float]
    jitter: Callable[[], float] = random.random
    _failed_at: float | None = None
    _tries: int = 0

    def wait_after(self, error: TriageError) -> float:
        """Seconds until the next try; raises the error itself where it is final or the limit would pass meanwhile."""
        now = self.clock()
        if self._failed_at is None:
            self._failed_at = now
        longest_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(self._tries - 1, 10)) if self._tries else 0.0
        wait_s = longest_s * (0.5 + 0.5 * self.jitter())
        if error.retry_after_ms is not None:
            wait_s = max(wait_s, error.retry_after_ms / 1000 * (1 + 0.25 * self.jitter()))
        if is_final(error) or now + wait_s - self._failed_at >= self.limit_s:
            raise error
        self._tries += 1
        return wait_s

    @property
    def is_over(self) -> bool:
        """Whether the limit has passed since the failure."""
        return self._failed_at is not None and self.clock() - self._failed_at >= self.limit_s

    def succeed(self) -> None:
        """The call goes on: an update has come that there was not before."""
        self._failed_at, self._tries = None, 0
