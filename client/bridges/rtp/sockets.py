"""UDP sockets that are heard in an event loop."""

import asyncio
import contextlib
import socket
from collections.abc import Callable

Source = tuple[str, int]

# A second of telephone packets of 240 calls, headers of the kernel included; it may grant less.
RECEIVE_BUFFER_BYTES = 1 << 23
FREE_PAIR_ATTEMPTS = 32
DATAGRAM_BYTES = 65535
# Until the loop has its turn again.
MOST_AT_ONCE = 256


class Ear:
    """Hands on every datagram with its source and time of arrival.

    asyncio's own transport takes one datagram a round of the loop. After a round that took long, a packet that waits in
    the socket would then lose its place to the timer that gives it up; so this one takes all that wait.
    """

    def __init__(self, heard: socket.socket, hear: Callable[[bytes, Source, float], None]) -> None:
        """Takes the bound socket over; `close` closes it."""
        self._socket, self._hear = heard, hear
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(heard, self._take_waiting)

    def close(self) -> None:
        """Hears no more."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _take_waiting(self) -> None:
        now_s = self._loop.time()
        for _ in range(MOST_AT_ONCE):
            try:
                datagram, address = self._socket.recvfrom(DATAGRAM_BYTES)
            except OSError:  # none waits, or the kernel reports what became of another's packet
                return
            self._hear(datagram, address[:2], now_s)


def bound_pair(host: str, port: int, *, with_rtcp: bool) -> tuple[socket.socket, socket.socket | None]:
    """Sockets of RTP's port and, above it, of RTCP's; for port 0 of any free pair. Raises OSError."""
    for attempt in range(1, FREE_PAIR_ATTEMPTS + 1):
        rtp = _bound(host, port)
        try:
            return rtp, _bound(host, rtp.getsockname()[1] + 1) if with_rtcp else None
        except (OSError, OverflowError):
            rtp.close()
            if port or attempt == FREE_PAIR_ATTEMPTS:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    opened = socket.socket(family, kind, protocol)
    try:
        with contextlib.suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        opened.setblocking(False)
        opened.bind(address)
    except BaseException:
        opened.close()
        raise
    return opened
