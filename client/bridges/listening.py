"""Arguments that bridges with a listening TCP socket have in common."""

import argparse
import ipaddress
import math
from collections.abc import Mapping


def listening_address(text: str) -> tuple[str, int]:
    """HOST and PORT of "HOST:PORT"; an IPv6 address stands in brackets."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def positive_integer(text: str) -> int:
    number = int(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def positive_seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return seconds


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
