"""The RTP bridge: its ports, and the calls that begin on them."""

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Self

from client.bridges.rtp.call import RtpCall
from client.bridges.rtp.candidates import Stream
from client.bridges.rtp.options import RtpOptions
from client.bridges.rtp.payloads import Payload
from client.bridges.rtp.reception import Reception
from client.bridges.rtp.sockets import Ear, Source, bound_pair

LOGGER = logging.getLogger(__name__)
LONGEST_CALL_ID = 128
REMEMBERED_CALL_IDS = 4096


class RtpBridge:
    """A Bridge of one shared port, or of a range of ports with a call each."""

    def __init__(self, options: RtpOptions) -> None:
        self._options = options
        self._ears: list[Ear] = []
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
                bridge._listen(port)
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
        for ear in self._ears:
            ear.close()
        for reception in self._receptions:
            for call in reception.calls:
                call.end()
        self._begun.put_nowait(None)

    def _listen(self, port: int) -> None:
        rtp, rtcp = bound_pair(self._options.host, port, with_rtcp=self._options.rtcp)
        local_port: int = rtp.getsockname()[1]
        is_shared = self._options.last_port is None
        reception = Reception(self._options, self._begin_on(local_port), is_shared=is_shared)
        self._receptions.append(reception)
        self._ports.append(local_port)
        self._ears.append(Ear(rtp, reception.hear))
        if rtcp is not None:
            self._ears.append(Ear(rtcp, reception.hear_control))

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


def _named(source: Source) -> str:
    return f"{_bracketed(source[0])}:{source[1]}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
