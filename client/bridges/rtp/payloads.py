"""What the payload types of RTP stand for (RFC 3551), and how the command line adds to them."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from client.formats import G711_RATE_HZ, AudioFormat

G722_RATE_HZ = 16000
# RFC 3551, 4.5.2: by an old mistake G.722's clock has half its rate.
G722_CLOCK_HZ = 8000
# What the service takes.
LOWEST_RATE_HZ, HIGHEST_RATE_HZ, MOST_CHANNELS = 8000, 48000, 2
# With the marker they would look like RTCP (RFC 5761, 4).
_TYPES_OF_RTCP = range(64, 96)


class Codec(enum.Enum):
    """Named as in RFC 3551 and its registry."""

    PCMU = "PCMU"
    PCMA = "PCMA"
    G722 = "G722"
    L16 = "L16"
    TELEPHONE_EVENT = "telephone-event"
    COMFORT_NOISE = "CN"


@dataclass(frozen=True, slots=True)
class Payload:
    """What a payload type stands for; `clock_rate_hz` is that of its timestamps."""

    codec: Codec
    clock_rate_hz: int = G711_RATE_HZ
    channels: int = 1

    @property
    def is_audio(self) -> bool:
        """Whether it can be heard: keys pressed and descriptions of silence cannot."""
        return self.codec not in (Codec.TELEPHONE_EVENT, Codec.COMFORT_NOISE)

    @property
    def format(self) -> AudioFormat:
        """Of a call that begins with it."""
        match self.codec:
            case Codec.PCMU:
                return AudioFormat.mulaw(self.channels)
            case Codec.PCMA:
                return AudioFormat.alaw(self.channels)
            case Codec.G722:
                return AudioFormat.pcm16(G722_RATE_HZ)
            case Codec.L16:
                return AudioFormat.pcm16(self.clock_rate_hz, self.channels)
        raise ValueError(f"{self.codec.value} is no audio")

    def ticks_of(self, payload: bytes) -> int:
        """How long it lasts on the timestamps' clock; raises ValueError unless it has whole frames, one at least."""
        tick_bytes = self.channels * (2 if self.codec is Codec.L16 else 1)
        ticks, rest = divmod(len(payload), tick_bytes)
        if rest or not ticks:
            raise ValueError(f"{len(payload)} bytes of {self.codec.value}; they come in {tick_bytes}, at least once")
        return ticks


STATIC_PAYLOADS: Mapping[int, Payload] = {
    0: Payload(Codec.PCMU),
    8: Payload(Codec.PCMA),
    9: Payload(Codec.G722, G722_CLOCK_HZ),
    10: Payload(Codec.L16, 44100, 2),
    11: Payload(Codec.L16, 44100),
    13: Payload(Codec.COMFORT_NOISE),
}


def parse_mapping(text: str) -> tuple[int, Payload]:
    """Reads NUMBER=NAME[/RATE[/CHANNELS]] as SDP's rtpmap has it, such as 96=L16/16000/1; raises ValueError."""
    number, _, encoding = text.partition("=")
    name, *parameters = encoding.split("/")
    codecs = {codec.value.upper(): codec for codec in Codec}
    codec = codecs.get(name.strip().upper())
    if codec is None:
        raise ValueError(f"{text}: it is NUMBER=NAME/RATE/CHANNELS with a name of {', '.join(codecs)}")
    try:
        payload_type, values = int(number), [int(value) for value in parameters]
    except ValueError as error:
        raise ValueError(f"{text}: the payload type, the rate and the channels are numbers") from error
    if not 0 <= payload_type < 128 or payload_type in _TYPES_OF_RTCP:
        raise ValueError(f"{text}: payload types are 0 to 63 and 96 to 127")
    if len(values) > 2 or (codec is Codec.L16 and not values):
        raise ValueError(f"{text}: after the name come the rate, which L16 needs, and the channels")
    payload = Payload(codec, *values)
    _check(text, payload)
    return payload_type, payload


def _check(text: str, payload: Payload) -> None:
    if payload.codec in (Codec.PCMU, Codec.PCMA, Codec.G722) and payload.clock_rate_hz != G711_RATE_HZ:
        raise ValueError(f"{text}: the clock of {payload.codec.value} has {G711_RATE_HZ} Hz")
    if payload.is_audio and not LOWEST_RATE_HZ <= payload.clock_rate_hz <= HIGHEST_RATE_HZ:
        raise ValueError(f"{text}: {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz")
    most = 1 if payload.codec is Codec.G722 else MOST_CHANNELS
    if not 1 <= payload.channels <= most:
        raise ValueError(f"{text}: {payload.codec.value} has 1 to {most} channels")
