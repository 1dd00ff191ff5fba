"""Options that several subcommands share."""

import argparse
import math
import os
from pathlib import Path

from client.argument_types import positive_integer, positive_seconds
from client.channel import DEFAULT_ADDRESS
from client.formats import G711_RATE_HZ, AudioFormat, Channel, Encoding, Priority

ADDRESS_VARIABLE = "WIGEUP_ADDRESS"
# Longer than the library's: the command also sends recordings of an hour.
DEFAULT_TIMEOUT_S = 60.0

_ENCODINGS = {e.name.lower(): e for e in Encoding if e is not Encoding.FILE}
CHANNELS = {c.name.lower(): c for c in Channel}


def service_options() -> argparse.ArgumentParser:
    """Where the service is and how long a call to it may take."""
    shared = argparse.ArgumentParser(add_help=False, parents=[connection_options()])
    shared.add_argument(
        "--timeout",
        type=positive_seconds,
        default=DEFAULT_TIMEOUT_S,
        metavar="S",
        help=f"seconds that one call may take (default {DEFAULT_TIMEOUT_S:g})",
    )
    shared.add_argument("--wait-for-ready", action="store_true", help="wait, within the timeout, for the service")
    return shared


def connection_options() -> argparse.ArgumentParser:
    """Where the service is, for calls that take as long as they take."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--address",
        default=os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS,
        metavar="HOST:PORT",
        help=f"default: ${ADDRESS_VARIABLE}, else {DEFAULT_ADDRESS}",
    )
    shared.add_argument("--tls-roots", type=Path, metavar="PEM", help="use TLS, with these root certificates")
    shared.add_argument("--json", action="store_true", help="JSON on standard output, one line a result")
    shared.set_defaults(timeout=DEFAULT_TIMEOUT_S, wait_for_ready=False)
    return shared


def add_transcript_options(parser: argparse.ArgumentParser) -> None:
    """What was said."""
    transcript = parser.add_mutually_exclusive_group()
    transcript.add_argument("--transcript", metavar="TEXT", help="what was said; one recording only")
    transcript.add_argument("--transcript-file", type=Path, metavar="PATH", help="the same from a UTF-8 file")
    transcript.add_argument("--sidecar-transcripts", action="store_true", help="use NAME.txt next to each recording")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Which model is asked, and how urgently."""
    parser.add_argument("--model", default="", metavar="NAME", help="default: the service's own default")
    parser.add_argument("--model-version", default="", metavar="N", help="default: the one in service")
    parser.add_argument("--urgent", action="store_true", help="overtake waiting normal requests")


def add_call_id(parser: argparse.ArgumentParser) -> None:
    """The caller's own name for one call."""
    parser.add_argument("--call-id", default="", metavar="ID", help="your name for the call; one recording only")


def add_format_options(parser: argparse.ArgumentParser) -> None:
    """How headerless audio is to be read."""
    parser.add_argument(
        "--encoding",
        choices=sorted(_ENCODINGS),
        help="of headerless audio (.wav, .flac, .ogg and .mp3 always go by their header; .ulaw and .alaw need none)",
    )
    parser.add_argument("--rate", type=positive_integer, metavar="HZ", help="of headerless audio")
    parser.add_argument(
        "--channels", type=positive_integer, default=1, metavar="N", help="of headerless audio (default 1)"
    )


def check_format(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the process where the options of headerless audio do not fit together."""
    if args.encoding == "pcm16" and args.rate is None:
        parser.error("--encoding pcm16 needs --rate HZ")
    if args.encoding is None and args.rate is not None:
        parser.error("--rate goes with --encoding")


def audio_format(args: argparse.Namespace) -> AudioFormat | None:
    """The format of headerless audio as the options give it, None where they do not."""
    if args.encoding is None:
        return None
    encoding = _ENCODINGS[args.encoding]
    return AudioFormat(encoding, args.rate or G711_RATE_HZ, args.channels)


def priority(args: argparse.Namespace) -> Priority:
    """How urgent the calls are."""
    return Priority.URGENT if args.urgent else Priority.NORMAL


def speed(text: str) -> float:
    number = float(text)
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"{text} is no speed: 1 is real time, 0 as fast as it goes")
    return number
