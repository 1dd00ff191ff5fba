"""Arguments of `python -m loadtest tune`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from client.argument_types import positive_integer, positive_seconds

LIMIT_S, QUICK_LIMIT_S = 540.0, 105.0
LEAST_LIMIT_S: Final = 45.0
CODES: Final = (
    "Exit codes: 0 measured (a better setting is proposed, or the present one stays), 1 requests failed under the "
    "present setting, 2 wrong usage or Triton did not start, 3 the machine was too unsteady to tell."
)


def add(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options; it starts its own Triton and needs no service."""
    option = parser.add_argument
    option("model", metavar="MODEL", help="a model of the repository")
    option("--profile", choices=("cpu", "gpu"), default="cpu", help="(default %(default)s)")
    option("--quick", action="store_true", help="fewer settings, less sure: under two minutes")
    option("--limit", type=positive_seconds, metavar="S", help=f"(default {LIMIT_S:g}, with --quick {QUICK_LIMIT_S:g})")
    option("--callers", type=positive_integer, default=64, metavar="N", help="at saturation (default %(default)s)")
    option("--inputs", type=positive_integer, default=64, metavar="N", help="different ones (default %(default)s)")
    option("--clips", type=Path, default=Path("data/synthetic"), metavar="FOLDER", help="(default %(default)s)")
    option("--repository", type=Path, default=Path("model_repository"), metavar="FOLDER", help="(default %(default)s)")
    option("--seed", type=int, default=1, metavar="N", help="which clips, in which order (default %(default)s)")
    option("--out", type=Path, metavar="FOLDER", help="write table, picture and the proposed configuration there")
    option("--json", metavar="FILE", help="write the figures and their circumstances (- for standard output)")


def limit_s(options: argparse.Namespace) -> float:
    """The time that the sweep may take; raises ValueError where that is too little for anything."""
    limit = float(options.limit or (QUICK_LIMIT_S if options.quick else LIMIT_S))
    if limit < LEAST_LIMIT_S:
        raise ValueError(f"--limit {limit:g}; it must be at least {LEAST_LIMIT_S:g} s, for the present setting alone")
    return limit
