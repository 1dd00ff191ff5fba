"""Puts the packets of one RTP stream in order; time comes from its caller."""

from collections import Counter
from dataclasses import dataclass

from client.bridges.rtp.packet import Packet

# RFC 3550, A.1: a number further ahead or behind than these is no loss or delay but another numbering.
MAX_DROPOUT = 3000
MAX_MISORDER = 100
# Packets that wait for one before them; at 20 ms each over 5 s, far more than any sensible wait.
MAX_HELD = 256
_NUMBERS = 1 << 16


def signed_difference(value: int, base: int, bits: int) -> int:
    """How far `value` lies after `base` (negative: before) where both wrap around after `bits` bits."""
    span = 1 << bits
    return (value - base + span // 2) % span - span // 2


@dataclass(frozen=True, slots=True)
class Ordered:
    """A packet in its place: `missing` packets before it never came; after `restarted` the numbering is another."""

    packet: Packet
    arrival_s: float
    missing: int = 0
    restarted: bool = False


class JitterBuffer:
    """Packets go in as they come and out in order; one that is missing is waited for during `depth_s`.

    What is in order comes out at once: nothing is played here, so nothing need be evened out. `counts` has `reordered`,
    `duplicate`, `late` (came after it had been given up), `lost` (given up; late ones stay in it), and `restarts`.
    """

    def __init__(self, depth_s: float) -> None:
        self._depth_s = depth_s
        self._next: int | None = None  # sequence numbers in here do not wrap
        self._newest = 0
        self._held: dict[int, tuple[Packet, float]] = {}
        self._given_up: set[int] = set()
        self._suspect: tuple[Packet, float] | None = None  # perhaps the first of a new numbering
        self._restarted = False
        self.counts: Counter[str] = Counter()

    @property
    def deadline_s(self) -> float | None:
        """When the packet that is waited for is given up; None where none is."""
        if not self._held:
            return None
        return min(arrival_s for _, arrival_s in self._held.values()) + self._depth_s

    def put(self, packet: Packet, arrival_s: float) -> list[Ordered]:
        """Takes a packet; returns those whose turn has come."""
        due = self._put(packet, arrival_s)  # before anything is given up: it may be what was waited for
        return due + self.expire(arrival_s)

    def expire(self, now_s: float) -> list[Ordered]:
        """Gives up what has been waited for long enough; returns the packets behind it."""
        due: list[Ordered] = []
        while (deadline_s := self.deadline_s) is not None and deadline_s <= now_s:
            due += self._give_up()
        return due

    def flush(self) -> list[Ordered]:
        """All that is held, since nothing more comes."""
        due: list[Ordered] = []
        while self._held:
            due += self._give_up()
        return due

    def restart(self) -> list[Ordered]:
        """All that is held, since the next packet begins another numbering."""
        due = self.flush()
        self._next, self._suspect, self._restarted = None, None, True
        return due

    def _put(self, packet: Packet, arrival_s: float) -> list[Ordered]:
        if self._next is None:
            self._next = packet.sequence
            self._given_up = set(range(self._next - MAX_MISORDER, self._next))
        ahead = signed_difference(packet.sequence, self._next, 16)
        if not -MAX_MISORDER <= ahead < MAX_DROPOUT:
            return self._doubt(packet, arrival_s)
        self.counts["late"] += self._suspect is not None
        self._suspect = None
        return self._place(self._next + ahead, packet, arrival_s)

    def _doubt(self, packet: Packet, arrival_s: float) -> list[Ordered]:
        """A number far off is a stray's, or the sender has begun anew: the one after it tells."""
        suspect, self._suspect = self._suspect, (packet, arrival_s)
        if suspect is None or packet.sequence != (suspect[0].sequence + 1) % _NUMBERS:
            self.counts["late"] += suspect is not None
            return []
        due = self.restart()
        return due + self._put(*suspect) + self._put(packet, arrival_s)

    def _place(self, number: int, packet: Packet, arrival_s: float) -> list[Ordered]:
        assert self._next is not None  # noqa: S101 - narrows the type: `put` has set it
        if number < self._next or number in self._held:
            is_late = number in self._given_up
            self._given_up.discard(number)
            self.counts["late" if is_late else "duplicate"] += 1
            return []
        self.counts["reordered"] += bool(self._held) and number < self._newest
        self._newest = max(number, self._newest) if self._held else number
        self._held[number] = packet, arrival_s
        due = self._in_order()
        while len(self._held) > MAX_HELD:
            due += self._give_up()
        return due

    def _in_order(self, missing: int = 0) -> list[Ordered]:
        due = []
        while self._next is not None and self._next in self._held:
            packet, arrival_s = self._held.pop(self._next)
            due.append(Ordered(packet, arrival_s, missing, self._restarted))
            self.counts["restarts"] += self._restarted
            missing, self._restarted = 0, False
            self._next += 1
        return due

    def _give_up(self) -> list[Ordered]:
        assert self._next is not None  # noqa: S101 - narrows the type: something is held
        first = min(self._held)
        missing, gone_from = first - self._next, max(self._next, first - MAX_MISORDER)
        self.counts["lost"] += missing
        self._given_up = {number for number in self._given_up if number >= first - MAX_MISORDER}
        self._given_up.update(range(gone_from, first))
        self._next = first
        return self._in_order(missing)
