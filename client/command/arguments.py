"""Arguments of the command."""

import argparse
import math
import os
from collections.abc import Sequence
from pathlib import Path

from client.channel import DEFAULT_ADDRESS
from client.formats import G711_RATE_HZ, AudioFormat, Channel, Encoding

ADDRESS_VARIABLE = "WIGEUP_ADDRESS"
# Longer than the library's: the command also sends recordings of an hour.
DEFAULT_TIMEOUT_S = 60.0
DEFAULT_CONCURRENCY = 4

_ENCODINGS = {e.name.lower(): e for e in Encoding if e is not Encoding.FILE}
_CHANNELS = {c.name.lower(): c for c in Channel}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses and checks the command line; a wrong one ends the process with code 2 and a message."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command == "classify":
        _check_classify(parser, args)
    return args


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    parser = argparse.ArgumentParser(
        prog="wigeup",
        description="Emergency-call triage for Korean calls.",
        epilog="Exit codes: 0 fine, 1 a file or the service failed, 2 wrong usage, 130 interrupted.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    service = _service_arguments()
    _add_classify(commands.add_parser("classify", parents=[service], help="judge recordings"))
    commands.add_parser("models", parents=[service], help="list the models that the service can ask")
    health = commands.add_parser("health", parents=[service], help="exit code 0 if the service takes calls")
    health.add_argument("--service", default="", metavar="NAME", help="default: the server as a whole")
    return parser


def _service_arguments() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--address",
        default=os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS,
        metavar="HOST:PORT",
        help=f"default: ${ADDRESS_VARIABLE}, else {DEFAULT_ADDRESS}",
    )
    shared.add_argument(
        "--timeout",
        type=positive_seconds,
        default=DEFAULT_TIMEOUT_S,
        metavar="S",
        help=f"seconds that one call may take (default {DEFAULT_TIMEOUT_S:g})",
    )
    shared.add_argument("--wait-for-ready", action="store_true", help="wait, within the timeout, for the service")
    shared.add_argument("--tls-roots", type=Path, metavar="PEM", help="use TLS, with these root certificates")
    shared.add_argument("--json", action="store_true", help="JSON on standard output, one line a result")
    return shared


def _add_classify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="a recording, a folder of them, or - for stdin")
    _add_request_arguments(parser)
    _add_format_arguments(parser)
    out = parser.add_mutually_exclusive_group()
    out.add_argument("--csv", metavar="OUT", help="write a table (- for standard output)")
    out.add_argument("--jsonl", metavar="OUT", help="write one JSON object a line (- for standard output)")
    parser.add_argument(
        "--concurrency",
        type=positive_integer,
        default=DEFAULT_CONCURRENCY,
        metavar="N",
        help=f"recordings in flight, each over a connection of its own (default {DEFAULT_CONCURRENCY})",
    )


def _add_request_arguments(parser: argparse.ArgumentParser) -> None:
    transcript = parser.add_mutually_exclusive_group()
    transcript.add_argument("--transcript", metavar="TEXT", help="what was said; one recording only")
    transcript.add_argument("--transcript-file", type=Path, metavar="PATH", help="the same from a UTF-8 file")
    transcript.add_argument("--sidecar-transcripts", action="store_true", help="use NAME.txt next to each recording")
    parser.add_argument("--model", default="", metavar="NAME", help="default: the service's own default")
    parser.add_argument("--model-version", default="", metavar="N", help="default: the one in service")
    parser.add_argument("--call-id", default="", metavar="ID", help="your name for the call; one recording only")
    parser.add_argument("--urgent", action="store_true", help="overtake waiting normal requests")


def _add_format_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--encoding",
        choices=sorted(_ENCODINGS),
        help="of headerless audio (.wav, .flac, .ogg and .mp3 always go by their header; .ulaw and .alaw need none)",
    )
    parser.add_argument("--rate", type=positive_integer, metavar="HZ", help="of headerless audio")
    parser.add_argument(
        "--channels", type=positive_integer, default=1, metavar="N", help="of headerless audio (default 1)"
    )
    parser.add_argument("--channel", choices=list(_CHANNELS), default="mix", help="which one is judged (default mix)")


def _check_classify(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.encoding == "pcm16" and args.rate is None:
        parser.error("--encoding pcm16 needs --rate HZ")
    if args.encoding is None and args.rate is not None:
        parser.error("--rate goes with --encoding")
    if args.files.count("-") > 1:
        parser.error("standard input (-) can be read once")
    if args.json and (args.csv or args.jsonl):
        parser.error("--json goes to standard output: leave out --csv and --jsonl")


def audio_format(args: argparse.Namespace) -> AudioFormat | None:
    """The format of headerless audio as the options give it, None where they do not."""
    if args.encoding is None:
        return None
    encoding = _ENCODINGS[args.encoding]
    return AudioFormat(encoding, args.rate or G711_RATE_HZ, args.channels)


def channel(args: argparse.Namespace) -> Channel:
    """The channel to judge."""
    return _CHANNELS[args.channel]


def positive_integer(text: str) -> int:
    number = int(text)
    if not 0 < number < 2**31:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def positive_seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return seconds
