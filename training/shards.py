"""Work on many clips cut into shards: over processes, restartable, nothing half-written, a bounded part in memory.

A shard is a folder named by a digest of all that it is made from. It appears under its name only when complete and on
disk, so a killed run goes on with the shards that are missing, and a corpus that changes in one place keeps the others.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sized
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from training.staging import flush_entry

JOBS_IN_FLIGHT_PER_WORKER: Final = 2
ARRAY_FORMAT: Final = (1, 0)
SPEED_OVER_S: Final = 600.0

Job = TypeVar("Job", bound=Sized)  # its size is the number of clips


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.completed / max(task.elapsed or 0, 1e-3):.1f} clips/s")


def digest(*parts: object) -> str:
    """A name for what is made from `parts`: 24 hexadecimal digits of a SHA-256."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:24]


def code_digest(*paths: Path) -> str:
    """A digest of source files: other code may round otherwise."""
    return digest(*(hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)))


def fill(folder: Path, jobs: Mapping[str, Job], write: Callable[[Job, Path], None], workers: int, title: str) -> None:
    """Makes the shards of `folder` that are missing: `write(job, partial_folder)` for each name of `jobs`.

    `write` is a function of a module, run in `workers` processes, or here where one is enough. What it raises ends
    the run; the shards that are complete by then stay.
    """
    missing = {name: job for name, job in jobs.items() if not (folder / name).is_dir()}
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=SPEED_OVER_S) as progress:
        clips = progress.add_task(title, total=sum(map(len, missing.values())))
        for name in _written(folder, missing, write, min(workers, len(missing))):
            progress.advance(clips, len(missing[name]))


def _written(folder: Path, jobs: Mapping[str, Job], write: Callable[[Job, Path], None], workers: int) -> Iterator[str]:
    """Names of shards as they become complete."""
    if workers == 1:
        for name, job in jobs.items():
            _write_shard(folder, name, job, write)
            yield name
        return
    waiting = iter(jobs.items())
    running: dict[Future[None], str] = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        try:
            while True:
                for name, job in islice(waiting, JOBS_IN_FLIGHT_PER_WORKER * workers - len(running)):
                    running[pool.submit(_write_shard, folder, name, job, write)] = name
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    future.result()
                    yield running.pop(future)
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Lets this worker die when its parent is killed; it would wait for work for ever."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _write_shard(folder: Path, name: str, job: Job, write: Callable[[Job, Path], None]) -> None:
    with new_shard(folder, name) as partial:
        write(job, partial)


@contextmanager
def new_shard(folder: Path, name: str) -> Iterator[Path]:
    """A folder to write to, which becomes `folder`/`name` at the end, or disappears where the block raises."""
    partial = folder / f".{name}.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    lock = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)  # says that it is not abandoned, as long as this process lives
        yield partial
        for path in (*partial.iterdir(), partial):
            flush_entry(path)
        with suppress(OSError):  # another run was faster with the same shard
            partial.rename(folder / name)
        if not (folder / name).is_dir():
            raise FileNotFoundError(f"{folder / name} could not be put in place")
        flush_entry(folder)
    finally:
        os.close(lock)
        shutil.rmtree(partial, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    """Removes what killed runs left half-written."""
    for partial in folder.glob(".*.partial"):
        with suppress(OSError):  # locked: somebody is writing it; or gone meanwhile
            lock = os.open(partial, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(partial, ignore_errors=True)
            finally:
                os.close(lock)


class ArrayFile:
    """An .npy file that grows: arrays of one shape, written one after another and never all in memory."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._file = path.open("wb")
        self._shape, self._dtype, self._count = shape, dtype, 0
        self._write_header()

    def append(self, arrays: NDArray[Any]) -> None:
        """Writes arrays (n, *shape)."""
        if arrays.shape[1:] != self._shape:
            raise ValueError(f"arrays of {arrays.shape[1:]}; the file holds {self._shape}")
        self._file.write(np.ascontiguousarray(arrays, dtype=self._dtype).data)
        self._count += len(arrays)

    def _write_header(self) -> None:
        # numpy leaves room for the first axis to grow, so that the header keeps its length.
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._count, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()
