"""What lies between two pieces of audio, by their sequence numbers and their timestamps together."""

from dataclasses import dataclass

from client.bridges.rtp.jitter import signed_difference


@dataclass(frozen=True, slots=True)
class Gap:
    """Time between two pieces, in ticks of the RTP clock: first what was lost, then what the sender left out."""

    lost_ticks: int = 0
    paused_ticks: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece stands; `missing` packets of the sequence before it never came."""

    timestamp: int
    ticks: int
    clock_rate_hz: int
    arrival_s: float
    missing: int = 0
    restarted: bool = False


class Timeline:
    """Follows the pieces of one stream in order.

    A jump of the timestamp without missing packets is a pause (silence suppression), one with them a loss as far as so
    many packets reach. Less than a packet is no jump: some senders' timestamps waver. A jump back, or one longer than
    `longest_gap_s`, is another clock: then only the times of arrival tell how much went by, and differences up to
    `jitter_s` are the network's. `restarts` counts those.
    """

    def __init__(self, longest_gap_s: float, jitter_s: float) -> None:
        self._longest_gap_s, self._jitter_s = longest_gap_s, jitter_s
        self._last: Place | None = None
        self._expected = 0
        self._longest_ticks = 0  # of a packet: some senders cut theirs unevenly
        self.restarts = 0

    def follow(self, place: Place) -> Gap:
        """Takes the next piece; returns the gap before it."""
        last, self._last = self._last, place
        expected, self._expected = self._expected, place.timestamp + place.ticks
        if last is None or place.clock_rate_hz != last.clock_rate_hz:
            self._longest_ticks = 0
        self._longest_ticks = max(self._longest_ticks, place.ticks)
        if last is None:
            return Gap()
        ahead = signed_difference(place.timestamp, expected, 32)
        is_other_clock = place.restarted or place.clock_rate_hz != last.clock_rate_hz
        if not is_other_clock and -place.ticks < ahead < (1 if place.missing else place.ticks):
            self._expected = expected + place.ticks  # so that small differences that add up are seen
            return Gap()
        if is_other_clock or not 0 < ahead <= self._longest_gap_s * place.clock_rate_hz:
            self.restarts += 1
            return self._by_arrival(last, place)
        lost = min(ahead, place.missing * self._longest_ticks)
        return Gap(lost, ahead - lost)

    def _by_arrival(self, last: Place, place: Place) -> Gap:
        quiet_s = place.arrival_s - last.arrival_s - last.ticks / last.clock_rate_hz
        if quiet_s <= self._jitter_s:
            return Gap()
        return Gap(paused_ticks=round(min(quiet_s, self._longest_gap_s) * place.clock_rate_hz))
