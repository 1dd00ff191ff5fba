"""Arguments of `python -m loadtest bench`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from client.argument_types import positive_integer, positive_seconds
from loadtest.bench.rows import NAMES

CODES: Final = "Exit codes: 0 all rows pass, 1 some are short or could not be measured, 2 wrong usage."


def add(parser: argparse.ArgumentParser) -> None:
    """The command's options; nothing that runs already is measured, so none says where it is."""
    option = parser.add_argument
    option("--only", action="append", choices=NAMES, metavar="ROW", help=f"of {', '.join(NAMES)}; repeatable")
    option("--clips", type=Path, default=Path("data/synthetic"), metavar="FOLDER", help="recordings (%(default)s)")
    option("--questions", type=positive_integer, default=200, metavar="N", help="different recordings (%(default)s)")
    option("--rounds", type=positive_integer, default=3, metavar="N", help="of all that is compared (%(default)s)")
    option("--stretch", type=positive_seconds, default=3.0, metavar="S", help="of load at a time (%(default)g)")
    option("--seed", type=int, default=1, metavar="N", help="of recordings and arrivals (%(default)s)")
    option("--json", metavar="FILE", help="write the figures and their circumstances (- for standard output)")
