"""Which datagram belongs to which call."""

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Callable

from client.bridges.rtp.call import RtpCall
from client.bridges.rtp.candidates import TO_BEGIN, TO_TAKE_OVER, Candidate, Candidates, Stream
from client.bridges.rtp.options import Network, RtpOptions
from client.bridges.rtp.packet import MalformedPacket, Packet, goodbyes, is_rtcp, parse
from client.bridges.rtp.payloads import Payload
from client.bridges.rtp.sockets import Source

# Packets that a goodbye overtook begin no call (RFC 3550, 6.2.1, keeps a source's state for a while, too).
GOODBYE_HOLDS_S = 2.0
MOST_GONE = 256

Begin = Callable[[Stream, Payload, Callable[[RtpCall], None]], RtpCall | None]


class Reception:
    """The calls on one port: any number on a shared one, else one at a time, heard from one source only.

    A source's new SSRC takes its call over if the old one is silent meanwhile. If both go on, the new one is another
    call on a shared port, and a stray on one that is not. `counts` holds what belongs to no call, too.
    """

    def __init__(self, options: RtpOptions, begin: Begin, *, is_shared: bool) -> None:
        """`begin` makes a call of a stream, or refuses; it is given what is to be called at the call's end."""
        self._options, self._begin, self._is_shared = options, begin, is_shared
        self._followed: dict[Stream, RtpCall] = {}
        self._candidates = Candidates()
        self._gone: OrderedDict[Stream, float] = OrderedDict()
        self.counts: Counter[str] = Counter()

    @property
    def calls(self) -> list[RtpCall]:
        """Those under way."""
        return list(self._followed.values())

    def hear(self, datagram: bytes, source: Source, now_s: float) -> None:
        """Takes a datagram from the RTP port, which RTCP may share."""
        if is_rtcp(datagram):
            self.hear_control(datagram, source, now_s)
            return
        try:
            packet = parse(datagram)
        except MalformedPacket:
            self._observe("unreadable", source)
            return
        call = self._followed.get((source, packet.ssrc))
        if call is not None:
            call.take(packet, now_s)
        elif self._is_foreign(source):
            self._observe("foreign", source)
        else:
            self._consider((source, packet.ssrc), packet, now_s)

    def hear_control(self, datagram: bytes, source: Source, now_s: float) -> None:
        """Takes a datagram of RTCP; its port is another than the audio's, its host is not."""
        try:
            leaving = goodbyes(datagram)
        except MalformedPacket:
            self._observe("unreadable", source)
            return
        for stream, call in list(self._followed.items()):
            (host, _), ssrc = stream
            if host == source[0] and ssrc in leaving:
                self._gone[stream] = now_s
                if len(self._gone) > MOST_GONE:
                    self._gone.popitem(last=False)
                call.say_goodbye()

    def _is_foreign(self, source: Source) -> bool:
        if not self._is_shared and any(call.source != source for call in self._followed.values()):
            return True
        return bool(self._options.allow) and not _is_within(source[0], self._options.allow)

    def _consider(self, stream: Stream, packet: Packet, now_s: float) -> None:
        """Of a stream that is no call's: begins one, takes one over, or waits for more."""
        payload = self._options.payloads.get(packet.payload_type)
        has_just_gone = now_s - self._gone.get(stream, float("-inf")) < GOODBYE_HOLDS_S
        if payload is None or not payload.is_audio or has_just_gone:
            self._observe("stray", stream[0])
            return
        candidate = self._candidates.add(stream, packet, now_s)
        rivals = [followed for followed in self._followed if followed[0] == stream[0]]
        if candidate.packets < (TO_TAKE_OVER if rivals else TO_BEGIN):
            return
        self._candidates.drop(stream)
        if len(rivals) == 1 and self._followed[rivals[0]].last_packet_s < candidate.since_s:
            self._take_over(rivals[0], stream, candidate)
        elif rivals and not self._is_shared:
            self._observe("stray", stream[0], len(candidate.heard))
        else:
            self._begin_call(stream, candidate)

    def _take_over(self, old: Stream, new: Stream, candidate: Candidate) -> None:
        call = self._followed.pop(old)
        self._followed[new] = call
        call.follow(candidate.in_order())

    def _begin_call(self, stream: Stream, candidate: Candidate) -> None:
        heard = candidate.in_order()
        call = self._begin(stream, self._options.payloads[heard[0][0].payload_type], self._forget)
        if call is None:
            self.counts["refused"] += 1
            return
        self._followed[stream] = call
        for packet, arrival_s in heard:
            call.take(packet, arrival_s)

    def _forget(self, ended: RtpCall) -> None:
        self._followed = {stream: call for stream, call in self._followed.items() if call is not ended}

    def _observe(self, name: str, source: Source, count: int = 1) -> None:
        """Counts what went nowhere, also for the call that it might have been meant for."""
        self.counts[name] += count
        for call in self._followed.values():
            if not self._is_shared or call.source == source:
                call.observed[name] += count


def _is_within(host: str, networks: tuple[Network, ...]) -> bool:
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # so an IPv6 socket names a sender of IPv4
    return any(address in network for network in networks)
