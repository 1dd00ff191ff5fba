"""The port of the service: one service has it, all of its workers may listen on it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager


class CannotListen(Exception):
    """The address is taken or not this machine's."""


def address_of(host: str, port: int) -> str:
    """As gRPC takes it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Keeps the port for processes of this user that set SO_REUSEPORT; another service does not get it meanwhile.

    Yields its number, of a free port where `port` is 0; raises CannotListen. Of a name with several addresses it keeps
    the first that is this machine's: whoever wants the same name asks for that one first, too.
    """
    try:
        held = _hold_first(host, port)
    except OSError as error:
        raise CannotListen(f"cannot listen on {address_of(host, port)}: {error.strerror or error}") from error
    with held:
        yield int(held.getsockname()[1])


def _hold_first(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for place, (family, _, _, _, address) in enumerate(found, 1):
        try:
            return _hold(family, (str(address[0]), port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE or place == len(found):
                raise
    raise AssertionError  # getaddrinfo finds something or raises


def _hold(family: int, address: tuple[str, int]) -> socket.socket:
    """A socket that is bound and does not listen, so that no connection comes to it."""
    with _bound(family, address, shares=False) as alone:
        alone.listen()  # fails beside any other listener, also one that shares its port
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # from here on with the socket that stays
        held = _bound(family, (address[0], int(alone.getsockname()[1])), shares=True)
    # It disregarded connections that were closing; a socket that does likewise must not disregard it.
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return held


def _bound(family: int, address: tuple[str, int], *, shares: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shares)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made
