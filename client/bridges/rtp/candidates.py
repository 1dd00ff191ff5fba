"""Streams that may become calls: a single datagram must not begin one, nor take one over."""

from collections import OrderedDict
from dataclasses import dataclass, field

from client.bridges.rtp.jitter import MAX_MISORDER, signed_difference
from client.bridges.rtp.packet import Packet
from client.bridges.rtp.sockets import Source

# RFC 3550, A.1, MIN_SEQUENTIAL: packets until a stream counts as one.
TO_BEGIN = 2
# More, since a call under way is at stake: a tenth of a second of telephone packets.
TO_TAKE_OVER = 5
MOST_CANDIDATES = 256
FORGOTTEN_AFTER_S = 2.0
# Copies included, of which some networks deliver many.
MOST_HEARD = 3 * TO_TAKE_OVER

Stream = tuple[Source, int]  # where it comes from, and its SSRC
Arrived = tuple[Packet, float]


@dataclass(slots=True)
class Candidate:
    """A stream's first packets with their times of arrival."""

    heard: list[Arrived] = field(default_factory=list)

    @property
    def since_s(self) -> float:
        """When its first packet came."""
        return self.heard[0][1]

    @property
    def packets(self) -> int:
        """How many have come, copies left out."""
        return len({packet.sequence for packet, _ in self.heard})

    def in_order(self) -> list[Arrived]:
        """The packets by their sequence numbers."""
        base = self.heard[0][0].sequence
        return sorted(self.heard, key=lambda arrived: signed_difference(arrived[0].sequence, base, 16))


class Candidates:
    """Bounded in number and in time; packets that belong to no sequence begin the count anew."""

    def __init__(self) -> None:
        self._by_stream: OrderedDict[Stream, Candidate] = OrderedDict()

    def add(self, stream: Stream, packet: Packet, now_s: float) -> Candidate:
        """Takes a packet; returns all that its stream has sent."""
        candidate = self._by_stream.pop(stream, None)
        if candidate is None or not _goes_on(candidate, packet, now_s):
            candidate = Candidate()
        candidate.heard.append((packet, now_s))
        self._by_stream[stream] = candidate
        if len(self._by_stream) > MOST_CANDIDATES:
            self._by_stream.popitem(last=False)
        return candidate

    def drop(self, stream: Stream) -> None:
        """Forgets a stream: it has become a call, or is none."""
        self._by_stream.pop(stream, None)


def _goes_on(candidate: Candidate, packet: Packet, now_s: float) -> bool:
    last, arrival_s = candidate.heard[-1]
    step = signed_difference(packet.sequence, last.sequence, 16)
    is_sequence = abs(step) <= MAX_MISORDER and now_s - arrival_s < FORGOTTEN_AFTER_S
    return is_sequence and len(candidate.heard) < MOST_HEARD
