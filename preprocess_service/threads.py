"""Arithmetic off the event loop."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
# One thread a call: parallel work comes from many calls at once, and a pool for each library in each worker would take
# cores from Triton. Of the variables that these libraries read when they are loaded.
_LIBRARY_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_CPU_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds in each period of so many, or "max"


def usable_cores(quota_file: Path = _CPU_QUOTA) -> int:
    """Those that this process may run on, or fewer where its container may use only part of their time."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = quota_file.read_text(encoding="ascii").split()
    except OSError:  # no container, or another kind of one
        return cores
    return cores if quota == "max" else min(cores, math.ceil(int(quota) / int(period)))


def keep_libraries_single() -> None:
    """Has numpy, scipy and soxr make no threads of their own; to be called before any is imported."""
    for name in _LIBRARY_THREADS:
        os.environ.setdefault(name, "1")


class Threads:
    """A fixed number of threads that compute features."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="features")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a function in a thread; whoever is cancelled waits for its end, since a thread cannot be stopped and
        its place at the door is free only then."""
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._pool, lambda: function(*args, **kwargs))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            if not work.cancelled():
                work.exception()  # nobody is left to hear it
            raise

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
