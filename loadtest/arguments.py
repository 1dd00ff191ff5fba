"""Arguments of `python -m loadtest`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from client.channel import DEFAULT_ADDRESS, DEFAULT_DEADLINE_S, is_loopback
from loadtest.bench import arguments as bench
from loadtest.live_result import Limits
from loadtest.servers import SERVERS, Servers
from loadtest.sizing import arguments as sizing
from loadtest.tune import arguments as tune

MOST_CALLS, LONGEST_S, HIGHEST_RATE, LONGEST_SEARCH_S = 5000, 600.0, 5000.0, 3600.0
HOPS_S, MESSAGES_MS = (0.25, 10.0), (20.0, 500.0)
EXIT_CODES: Final = "Exit codes: 0 all was carried, 1 it was not, 2 wrong usage, 3 the generator was too late to tell."
LINES_CODES: Final = "Exit codes: 0 what arrives is what was sent, 1 it is not, 2 wrong usage or a failed call."
LOSS_CODES: Final = "Exit codes: 0 measured, 1 hops were not judged, 2 wrong usage or a failed call."
REPORT_CODES: Final = (
    "Exit codes: 0 written; 1 written, but no load is held, or no live calls are carried; 2 wrong usage, or nothing to "
    "measure; 3 written, but the generator was too late to tell."
)
COMPARE_CODES: Final = (
    "Exit codes: 0 nothing got worse by more than noise, 1 something did, 2 a file that holds no figures, or runs that "
    "cannot be compared."
)
MOST_RECORDINGS, MOST_PARALLEL, HIGHEST_LOSS = 1000, 64, 50.0


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses and checks the command line; a wrong one ends the process with code 2 and a message."""
    parser = argparse.ArgumentParser(prog="python -m loadtest", description="Load, honestly timed.", epilog=EXIT_CODES)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    where = _where()
    shared = _shared(where)
    _add_live(commands.add_parser("live", parents=[shared], help="live calls in real time", epilog=EXIT_CODES))
    _add_open(commands.add_parser("open", parents=[shared], help="unary calls at a given rate", epilog=EXIT_CODES))
    _add_lines(commands.add_parser("lines", parents=[where], help="recordings over every line", epilog=LINES_CODES))
    _add_stages(commands.add_parser("stages", parents=[where], help="what a second of a live call costs, by stage"))
    sizing.add(commands.add_parser("sizing", parents=[where], help="simulation and sizing", epilog=sizing.CODES))
    _add_loss(commands.add_parser("loss", parents=[where], help="calls whose packets are lost", epilog=LOSS_CODES))
    _add_report(commands.add_parser("report", parents=[shared], help="an HTML page with it all", epilog=REPORT_CODES))
    _add_compare(commands.add_parser("compare", help="what got worse between two reports", epilog=COMPARE_CODES))
    bench.add(commands.add_parser("bench", help="the table of what is to be reached, measured", epilog=bench.CODES))
    tune.add(commands.add_parser("tune", help="which of Triton's settings serves a model best", epilog=tune.CODES))
    options = parser.parse_args(argv)
    if options.command in ("bench", "compare", "tune"):
        return options
    if not is_loopback(options.address) and not options.i_own_this_address:
        parser.error(f"{options.address} is not this machine; load on a service that others use keeps callers from it: "
                     "--i-own-this-address if that cannot be")  # fmt: skip
    if not is_loopback(options.triton) and not options.i_own_this_address:
        parser.error(f"--triton {options.triton} is not this machine: --i-own-this-address if that is meant")
    if options.command == "live" and options.seconds < options.hop:
        parser.error(f"--seconds {options.seconds:g} is less than one hop of {options.hop:g} s")
    if options.command == "lines" and options.long > options.count:
        parser.error(f"--long {options.long} of --count {options.count} recordings")
    return options


def servers(options: argparse.Namespace) -> Servers:
    """Where the servers are."""
    return Servers(options.address, options.triton, options.triton_metrics, options.pids)


def root_certificates(options: argparse.Namespace) -> bytes | None:
    """The PEM file's bytes; raises OSError."""
    path: Path | None = options.tls_roots
    return None if path is None else path.read_bytes()


