"""From the payloads on the wire to a call's audio."""

import av
import numpy as np

from client.bridges.rtp.concealment import Pcm
from client.bridges.rtp.payloads import Codec, Payload
from client.formats import AudioFormat, Encoding
from preprocess_service.features import g711


def frame_bytes_of(audio_format: AudioFormat) -> int:
    """Bytes of one sample of every channel."""
    return audio_format.channels * (2 if audio_format.encoding is Encoding.PCM16 else 1)


def to_pcm(data: bytes, audio_format: AudioFormat) -> Pcm:
    """A call's audio as samples (frames, channels)."""
    match audio_format.encoding:
        case Encoding.MULAW:
            samples = g711.decode_mulaw(np.frombuffer(data, np.uint8))
        case Encoding.ALAW:
            samples = g711.decode_alaw(np.frombuffer(data, np.uint8))
        case _:
            samples = np.frombuffer(data, "<i2").astype(np.int16)
    return samples.reshape(-1, audio_format.channels)


def from_pcm(samples: Pcm, audio_format: AudioFormat) -> bytes:
    """Samples (frames, channels) as a call's audio."""
    line = np.ascontiguousarray(samples).reshape(-1)
    match audio_format.encoding:
        case Encoding.MULAW:
            return g711.encode_mulaw(line).tobytes()
        case Encoding.ALAW:
            return g711.encode_alaw(line).tobytes()
        case _:
            return line.astype("<i2").tobytes()


def silence(frames: int, audio_format: AudioFormat) -> bytes:
    """Frames of nothing."""
    return from_pcm(np.zeros((1, audio_format.channels), np.int16), audio_format) * frames


class Conversion:
    """Turns one sender's payloads of one type into audio in the call's format; of one stream, since codecs remember."""

    def __init__(self, payload: Payload, target: AudioFormat) -> None:
        self._payload, self._target = payload, target
        self._source = payload.format
        # What comes as the call has it goes through untouched.
        self._is_same = payload.codec in (Codec.PCMU, Codec.PCMA) and self._source == target
        self._g722 = _g722_decoder() if payload.codec is Codec.G722 else None
        is_other_rate = self._source.sample_rate_hz != target.sample_rate_hz
        self._resampling = Resampling(self._source.sample_rate_hz, target) if is_other_rate else None

    def convert(self, payload: bytes) -> bytes:
        """One packet's audio in the call's format, as long as the packet."""
        if self._is_same:
            return payload
        samples = _with_channels(self._decoded(payload), self._target.channels)
        if self._resampling is not None:
            samples = self._resampling.resample(samples)
        return from_pcm(samples, self._target)

    def _decoded(self, payload: bytes) -> Pcm:
        if self._g722 is not None:
            frames = self._g722.decode(av.Packet(payload))
            decoded: Pcm = np.concatenate([frame.to_ndarray() for frame in frames], axis=1).astype(np.int16, copy=False)
            return decoded.reshape(-1, 1)
        if self._payload.codec is Codec.L16:
            return np.frombuffer(payload, ">i2").astype(np.int16).reshape(-1, self._payload.channels)
        return to_pcm(payload, self._source)


def _g722_decoder() -> av.AudioCodecContext:
    return av.CodecContext.create("g722", "r")


def _with_channels(samples: Pcm, channels: int) -> Pcm:
    if samples.shape[1] == channels:
        return samples
    if channels == 1:
        mean: Pcm = np.rint(samples.mean(axis=1, keepdims=True)).astype(np.int16)
        return mean
    return np.repeat(samples, channels, axis=1)


class Resampling:
    """Changes the rate of a stream; what comes out is as long as what went in, and late by the filter's delay."""

    def __init__(self, rate_hz: int, target: AudioFormat) -> None:
        self._rate_hz, self._target = rate_hz, target
        self._layout = "mono" if target.channels == 1 else "stereo"
        self._resampler = av.AudioResampler(format="s16", layout=self._layout, rate=target.sample_rate_hz)
        self._ready = np.zeros((0, target.channels), np.int16)
        self._taken = self._given = 0

    def resample(self, samples: Pcm) -> Pcm:
        """Samples (frames, channels) at the target's rate; the delay is made up for by silence at the beginning."""
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout=self._layout)
        frame.sample_rate = self._rate_hz
        made = [each.to_ndarray().reshape(-1, self._target.channels) for each in self._resampler.resample(frame)]
        self._ready = np.concatenate([self._ready, *made])
        self._taken += len(samples)
        due = self._taken * self._target.sample_rate_hz // self._rate_hz - self._given
        self._given += due
        silent = np.zeros((max(0, due - len(self._ready)), self._target.channels), np.int16)
        resampled = np.concatenate([silent, self._ready[:due]])[:due]
        self._ready = self._ready[due - len(silent) :]
        return resampled
