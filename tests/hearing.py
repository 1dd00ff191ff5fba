"""Programs that hear signals, however the tests were started."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

_DEFAULT: Final = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def hearing(command: Sequence[str]) -> list[str]:
    """The command, with no signal ignored: tests in the background, or under nohup, hand ignored ones down.

    By a program of its own and not between fork and exec, where the threads of gRPC have aborted the child.
    """
    return [sys.executable, "-c", _DEFAULT, *command]