def _where() -> argparse.ArgumentParser:
    where = argparse.ArgumentParser(add_help=False)
    option = where.add_argument
    option("--address", default=DEFAULT_ADDRESS, metavar="HOST:PORT", help="the service (default %(default)s)")
    option("--i-own-this-address", action="store_true", help="allow an address that is not this machine's loopback")
    option("--tls-roots", type=Path, metavar="PEM", help="use TLS, with these root certificates")
    option("--clips", "--recordings", type=Path, default=Path("data/synthetic"), metavar="FOLDER",
           help="recordings (%(default)s)")  # fmt: skip
    option("--model", default="", metavar="NAME", help="default: the service's own")
    option("--seed", type=int, default=1, metavar="N", help="of clips, pauses and arrivals (%(default)s)")
    option("--json", metavar="FILE", help="write the figures and their circumstances (- for standard output)")
    option("--triton", default="127.0.0.1:8001", metavar="HOST:PORT", help="Triton's gRPC (%(default)s)")
    return where


def _shared(where: argparse.ArgumentParser) -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False, parents=[where])
    option = shared.add_argument
    option("--channels", type=_integer(1, 64), default=4, metavar="N", help="connections a process (%(default)s)")
    option("--lateness-limit", type=_number(1, 60_000), default=Limits.lateness_ms, metavar="MS",
           help="p99 by which the generator may be late for its figures to be believed (%(default)g)")  # fmt: skip
    option("--triton-metrics", default="http://127.0.0.1:8002/metrics", metavar="URL", help="%(default)s")
    option("--pids", type=_pids, default={}, metavar="NAME=PID,...",
           help="processes of `service` and `triton`; default: those that listen on their ports")  # fmt: skip
    return shared


