"""Settings of the RTP bridge and their place on the command line."""

import argparse
import ipaddress
import math
import string
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from client.bridges.rtp.payloads import STATIC_PAYLOADS, Payload, parse_mapping

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 5004
CALL_ID_FIELDS = ("ssrc", "source", "host", "port", "local_port", "number")


@dataclass(frozen=True, slots=True)
class RtpOptions:
    """Where RTP is listened for, and how calls are made of it.

    `first_port` takes any number of calls. With a `last_port` every even port from the first to it takes one call at a
    time. Port 0 is any free pair. The odd port above each is RTCP's, unless `rtcp` is False. `allow` are the networks
    that are heard, empty for all. `payloads` are all known payload types.

    Seconds: `reorder_s` of waiting for a missing packet, `conceal_s` of loss that is concealed, `idle_s` without a
    packet until a call counts as hung up, `pause_s` the same after comfort noise, and the longest pause; `queue_s` of
    audio that may wait to be taken. `most_calls` at once bound the memory. `call_id` is a format of CALL_ID_FIELDS.
    Raises ValueError.
    """

    host: str = DEFAULT_HOST
    first_port: int = DEFAULT_PORT
    last_port: int | None = None
    payloads: Mapping[int, Payload] = field(default_factory=lambda: STATIC_PAYLOADS)
    allow: tuple[Network, ...] = ()
    rtcp: bool = True
    reorder_s: float = 0.06
    conceal_s: float = 0.06
    idle_s: float = 5.0
    pause_s: float = 60.0
    queue_s: float = 10.0
    most_calls: int = 1024
    call_id: str = "rtp-{ssrc}-{source}"

    def __post_init__(self) -> None:
        for name in ("reorder_s", "conceal_s", "idle_s", "pause_s", "queue_s"):
            seconds = getattr(self, name)
            if not (math.isfinite(seconds) and seconds >= 0) or (seconds == 0 and name in ("idle_s", "queue_s")):
                raise ValueError(f"{name} is {seconds}; it is a number of seconds")
        if self.most_calls < 1:
            raise ValueError(f"most_calls is {self.most_calls}; it is at least 1")
        _check_ports(self.first_port, self.last_port)
        _check_call_id(self.call_id)

    @property
    def ports(self) -> range:
        """Where RTP is listened for."""
        last = self.first_port if self.last_port is None else self.last_port
        return range(self.first_port, last + 1, 2)


def _check_ports(first: int, last: int | None) -> None:
    if not 0 <= first <= 65534:
        raise ValueError(f"port {first}; RTP's is 0 to 65534, and RTCP's is the next")
    if last is not None and (first % 2 or not 0 < first <= last <= 65535):
        raise ValueError(f"ports {first} to {last}; a range begins with an even port and does not fall")


def _check_call_id(text: str) -> None:
    try:
        fields = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    except ValueError as error:
        raise ValueError(f"call id {text!r}: {error}") from error
    unknown = [name for name in fields if name not in CALL_ID_FIELDS]
    if unknown or not text.isascii() or not text.isprintable() or not text:
        raise ValueError(f"call id {text!r}: it is printable ASCII with {{fields}} of {', '.join(CALL_ID_FIELDS)}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the bridge's options to a command."""
    default = RtpOptions()
    add = parser.add_argument
    add(
        "--listen",
        default=f"{DEFAULT_HOST}:{DEFAULT_PORT}",
        metavar="HOST:PORT[-LAST]",
        help="one port for all calls, or a range whose even ports take one call each (default: %(default)s)",
    )
    add(
        "--payload",
        action="append",
        default=[],
        metavar="N=NAME/RATE/CH",
        help="what a dynamic payload type is, as in SDP: 96=L16/16000/1 (repeat)",
    )
    add("--allow", action="append", default=[], metavar="CIDR", help="hear only this network (repeat)")
    add("--no-rtcp", action="store_true", help="leave the port above RTP's alone: no goodbye is heard there")
    for option, value, text in (
        ("--reorder", default.reorder_s, "of waiting for a missing packet"),
        ("--conceal", default.conceal_s, "of loss that is concealed at most"),
        ("--idle", default.idle_s, "without a packet until a call counts as hung up"),
        ("--pause", default.pause_s, "the same after comfort noise, and the longest pause"),
    ):
        add(option, type=float, default=value, metavar="S", help=f"seconds {text} (default {value:g})")
    fields = ", ".join(CALL_ID_FIELDS)
    add("--call-id-format", default=default.call_id, metavar="TEXT", help=f"of {fields} (default %(default)s)")


def options_from(args: argparse.Namespace) -> RtpOptions:
    """The settings that the command line gives; raises ValueError with the option's value and the rule."""
    host, first, last = _parse_listen(args.listen)
    return replace(
        RtpOptions(host, first, last),
        payloads={**STATIC_PAYLOADS, **dict(parse_mapping(text) for text in args.payload)},
        allow=tuple(ipaddress.ip_network(text, strict=False) for text in args.allow),
        rtcp=not args.no_rtcp,
        reorder_s=args.reorder,
        conceal_s=args.conceal,
        idle_s=args.idle,
        pause_s=args.pause,
        call_id=args.call_id_format,
    )


def _parse_listen(text: str) -> tuple[str, int, int | None]:
    host, _, ports = text.rpartition(":")
    first, has_last, last = ports.partition("-")
    if not host or not first.isdecimal() or (has_last and not last.isdecimal()):
        raise ValueError(f"{text}: where to listen is HOST:PORT or HOST:FIRST-LAST")
    return host.strip("[]"), int(first), int(last) if has_last else None
