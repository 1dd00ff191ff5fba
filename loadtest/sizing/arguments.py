"""Arguments of `python -m loadtest sizing`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Final

INPUTS, UNARY, LIVE = "inputs", "unary", "live"
PARTS: Final = (INPUTS, UNARY, LIVE)
CODES: Final = "Exit codes: 0 the simulation reproduces what was measured, 1 it does not, 2 wrong usage."


def add(parser: argparse.ArgumentParser) -> None:
    """Those that only this command has."""
    option = parser.add_argument
    option("--calibrate", type=_parts, nargs="?", const=PARTS, default=(), metavar="PART,...",
           help="measure anew, on a service that has nothing else to do: everything (5 minutes), or parts of it: "
           + ", ".join(PARTS))  # fmt: skip
    option("--keep", type=Path, default=Path("build/sizing.json"), metavar="FILE",
           help="what was measured: written, and read where nothing is measured (%(default)s)")  # fmt: skip
    option("--repository", type=Path, default=Path("model_repository"), metavar="FOLDER", help="(default %(default)s)")
    option("--triton-metrics", default="http://127.0.0.1:8002/metrics", metavar="URL", help="%(default)s")
    option("--peak-to-mean", type=_ratio, default=2.0, metavar="R",
           help="calls at once in the busiest hour over the mean of the day: an assumption (%(default)g)")  # fmt: skip


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(text.split(","))
    if unknown := [part for part in parts if part not in PARTS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(PARTS)}")
    return parts


def _ratio(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 1):
        raise argparse.ArgumentTypeError(f"{text} is less than 1: the busiest hour has at least the mean")
    return value
