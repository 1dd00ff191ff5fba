"""Which models were loaded on demand, when, and who uses them: known to all workers of a service alike.

The times lie in a file without a name that the workers share; locks on bytes of it say who uses a model and who has it
loaded or unloaded. The kernel takes the locks back from a worker that dies, however that comes about.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from preprocess_service.model_spec import MODELS

_LOADED, _USED, _BRINGER = range(3)  # of each model: when by the monotonic clock, which all processes share; a pid
_COLUMNS: Final = 3
_NUMBER_BYTES: Final = 8
_USERS, _TURN = range(2)  # locks of each model
_LOCKS: Final = 2
# Of an open file, not of a process: also two shelves of one process keep each other out.
_LOCK_FORMAT: Final = "hhqqi"  # struct flock of 64-bit Linux: type, whence, start, length, pid


class Shelf:
    """One worker's view; nothing here waits for another worker longer than a few reads and writes take."""

    def __init__(self, file: int | None = None, names: Sequence[str] = tuple(MODELS)) -> None:
        """A new shelf, or the one behind another's `file`."""
        self._index = {name: index for index, name in enumerate(names)}
        size = len(names) * _COLUMNS * _NUMBER_BYTES
        made = os.memfd_create("wigeup-shelf") if file is None else os.dup(file)
        try:
            os.truncate(made, size)
            self.file = os.open(f"/proc/self/fd/{made}", os.O_RDWR)  # opened anew: a duplicate would share the locks
        finally:
            os.close(made)
        self._map = mmap.mmap(self.file, size)
        self._table = memoryview(self._map).cast("d")

    def close(self) -> None:
        self._table.release()
        self._map.close()
        os.close(self.file)

    def loaded(self) -> dict[str, float]:
        """When each was loaded, the least recently used first."""
        held = [(self._get(name, _USED), name) for name in self._index if self._get(name, _LOADED)]
        return {name: self._get(name, _LOADED) for _, name in sorted(held)}

    def loaded_at(self, name: str) -> float:
        """When it was loaded; 0 where it is not here."""
        return self._get(name, _LOADED)

    def coming(self) -> list[str]:
        """What is being loaded."""
        return [name for name in self._index if self._get(name, _BRINGER)]

    def announce(self, name: str) -> None:
        """This worker begins to load it."""
        self._set(name, _BRINGER, os.getpid())

    def arrived(self, name: str) -> None:
        """It is loaded; a newer version of one that was here already changes nothing."""
        if not self.loaded_at(name):
            now = time.monotonic()
            self._set(name, _USED, now)
            self._set(name, _LOADED, now)

    def settle(self, name: str) -> None:
        """This worker loads it no more, whatever came of it."""
        self._set(name, _BRINGER, 0)

    def bury(self, worker: int) -> None:
        """What a worker that has died was loading may have arrived: from now on it is known, and can be unloaded."""
        for name in self._index:
            if self._get(name, _BRINGER) == worker:
                self.arrived(name)
                self.settle(name)

    def touch(self, name: str) -> None:
        """It was used."""
        if self.loaded_at(name):
            self._set(name, _USED, time.monotonic())

    def drop(self, name: str) -> None:
        self._set(name, _LOADED, 0)

    def hold(self, name: str) -> bool:
        """Nobody unloads it meanwhile; False while somebody does."""
        return self._lock(name, _USERS, fcntl.F_RDLCK)

    def release(self, name: str) -> None:
        self._lock(name, _USERS, fcntl.F_UNLCK)

    def begin_turn(self, name: str) -> bool:
        """Nobody else loads or unloads it meanwhile; False while somebody does."""
        return self._lock(name, _TURN, fcntl.F_WRLCK)

    def end_turn(self, name: str) -> None:
        self._lock(name, _TURN, fcntl.F_UNLCK)

    @contextmanager
    def unloading(self, name: str) -> Iterator[bool]:
        """Whether it is here and no worker holds or changes it; then it is dropped, and none begins to meanwhile.

        For a worker that does not hold it itself.
        """
        if not self.begin_turn(name):
            yield False
            return
        try:
            is_here = self._lock(name, _USERS, fcntl.F_WRLCK) and bool(self.loaded_at(name))
            if is_here:
                self.drop(name)
            yield is_here
        finally:
            self.release(name)
            self.end_turn(name)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other worker decides meanwhile what there is room for; waits for one that does."""
        place = len(self._index) * _LOCKS
        self._set_lock(fcntl.F_OFD_SETLKW, place, fcntl.F_WRLCK)
        try:
            yield
        finally:
            self._set_lock(fcntl.F_OFD_SETLK, place, fcntl.F_UNLCK)

    def _get(self, name: str, column: int) -> float:
        return self._table[self._index[name] * _COLUMNS + column]

    def _set(self, name: str, column: int, value: float) -> None:
        self._table[self._index[name] * _COLUMNS + column] = value

    def _lock(self, name: str, kind: int, how: int) -> bool:
        try:
            self._set_lock(fcntl.F_OFD_SETLK, self._index[name] * _LOCKS + kind, how)
        except BlockingIOError:
            return False
        return True

    def _set_lock(self, command: int, place: int, how: int) -> None:
        fcntl.fcntl(self.file, command, struct.pack(_LOCK_FORMAT, how, os.SEEK_SET, place, 1, 0))
