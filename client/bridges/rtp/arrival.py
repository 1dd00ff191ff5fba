"""How unevenly packets arrive."""

from client.bridges.rtp.jitter import signed_difference

# RFC 3550, A.8: the estimate goes a sixteenth of the way to every new difference.
GAIN = 1 / 16
# A greater difference is another clock, not the network.
LONGEST_S = 10.0


class ArrivalJitter:
    """The estimate of RFC 3550, A.8, in seconds rather than in ticks: a stream's clock may change."""

    def __init__(self) -> None:
        self.jitter_s = 0.0
        self._last: tuple[float, int, int] | None = None

    def add(self, arrival_s: float, timestamp: int, clock_rate_hz: int) -> None:
        """Takes a packet in the order of arrival."""
        last, self._last = self._last, (arrival_s, timestamp, clock_rate_hz)
        if last is None or last[2] != clock_rate_hz:
            return
        sent_s = signed_difference(timestamp, last[1], 32) / clock_rate_hz
        difference_s = abs(arrival_s - last[0] - sent_s)
        if difference_s < LONGEST_S:
            self.jitter_s += (difference_s - self.jitter_s) * GAIN

    def restart(self) -> None:
        """The next packet is of another clock."""
        self._last = None
