"""What the check prints."""

from __future__ import annotations

import sys
from collections.abc import Callable

from client import TriageError
from deploy.compose_check.commands import CommandFailed


class CheckFailed(Exception):
    """Something is not as it must be; the message says what was seen."""


def demand(true: bool, otherwise: str) -> None:
    """Raises CheckFailed."""
    if not true:
        raise CheckFailed(otherwise)


class Report:
    """One line a finding, written at once; counts the failures."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def step(self, text: str) -> None:
        self._write(f"== {text}")

    def note(self, text: str) -> None:
        self._write(f"     {text}")

    def check(self, name: str, finding: Callable[[], str]) -> None:
        """Writes what `finding` returns; a failure is written and does not end the run."""
        try:
            self._write(f"ok   {name}: {finding()}")
        except (CheckFailed, CommandFailed, TriageError) as error:
            self.fail(name, str(error))

    def fail(self, name: str, reason: str) -> None:
        self.failures.append(name)
        self._write(f"FAIL {name}: {reason}")

    def _write(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
