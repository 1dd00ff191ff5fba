"""Cells of a table to values; each parser raises ValueError with the rule that a cell breaks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath


def as_text(cell: str) -> str:
    return cell


def as_required(cell: str) -> str:
    if not cell.strip():
        raise ValueError("must not be empty")
    return cell


def as_relative_path(cell: str) -> str:
    path = PurePosixPath(as_required(cell))
    if path.is_absolute() or ".." in path.parts or "\\" in cell or "\0" in cell:
        raise ValueError("must be a POSIX path below the audio root")
    return cell


def as_one_of(choices: Sequence[str]) -> Callable[[str], str]:
    """A parser that takes these values only."""

    def parse(cell: str) -> str:
        if cell not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return cell

    return parse


def as_seed(cell: str) -> int:
    if not (cell.isascii() and cell.isdigit()):
        raise ValueError("must be an integer of at least 0")
    return int(cell)


def as_count(cell: str) -> int:
    if not (cell.isascii() and cell.isdigit() and int(cell)):
        raise ValueError("must be an integer of at least 1")
    return int(cell)


def as_number(cell: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    return number


def as_duration_s(cell: str) -> float:
    number = as_number(cell)
    if number <= 0:
        raise ValueError("must be longer than 0 s")
    return number


def as_start_s(cell: str) -> float:
    number = as_number(cell)
    if number < 0:
        raise ValueError("must be at least 0 s")
    return number


def as_share(cell: str) -> float:
    number = as_number(cell)
    if not 0 <= number <= 1:
        raise ValueError("must be within 0 and 1")
    return number


def as_flag(cell: str) -> bool:
    return as_one_of(("0", "1"))(cell) == "1"
