"""Folders written aside and put in place in one step, so that no reader ever sees half of one."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_AT_CWD: Final = -100
_EXCHANGE: Final = 2  # RENAME_EXCHANGE
_EXCHANGE_UNKNOWN: Final = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


@contextmanager
def staged(folder: Path, *, replace: bool = True) -> Iterator[Path]:
    """A folder aside, of the same name, that takes `folder`'s place as a whole when the block ends.

    What the block writes is on disk before it can be seen. If the block raises, or the process dies, `folder` stays as
    it was; leftovers of dead processes go when the next one starts. Unless `replace`, raises FileExistsError for a
    `folder` that is there at the end.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    with _place_aside(folder) as aside:
        partial = aside / folder.name
        partial.mkdir()
        yield partial
        _flush(partial)
        _put(partial, folder, replace)
        flush_entry(folder.parent)


def remove(folder: Path) -> None:
    """Removes a folder, for its readers in one step."""
    with _place_aside(folder) as aside:
        folder.rename(aside / folder.name)
    flush_entry(folder.parent)


@contextmanager
def _place_aside(folder: Path) -> Iterator[Path]:
    """A hidden folder beside `folder`, locked for as long as this process lives, and removed at the end."""
    aside, lock = _locked_aside(folder)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)  # what resists goes with the leftovers
        os.close(lock)


def _locked_aside(folder: Path) -> tuple[Path, int]:
    while True:
        aside = Path(tempfile.mkdtemp(".partial", f".{folder.name}.{os.getpid()}.", folder.parent))
        with suppress(FileNotFoundError):  # somebody took it for a leftover before it was locked
            lock = os.open(aside, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if aside.exists():
                return aside, lock
            os.close(lock)


def _remove_leftovers(folder: Path) -> None:
    """The lock tells the dead from the living across containers, too, where process ids do not."""
    for aside in folder.parent.glob(f".{glob.escape(folder.name)}.*.partial"):
        with suppress(OSError):
            lock = os.open(aside, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(aside, ignore_errors=True)
            finally:
                os.close(lock)


def _put(partial: Path, folder: Path, replace: bool) -> None:
    """Renames `partial` to `folder`; the folder that was there is afterwards aside, where it is removed."""
    try:
        partial.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if not replace:
            raise FileExistsError(errno.EEXIST, "is there already, and is never overwritten", str(folder)) from error
        if not _exchange(partial, folder):
            _swap(partial, folder)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two folders in one step; False where the operating system or the file system has no such step."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if renameat2(_AT_CWD, os.fsencode(one), _AT_CWD, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _EXCHANGE_UNKNOWN:
        return False
    raise OSError(number, os.strerror(number), str(other))


def _swap(partial: Path, folder: Path) -> None:
    """The nearest thing to an exchange: for a moment there is no `folder`."""
    old = partial.with_name(f"{folder.name}.old")
    folder.rename(old)
    try:
        partial.rename(folder)
    except OSError:
        old.rename(folder)
        raise


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        flush_entry(path)
    flush_entry(folder)


def flush_entry(path: Path) -> None:
    """Has the operating system write a file or the entries of a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
