"""Pauses between tries of what has failed, so that a model that cannot be loaded does not keep Triton busy."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from preprocess_service.errors import LoadFailed, TritonUnavailable, WrongAnswer

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0


@dataclass(frozen=True)
class Failure:
    error: TritonUnavailable
    pause_s: float
    until: float  # monotonic clock


class Pauses:
    """Remembers failures; each one in a row doubles the pause."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[Hashable, Failure] = {}
        self._told: dict[str, str] = {}

    @contextmanager
    def after_failure(self, key: Hashable) -> Iterator[None]:
        """A try; raises the failure before instead, within its pause.

        Only what Triton itself has refused or got wrong counts: where it cannot be reached, the next try costs nothing.
        """
        self.check(key)
        before = self._failures.get(key)
        try:
            yield
        except (LoadFailed, WrongAnswer) as error:
            pause_s = FIRST_PAUSE_S if before is None else min(LONGEST_PAUSE_S, 2 * before.pause_s)
            self._failures[key] = Failure(error, pause_s, self._clock() + pause_s)
            raise
        self._failures.pop(key, None)

    def check(self, key: Hashable) -> None:
        """Raises the failure before, within its pause."""
        before = self._failures.get(key)
        if before is not None and self._clock() < before.until:
            raise type(before.error)(str(before.error))

    def is_news(self, name: str, reason: str) -> bool:
        """Whether that was not yet said of it."""
        if self._told.get(name) == reason:
            return False
        self._told[name] = reason
        return True
