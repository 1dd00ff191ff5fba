"""Arguments of the command."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from client.argument_types import positive_integer, positive_seconds
from client.command import options
from client.formats import Channel

DEFAULT_CONCURRENCY = 4
DEFAULT_MAX_CALLS = 256
# Each a module of client.bridges with `add_arguments`, `options_from` and `open_bridge`, imported only when named.
PROTOCOLS = {
    "rtp": "RTP streams, as Asterisk ARI, rtpengine and SIPREC send them",
    "websocket": "WebSocket media streams, as Twilio, Telnyx, jambonz and FreeSWITCH send them",
    "audiosocket": "Asterisk AudioSocket",
}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses and checks the command line; a wrong one ends the process with code 2 and a message."""
    words = sys.argv[1:] if argv is None else argv
    parser = build_parser(words)
    args = parser.parse_args(words)
    if args.command == "classify":
        _check_classify(parser, args)
    if args.command == "stream":
        _check_stream(parser, args)
    return args


def build_parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of all subcommands; the options of a bridge's protocol only where `argv` names it."""
    parser = argparse.ArgumentParser(
        prog="wigeup",
        description="Emergency-call triage for Korean calls.",
        epilog="Exit codes: 0 fine, 1 a file or the service failed, 2 wrong usage, 130 interrupted.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    service, connection = options.service_options(), options.connection_options()
    _add_classify(commands.add_parser("classify", parents=[service], help="judge recordings"))
    _add_stream(commands.add_parser("stream", parents=[connection], help="judge a call while it goes on"))
    _add_bridge(commands.add_parser("bridge", help="judge the calls of a telephone system"), connection, argv)
    commands.add_parser("models", parents=[service], help="list the models that the service can ask")
    health = commands.add_parser("health", parents=[service], help="exit code 0 if the service takes calls")
    health.add_argument("--service", default="", metavar="NAME", help="default: the server as a whole")
    return parser


def _add_classify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="a recording, a folder of them, or - for stdin")
    options.add_transcript_options(parser)
    options.add_model_options(parser)
    options.add_call_id(parser)
    options.add_format_options(parser)
    parser.add_argument(
        "--channel", choices=list(options.CHANNELS), default="mix", help="which one is judged (default mix)"
    )
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


def _add_stream(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="FILE|mic|-", help="a recording, the microphone, or headerless audio on stdin"
    )
    parser.add_argument(
        "--speed",
        type=options.speed,
        metavar="N",
        help="1 (default) is real time, 0 as fast as it goes",
    )
    options.add_transcript_options(parser)
    options.add_model_options(parser)
    options.add_call_id(parser)
    options.add_format_options(parser)
    _add_live_options(parser)
    parser.add_argument(
        "--give-up",
        type=positive_seconds,
        default=30.0,
        metavar="S",
        help="seconds that the call may go without the service (default 30)",
    )


def _add_bridge(parser: argparse.ArgumentParser, connection: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    protocols = parser.add_subparsers(dest="protocol", required=True, metavar="PROTOCOL")
    for name, what in PROTOCOLS.items():
        protocol = protocols.add_parser(name, parents=[connection], help=what)
        options.add_model_options(protocol)
        _add_live_options(protocol)
        protocol.add_argument(
            "--max-calls",
            type=positive_integer,
            default=DEFAULT_MAX_CALLS,
            metavar="N",
            help=f"calls at once; further ones are refused (default {DEFAULT_MAX_CALLS})",
        )
        protocol.add_argument("--updates", action="store_true", help="write every update, not only what changes")
        if list(argv[:2]) == ["bridge", name]:
            _add_protocol(parser, protocol, name)


def _add_protocol(parser: argparse.ArgumentParser, protocol: argparse.ArgumentParser, name: str) -> None:
    try:
        module = protocol_module(name)
    except ModuleNotFoundError as error:
        parser.error(f"{name} needs the package {error.name}, which is not installed")
    module.add_arguments(protocol)


def protocol_module(name: str) -> Any:
    """The module of a protocol; raises ModuleNotFoundError where a package that it needs is missing."""
    return importlib.import_module(f"client.bridges.{name}")


def _add_live_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hop", type=positive_seconds, default=0.0, metavar="S", help="seconds of audio between updates (default 1)"
    )


def _check_classify(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    options.check_format(parser, args)
    if args.files.count("-") > 1:
        parser.error("standard input (-) can be read once")
    if args.json and (args.csv or args.jsonl):
        parser.error("--json goes to standard output: leave out --csv and --jsonl")


def _check_stream(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    options.check_format(parser, args)
    if args.source == "-" and args.encoding is None:
        parser.error("standard input (-) is headerless audio: it needs --encoding")
    if args.source in ("-", "mic"):
        for option in ("transcript", "transcript_file", "sidecar_transcripts", "speed"):
            if getattr(args, option) not in (None, False):
                parser.error(f"--{option.replace('_', '-')} goes with a recording")


def channel(args: argparse.Namespace) -> Channel:
    """The channel to judge."""
    return options.CHANNELS[args.channel]
