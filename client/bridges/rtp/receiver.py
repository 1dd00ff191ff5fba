"""A call's audio from its RTP packets; free of sockets and clocks."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from client.bridges.calls import Audio
from client.bridges.rtp.arrival import ArrivalJitter
from client.bridges.rtp.concealment import HISTORY_S, conceal
from client.bridges.rtp.conversion import Conversion, frame_bytes_of, from_pcm, to_pcm
from client.bridges.rtp.jitter import JitterBuffer, Ordered
from client.bridges.rtp.packet import Packet
from client.bridges.rtp.payloads import Codec, Payload
from client.bridges.rtp.timeline import Gap, Place, Timeline
from client.formats import AudioFormat


@dataclass(frozen=True, slots=True)
class Pause:
    """Frames that the sender left out because nothing was to be heard."""

    frames: int


Piece = Audio | Pause
# Every name, so that one who reads them need not know which may be absent.
COUNTS = (
    *("packets", "lost", "late", "duplicate", "reordered", "malformed", "empty", "unknown_payload"),
    *("comfort_noise", "telephone_event", "payload_changes", "ssrc_changes", "clock_restarts"),
    *("lost_frames", "concealed_frames", "jitter_us"),
)


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: of waiting for a missing packet, of the longest loss that is concealed, of the longest gap."""

    reorder_s: float = 0.06
    conceal_s: float = 0.06
    longest_gap_s: float = 60.0


class Receiver:
    """Turns packets of one stream at a time into pieces of audio that keep the time of their timestamps.

    The call has the format of `first`; other payload types among `payloads` are converted to it.
    """

    def __init__(self, first: Payload, payloads: Mapping[int, Payload], patience: Patience) -> None:
        self._payloads, self._patience = payloads, patience
        self.format: AudioFormat = first.format
        self._buffer = JitterBuffer(patience.reorder_s)
        self._timeline = Timeline(patience.longest_gap_s, patience.reorder_s)
        self._conversions: dict[Payload, Conversion] = {}
        self._missing, self._restarted = 0, False  # since the last piece of audio
        self._history = bytearray()  # the end of the audio, in the call's format
        self._history_bytes = round(HISTORY_S * self.format.sample_rate_hz) * frame_bytes_of(self.format)
        self._jitter = ArrivalJitter()
        self.is_pausing = False  # the last packet described a silence: the next one may be long in coming
        self._counts: Counter[str] = Counter()

    @property
    def deadline_s(self) -> float | None:
        """When `expire` has something to do; None while nothing is held."""
        return self._buffer.deadline_s

    @property
    def counts(self) -> dict[str, int]:
        """By COUNTS, which the README explains."""
        buffered = self._buffer.counts
        measured = {
            "clock_restarts": self._timeline.restarts,
            "jitter_us": round(self._jitter.jitter_s * 1e6),
        }
        return {name: measured.get(name, self._counts[name] + buffered[name]) for name in COUNTS}

    def receive(self, packet: Packet, arrival_s: float) -> list[Piece]:
        """Takes a packet as it comes; returns the pieces whose turn it is."""
        self._counts["packets"] += 1
        payload = self._payloads.get(packet.payload_type)
        self.is_pausing = payload is not None and payload.codec is Codec.COMFORT_NOISE
        if payload is not None and payload.is_audio:  # an event keeps the timestamp of its beginning
            self._jitter.add(arrival_s, packet.timestamp, payload.clock_rate_hz)
        return self._pieces(self._buffer.put(packet, arrival_s))

    def expire(self, now_s: float) -> list[Piece]:
        """The pieces behind packets that have been waited for long enough."""
        return self._pieces(self._buffer.expire(now_s))

    def flush(self) -> list[Piece]:
        """What is held, at the end of the call."""
        return self._pieces(self._buffer.flush())

    def change_stream(self) -> list[Piece]:
        """What is held, since the packets to come are of another SSRC."""
        self._counts["ssrc_changes"] += 1
        pieces = self._pieces(self._buffer.restart())
        self._conversions.clear()
        self._jitter.restart()
        return pieces

    def _pieces(self, due: list[Ordered]) -> list[Piece]:
        return [piece for ordered in due for piece in self._heard(ordered)]

    def _heard(self, ordered: Ordered) -> list[Piece]:
        """What a packet and the time before it sound like; nothing for one that is no audio."""
        self._missing += ordered.missing
        self._restarted |= ordered.restarted
        payload = self._payloads.get(ordered.packet.payload_type)
        if payload is None or not payload.is_audio or not ordered.packet.payload:
            self._counts[_not_audio(payload)] += 1
            return []
        try:
            ticks = payload.ticks_of(ordered.packet.payload)
        except ValueError:
            self._counts["malformed"] += 1
            return []
        packet, clock_rate_hz = ordered.packet, payload.clock_rate_hz
        place = Place(packet.timestamp, ticks, clock_rate_hz, ordered.arrival_s, self._missing, self._restarted)
        gap = self._timeline.follow(place)
        self._missing, self._restarted = 0, False
        data = self._convert(payload, packet.payload)
        pieces = self._fill(gap, clock_rate_hz, data)
        self._remember(data)
        return pieces

    def _convert(self, payload: Payload, data: bytes) -> bytes:
        conversion = self._conversions.get(payload)
        if conversion is None:
            self._counts["payload_changes"] += bool(self._conversions)
            # Only the one in use is kept: what a codec remembers of another time is of no use.
            conversion = Conversion(payload, self.format)
            self._conversions = {payload: conversion}
        return conversion.convert(data)

    def _fill(self, gap: Gap, clock_rate_hz: int, data: bytes) -> list[Piece]:
        """The pieces up to and with `data`."""
        lost = gap.lost_ticks * self.format.sample_rate_hz // clock_rate_hz
        paused = gap.paused_ticks * self.format.sample_rate_hz // clock_rate_hz
        pieces: list[Piece] = []
        if 0 < lost <= self._patience.conceal_s * self.format.sample_rate_hz:
            pieces.append(self._concealed(lost, b"" if paused else data))
            lost = 0
        self._counts["lost_frames"] += lost
        if lost or paused:
            self._history.clear()  # what follows does not go on from it
        if paused:
            before_pause: list[Piece] = [Audio(b"", lost)] if lost else []
            return [*pieces, *before_pause, Pause(paused), Audio(data)]
        return [*pieces, Audio(data, lost)]

    def _concealed(self, frames: int, data: bytes) -> Audio:
        before = to_pcm(bytes(self._history), self.format)
        after = to_pcm(data[: self._history_bytes], self.format)
        made_up = from_pcm(conceal(before, after, frames, self.format.sample_rate_hz), self.format)
        self._remember(made_up)
        self._counts["concealed_frames"] += frames
        return Audio(made_up, concealed_frames=frames)

    def _remember(self, data: bytes) -> None:
        self._history += data[-self._history_bytes :]
        del self._history[: -self._history_bytes]


def _not_audio(payload: Payload | None) -> str:
    if payload is None:
        return "unknown_payload"
    match payload.codec:
        case Codec.COMFORT_NOISE:
            return "comfort_noise"
        case Codec.TELEPHONE_EVENT:
            return "telephone_event"
    return "empty"
