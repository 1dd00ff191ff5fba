"""Other programs, each bounded in time, with an error that says what failed and how."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

TAIL_LINES: Final = 25


class CommandFailed(Exception):
    """A program ended with an error, or not in time; the message ends with the last lines that it wrote."""


class SetupError(Exception):
    """The check cannot be run on this machine as it is; the message says what to do."""


@dataclass(frozen=True)
class Output:
    stdout: str
    stderr: str


class Clock:
    """The time that the whole check may take; no command runs beyond it."""

    def __init__(self, limit_s: float) -> None:
        self._end = time.monotonic() + limit_s

    def remaining_s(self) -> float:
        return max(self._end - time.monotonic(), 0.0)


def run(
    command: Sequence[str], *, timeout_s: float, environment: Mapping[str, str] | None = None, given: str = ""
) -> Output:
    """What a program wrote; `given` is its standard input. Raises CommandFailed."""
    # A session of its own: a build that hangs is ended with everything that it started.
    process = subprocess.Popen(
        command,
        env=dict(os.environ if environment is None else environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    shown = shlex.join(command[:6]) + (" ..." if len(command) > 6 else "")
    try:
        output = Output(*process.communicate(given, timeout=timeout_s))
    except BaseException as error:  # an interrupted check ends what it started, too
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise CommandFailed(f"`{shown}` did not end within {timeout_s:.0f} s") from None
        raise
    if process.returncode != 0:
        raise CommandFailed(f"`{shown}` ended with {process.returncode}\n{_tail(output)}")
    return output


def _tail(output: Output) -> str:
    lines = (output.stdout + output.stderr).splitlines()
    return "\n".join(f"    {line}" for line in lines[-TAIL_LINES:])
