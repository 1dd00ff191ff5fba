"""The RTP bridge's sockets."""

import asyncio
import contextlib
import logging
import socket
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Self

from client.bridges.rtp.call import RtpCall
from client.bridges.rtp.candidates import Source, Stream
from client.bridges.rtp.options import RtpOptions
from client.bridges.rtp.payloads import Payload
from client.bridges.rtp.reception import Reception

LOGGER = logging.getLogger(__name__)
# A second of telephone packets of 240 calls, headers of the kernel included; it may grant less.
RECEIVE_BUFFER_BYTES = 1 << 23
FREE_PAIR_ATTEMPTS = 32
LONGEST_CALL_ID = 128
REMEMBERED_CALL_IDS = 4096


class RtpBridge:
    """A Bridge of one shared port, or of a range of ports with a call each."""

    def __init__(self, options: RtpOptions) -> None:
        self._options = options
        self._transports: list[asyncio.DatagramTransport] = []
        self._receptions: list[Reception] = []
        self._ports: list[int] = []
        self._begun: asyncio.Queue[RtpCall | None] = asyncio.Queue()
        self._number = 0
        self._call_ids: OrderedDict[str, int] = OrderedDict()
        self._is_closed = False

    @classmethod
    async def open(cls, options: RtpOptions) -> Self:
        """Listens; raises OSError where a port cannot be had."""
        bridge = cls(options)
        try:
            for port in options.ports:
                await bridge._listen(port)
        except BaseException:
            await bridge.close()
            raise
        return bridge

    @property
    def address(self) -> str:
        """HOST:PORT, or HOST:FIRST-LAST of a range."""
        last = f"-{self._ports[-1]}" if self._options.last_port is not None else ""
        return f"{_bracketed(self._options.host)}:{self._ports[0]}{last}"

    @property
    def counts(self) -> Mapping[str, int]:
        """Datagrams that went to no call, by name: unreadable, foreign, stray; and calls refused."""
        return sum((reception.counts for reception in self._receptions), Counter[str]())

    async def calls(self) -> AsyncIterator[RtpCall]:
        """Every call as it begins; for one reader."""
        while (call := await self._begun.get()) is not None:
            yield call

    async def close(self) -> None:
        """Ends the calls under way and gives the ports back."""
        if self._is_closed:
            return
        self._is_closed = True
        for transport in self._transports:
            transport.close()
        for reception in self._receptions:
            for call in reception.calls:
                call.end()
        self._begun.put_nowait(None)
        await asyncio.sleep(0)  # the sockets are closed in the loop's next round

    async def _listen(self, port: int) -> None:
        rtp, rtcp = _bound(self._options.host, port, with_rtcp=self._options.rtcp)
        local_port = rtp.getsockname()[1]
        is_shared = self._options.last_port is None
        reception = Reception(self._options, self._begin_on(local_port), is_shared=is_shared)
        self._receptions.append(reception)
        self._ports.append(local_port)
        hearings = [(rtp, reception.hear)] + ([(rtcp, reception.hear_control)] if rtcp is not None else [])
        loop = asyncio.get_running_loop()
        for each, hear in hearings:
            transport, _ = await loop.create_datagram_endpoint(partial(_Listener, hear), sock=each)
            self._transports.append(transport)

    def _begin_on(self, local_port: int) -> Callable[[Stream, Payload, Callable[[RtpCall], None]], RtpCall | None]:
        def begin(stream: Stream, first: Payload, on_end: Callable[[RtpCall], None]) -> RtpCall | None:
            under_way = sum(len(reception.calls) for reception in self._receptions)
            if self._is_closed or under_way >= self._options.most_calls:
                LOGGER.warning("a call from %s is refused: there are %d", _named(stream[0]), under_way)
                return None
            call = RtpCall(self._call_id(stream, local_port), stream[0], first, self._options, on_end)
            self._begun.put_nowait(call)
            return call

        return begin

    def _call_id(self, stream: Stream, local_port: int) -> str:
        """As the option says; a number behind it tells apart those that would be equal."""
        source, ssrc = stream
        self._number += 1
        name = self._options.call_id.format(
            ssrc=f"{ssrc:08x}",
            source=_named(source),
            host=source[0],
            port=source[1],
            local_port=local_port,
            number=self._number,
        )
        uses = self._call_ids.pop(name, 0) + 1
        self._call_ids[name] = uses
        if len(self._call_ids) > REMEMBERED_CALL_IDS:
            self._call_ids.popitem(last=False)
        again = f"-{uses}" if uses > 1 else ""
        return name[: LONGEST_CALL_ID - len(again)] + again


class _Listener(asyncio.DatagramProtocol):
    """Hands every datagram on with its time."""

    def __init__(self, hear: Callable[[bytes, Source, float], None]) -> None:
        self._hear = hear
        self._loop = asyncio.get_running_loop()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._hear(data, addr[:2], self._loop.time())


def _bound(host: str, port: int, *, with_rtcp: bool) -> tuple[socket.socket, socket.socket | None]:
    """Sockets of RTP's port and, above it, of RTCP's; for port 0 of any free pair."""
    for attempt in range(1, FREE_PAIR_ATTEMPTS + 1):
        rtp = _socket(host, port)
        try:
            return rtp, _socket(host, rtp.getsockname()[1] + 1) if with_rtcp else None
        except (OSError, OverflowError):
            rtp.close()
            if port or attempt == FREE_PAIR_ATTEMPTS:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def _socket(host: str, port: int) -> socket.socket:
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


def _named(source: Source) -> str:
    return f"{_bracketed(source[0])}:{source[1]}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
