"""How audio bytes are to be read, and the choices that a request carries."""

import enum
from dataclasses import dataclass
from typing import Self

from preprocess_service.proto.wigeup.v1 import triage_pb2

G711_RATE_HZ = 8000


class Encoding(enum.IntEnum):
    """What the bytes are; FILE has a header that says it (WAV, FLAC, Ogg, MP3), the others have none."""

    FILE = triage_pb2.AUDIO_ENCODING_UNSPECIFIED
    MULAW = triage_pb2.AUDIO_ENCODING_MULAW
    ALAW = triage_pb2.AUDIO_ENCODING_ALAW
    PCM16 = triage_pb2.AUDIO_ENCODING_PCM16


class Channel(enum.IntEnum):
    """Which channel of a stereo recording is judged; MIX is the mean of both."""

    MIX = triage_pb2.CHANNEL_CHOICE_UNSPECIFIED
    FIRST = triage_pb2.CHANNEL_CHOICE_FIRST
    SECOND = triage_pb2.CHANNEL_CHOICE_SECOND


class Priority(enum.IntEnum):
    """URGENT overtakes waiting NORMAL requests, in the service and in Triton."""

    NORMAL = triage_pb2.PRIORITY_NORMAL
    URGENT = triage_pb2.PRIORITY_URGENT


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """Encoding, samples per second of one channel, and channels; rate and channels are 0 for a file's own.

    The service checks the values and answers InvalidRequest for those it does not take.
    """

    encoding: Encoding = Encoding.FILE
    sample_rate_hz: int = 0
    channels: int = 0

    @classmethod
    def file(cls) -> Self:
        """A recording whose header says what it is: WAV, FLAC, Ogg or MP3."""
        return cls()

    @classmethod
    def mulaw(cls, channels: int = 1) -> Self:
        """Headerless G.711 mu-law, 8000 Hz, one byte a sample."""
        return cls(Encoding.MULAW, G711_RATE_HZ, channels)

    @classmethod
    def alaw(cls, channels: int = 1) -> Self:
        """Headerless G.711 A-law, 8000 Hz, one byte a sample."""
        return cls(Encoding.ALAW, G711_RATE_HZ, channels)

    @classmethod
    def pcm16(cls, sample_rate_hz: int, channels: int = 1) -> Self:
        """Headerless signed 16-bit little-endian PCM, channels interleaved."""
        return cls(Encoding.PCM16, sample_rate_hz, channels)
