"""Settings of the AudioSocket bridge."""

import argparse
import ipaddress
from dataclasses import dataclass

from client.bridges.listening import add_limits, listening_address
from client.channel import is_loopback_host

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class AudioSocketOptions:
    """Where to listen, whom to let in, and how long to wait.

    The protocol has no secret: `allowed` are the networks whose hosts may connect, none for this machine only.
    """

    host: str = "127.0.0.1"
    port: int = 9092
    allowed: tuple[Network, ...] = ()
    max_connections: int = 512
    first_message_s: float = 10.0
    idle_s: float = 30.0

    def allows(self, host: str) -> bool:
        """Whether a peer of that address may connect."""
        if not self.allowed:
            return is_loopback_host(_unmapped(host))
        address = ipaddress.ip_address(_unmapped(host))
        return any(address in network for network in self.allowed)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `wigeup bridge audiosocket`."""
    default = AudioSocketOptions()
    parser.add_argument(
        "--listen",
        type=listening_address,
        default=(default.host, default.port),
        metavar="HOST:PORT",
        help=f"default: {default.host}:{default.port}",
    )
    parser.add_argument(
        "--allow",
        type=_network,
        action="append",
        default=[],
        metavar="NETWORK",
        help="an address, or a network such as 10.0.0.0/8, that may connect; repeatable (default: this machine only)",
    )
    add_limits(
        parser,
        default,
        numbers={"max-connections": "connections at once"},
        seconds={
            "first-message-s": "until a call must have started",
            "idle-s": "without a message that are a hang-up",
        },
    )


def options_from(args: argparse.Namespace) -> AudioSocketOptions:
    """The options that the arguments say."""
    host, port = args.listen
    return AudioSocketOptions(
        host=host,
        port=port,
        allowed=tuple(args.allow),
        max_connections=args.max_connections,
        first_message_s=args.first_message_s,
        idle_s=args.idle_s,
    )


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _unmapped(host: str) -> str:
    """An IPv4 address that a socket for both versions wrote as IPv6, as it is."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
