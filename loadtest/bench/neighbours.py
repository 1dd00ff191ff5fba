"""How busy other programs keep the machine meanwhile: what they take is missing from what is measured."""

from __future__ import annotations

import os
import time
from typing import Final

import psutil  # type: ignore[import-untyped]

from loadtest import processes

NOT_BUSY: Final = ("idle", "iowait", "guest", "guest_nice")  # guests are in `user` and `nice` already
UNDISTURBED_CORES: Final = 0.1  # a machine needs as much for itself


class Neighbours:
    """Counts from when it is made: everything but this process and all that it has started."""

    def __init__(self) -> None:
        self._began, self._others_s = time.monotonic(), _others_s()

    def cores(self) -> float:
        """That others have kept busy on average so far."""
        return round(max(0.0, (_others_s() - self._others_s) / (time.monotonic() - self._began)), 2)


def _others_s() -> float:
    times = psutil.cpu_times()
    busy_s = sum(times) - sum(getattr(times, name, 0.0) for name in NOT_BUSY)
    running_s = processes.cpu_s({"ours": [os.getpid()]})["ours"]
    ended = psutil.Process().cpu_times()  # of processes that were started here and have ended
    return float(busy_s - running_s - ended.children_user - ended.children_system)
