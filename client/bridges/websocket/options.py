"""Settings of the WebSocket bridge."""

import argparse
import os
from dataclasses import dataclass, field
from pathlib import Path

from client.bridges.handover import HIGHEST_RATE_HZ, LOWEST_RATE_HZ
from client.bridges.listening import add_limits, listening_address
from client.channel import is_loopback_host

TOKEN_VARIABLE = "WIGEUP_BRIDGE_TOKEN"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True)
class WebSocketOptions:
    """Where to listen, whom to let in, and how long to wait.

    Without a `token` only a loopback address is listened on, unless `is_open`. `rate_hz` and `channels` are of
    mod_audio_fork where nothing else says them. With `tell_by_mark`, alerts go to Twilio and Telnyx as marks. Raises
    ValueError for settings that do not go together.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token: str = field(default="", repr=False)
    is_open: bool = False
    certificate: Path | None = None
    key: Path | None = None
    rate_hz: int = 16000
    channels: int = 1
    is_telnyx_l16_big_endian: bool = True
    tell_by_mark: bool = False
    max_connections: int = 512
    max_message_bytes: int = 1 << 20
    first_message_s: float = 10.0
    idle_s: float = 30.0
    ping_s: float = 20.0

    def __post_init__(self) -> None:
        if not (self.token or self.is_open or is_loopback_host(self.host)):
            raise ValueError(f"{self.host} without a token: anyone who reaches it could send calls")
        if self.key is not None and self.certificate is None:
            raise ValueError("a TLS key without its certificate")
        if not LOWEST_RATE_HZ <= self.rate_hz <= HIGHEST_RATE_HZ:
            raise ValueError(f"{self.rate_hz} Hz; the service takes {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ}")
        if self.channels not in (1, 2):
            raise ValueError(f"{self.channels} channels; there are 1 or 2")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `wigeup bridge websocket`."""
    default = WebSocketOptions()
    parser.add_argument(
        "--listen",
        type=listening_address,
        default=(default.host, default.port),
        metavar="HOST:PORT",
        help=f"default: {default.host}:{default.port}",
    )
    token = parser.add_mutually_exclusive_group()
    token.add_argument(
        "--token-env",
        default=TOKEN_VARIABLE,
        metavar="NAME",
        help=f"the variable that holds the token which callers must show (default {TOKEN_VARIABLE})",
    )
    token.add_argument("--token-file", type=Path, metavar="PATH", help="the file that holds it")
    token.add_argument("--open", action="store_true", help="take calls from anyone, beyond this machine, too")
    parser.add_argument("--tls-certificate", type=Path, metavar="PEM", help="use TLS: the certificate chain")
    parser.add_argument("--tls-key", type=Path, metavar="PEM", help="its key, where the chain's file has none")
    parser.add_argument(
        "--rate",
        type=int,
        default=default.rate_hz,
        metavar="HZ",
        help=f"of mod_audio_fork where neither address nor metadata says it (default {default.rate_hz})",
    )
    parser.add_argument("--channels", type=int, choices=(1, 2), default=default.channels, help="the same (default 1)")
    parser.add_argument(
        "--telnyx-l16", choices=("big", "little"), default="big", help="byte order of Telnyx's L16 (default big)"
    )
    parser.add_argument("--tell", action="store_true", help="tell Twilio and Telnyx of alerts, by marks")
    _add_limits(parser, default)


def _add_limits(parser: argparse.ArgumentParser, default: WebSocketOptions) -> None:
    add_limits(
        parser,
        default,
        numbers={"max-connections": "connections at once", "max-message-bytes": "bytes of one message"},
        seconds={
            "first-message-s": "until a call must have started",
            "idle-s": "without a message that are a hang-up",
            "ping-s": "between two pings",
        },
    )


def options_from(args: argparse.Namespace) -> WebSocketOptions:
    """The options that the arguments say; raises ValueError for those that do not go together or cannot be read."""
    host, port = args.listen
    return WebSocketOptions(
        host=host,
        port=port,
        token=token_from(args),
        is_open=args.open,
        certificate=args.tls_certificate,
        key=args.tls_key,
        rate_hz=args.rate,
        channels=args.channels,
        is_telnyx_l16_big_endian=args.telnyx_l16 == "big",
        tell_by_mark=args.tell,
        max_connections=args.max_connections,
        max_message_bytes=args.max_message_bytes,
        first_message_s=args.first_message_s,
        idle_s=args.idle_s,
        ping_s=args.ping_s,
    )


def token_from(args: argparse.Namespace) -> str:
    """The token in the file or variable that the arguments name; raises ValueError for an empty file."""
    if args.open:
        return ""
    if args.token_file is None:
        return os.environ.get(args.token_env, "").strip()
    try:
        token = args.token_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{args.token_file}: {error}") from None
    if not token:
        raise ValueError(f"{args.token_file} is empty; it should hold the token")
    return str(token)
