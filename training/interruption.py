"""SIGINT, SIGTERM and SIGHUP, noted instead of died of, so that what is half done can be undone in order."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """Somebody wants this to end."""


class Interruption:
    """A context manager of the main thread; the work in it calls `check` between its steps."""

    def __init__(self) -> None:
        self._noted = ""
        self._deferred = False
        self._before: dict[signal.Signals, Any] = {}

    def check(self) -> None:
        """Raises Interrupted after a signal, unless it is deferred."""
        if self._noted and not self._deferred:
            raise Interrupted(f"interrupted by {self._noted}")

    def defer(self) -> None:
        """From now on the work goes to its end."""
        self._deferred = True

    def __enter__(self) -> Interruption:
        self._before = {each: signal.signal(each, self._note) for each in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._noted = signal.Signals(number).name
