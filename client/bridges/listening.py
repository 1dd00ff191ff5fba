"""Arguments that bridges with a listening TCP socket have in common."""

import argparse
from collections.abc import Mapping

from client.argument_types import positive_integer, positive_seconds


def listening_address(text: str) -> tuple[str, int]:
    """HOST and PORT of "HOST:PORT"; an IPv6 address stands in brackets."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def add_limits(
    parser: argparse.ArgumentParser, default: object, *, numbers: Mapping[str, str], seconds: Mapping[str, str]
) -> None:
    """Options of what a bridge bears, by name and meaning; `default` has their defaults as attributes."""
    for name, meaning in numbers.items():
        value = getattr(default, name.replace("-", "_"))
        written = f"{meaning} (default {value})"
        parser.add_argument(f"--{name}", type=positive_integer, default=value, metavar="N", help=written)
    for name, meaning in seconds.items():
        value = getattr(default, name.replace("-", "_"))
        parser.add_argument(
            f"--{name}",
            type=positive_seconds,
            default=value,
            metavar="S",
            help=f"seconds {meaning} (default {value:g})",
        )


def written_address(socket_name: tuple[str, int]) -> str:
    """HOST:PORT of what a socket says of itself."""
    host, port = socket_name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