def _add_live(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--calls", type=_integer(1, MOST_CALLS), default=240, metavar="N", help="at once (%(default)s)")
    option("--seconds", type=_number(0.25, LONGEST_S), default=60.0, metavar="S", help="of each call (%(default)g)")
    option("--hop", type=_number(*HOPS_S), default=1.0, metavar="S", help="of audio between updates (%(default)g)")
    option("--message-ms", type=_number(*MESSAGES_MS), default=200.0, metavar="MS", help="of audio (%(default)g)")
    option("--transcripts", type=_number(0, 1), default=0.5, metavar="SHARE", help="of calls (%(default)g)")
    option("--tapes", type=_integer(1, 1000), default=64, metavar="N", help="different callers (%(default)s)")
    option("--processes", type=_integer(1, 64), default=1, metavar="N", help="that make the load (%(default)s)")
    option("--drain", type=_number(0.1, 60), default=10.0, metavar="S", help="wait for summaries (%(default)g)")
    option("--lag-limit", type=_number(1, 60_000), default=Limits.lag_ms, metavar="MS", help="p99 (%(default)g)")
    option("--find", action="store_true", help="search the most calls that are carried, from --calls in steps of 10 %%")
    option("--most", type=_integer(1, MOST_CALLS), default=1000, metavar="N", help="of --find (%(default)s)")
    option("--limit", type=_number(1, LONGEST_SEARCH_S), default=1200.0, metavar="S", help="of --find (%(default)g)")


def _add_open(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    rates = parser.add_mutually_exclusive_group()
    rate = _number(0.01, HIGHEST_RATE)
    rates.add_argument("--rate", type=rate, default=50.0, metavar="R", help="calls a second (%(default)g)")
    rates.add_argument("--rates", type=lambda text: [rate(each) for each in text.split(",")], metavar="R,R,...")
    option("--seconds", type=_number(0.1, LONGEST_S), default=30.0, metavar="S", help="at each rate (%(default)g)")
    option("--deadline", type=_number(0.01, 60), default=DEFAULT_DEADLINE_S, metavar="S", help="(%(default)g)")


def _add_lines(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--count", type=_integer(1, MOST_RECORDINGS), default=12, metavar="N", help="recordings (%(default)s)")
    option("--long", type=_integer(0, MOST_RECORDINGS), default=4, metavar="N",
           help="of them calls made of several clips (%(default)s)")  # fmt: skip
    option("--long-seconds", type=_number(1, LONGEST_S), default=30.0, metavar="S", help="of each (%(default)g)")
    option("--parallel", type=_integer(1, MOST_PARALLEL), default=4, metavar="N",
           help="recordings at once, each over all lines (%(default)s)")  # fmt: skip


def _add_loss(parser: argparse.ArgumentParser) -> None:
    rate = _number(0, HIGHEST_LOSS)
    option = parser.add_argument
    option("--rates", type=lambda text: [rate(each) for each in text.split(",")], default=[1.0, 5.0, 10.0],
           metavar="P,P,...", help="percent of packets; calls without loss always go first (1,5,10)")  # fmt: skip
    option("--seeds", type=_integer(1, 100), default=3, metavar="N", help="times for each rate (%(default)s)")
    option("--calls", type=_integer(1, MOST_CALLS), default=8, metavar="N", help="different ones (%(default)s)")
    option("--seconds", type=_number(1, LONGEST_S), default=20.0, metavar="S", help="of each call (%(default)g)")
    option("--level", type=_number(0, 1), default=0.7, metavar="P",
           help="of the smoothed probability: when it is first reached is compared (%(default)g)")  # fmt: skip
    option("--parallel", type=_integer(1, MOST_PARALLEL), default=16, metavar="N", help="at once (%(default)s)")


def _add_stages(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--calls", type=_integer(1, 1000), default=50, help="side by side (default %(default)s)")
    parser.add_argument("--seconds", type=_integer(1, 600), default=20, help="of every call (default %(default)s)")
    parser.add_argument("--repository", type=Path, default=Path("model_repository"), help="(default %(default)s)")


def _add_report(parser: argparse.ArgumentParser) -> None:
    rate = _number(0.01, HIGHEST_RATE)
    option = parser.add_argument
    option("--start", action="store_true", help="start Triton and the service for it, on free ports")
    option("--quick", action="store_true", help="in about a minute, with few repetitions")
    option("--out", type=Path, default=Path("build/loadtest"), metavar="FOLDER", help="(%(default)s)")
    option("--rates", type=lambda text: [rate(each) for each in text.split(",")], default=[], metavar="R,R,...",
           help="loads in calls a second, from low to high; default: shares of what the service answers")  # fmt: skip
    option("--rounds", type=_integer(1, 100), metavar="N", help="repetitions of every load (5, of --quick 2)")
    option(
        "--p99-limit",
        type=_number(0.1, 60_000),
        default=100.0,
        metavar="MS",
        help="of a load that is held (%(default)g)",
    )
    option("--live-calls", type=_integer(0, MOST_CALLS), default=240, metavar="N",
           help="held several times, and where the search begins; 0 for none (%(default)s)")  # fmt: skip
    option(
        "--lag-limit", type=_number(1, 60_000), default=Limits.lag_ms, metavar="MS", help="of live calls (%(default)g)"
    )
    option("--processes", type=_integer(1, 64), default=1, metavar="N", help="that make live calls (%(default)s)")
    option(
        "--deadline", type=_number(0.01, 60), default=DEFAULT_DEADLINE_S, metavar="S", help="of a call (%(default)g)"
    )
    option(
        "--repository", type=Path, default=Path("model_repository"), help="for the stages of live calls (%(default)s)"
    )


def _add_compare(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("old", type=Path, metavar="OLD.json")
    option("new", type=Path, metavar="NEW.json")
    option("--at-least", type=_number(0, 100), default=5.0, metavar="PERCENT",
           help="that a median must have moved, besides being beyond noise (%(default)g)")  # fmt: skip
    option("--json", metavar="FILE", help="write the comparison (- for standard output)")


def _number(least: float, most: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = float(text)
        if not (math.isfinite(value) and least <= value <= most):
            raise argparse.ArgumentTypeError(f"{text} is not between {least:g} and {most:g}")
        return value

    return number


def _integer(least: int, most: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not between {least} and {most}")
        return value

    return integer


def _pids(text: str) -> dict[str, list[int]]:
    pids: dict[str, list[int]] = {}
    for part in text.split(","):
        name, _, pid = part.partition("=")
        if name not in SERVERS or not pid.isdecimal():
            raise argparse.ArgumentTypeError(f"{part!r} is not NAME=PID with a name of {', '.join(SERVERS)}")
        pids.setdefault(name, []).append(int(pid))
    return pids
