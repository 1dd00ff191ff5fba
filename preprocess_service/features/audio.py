"""Audio bytes to samples: every recording, whatever its format, becomes mono float32 at the telephone's 8000 Hz.

One rate for all is deliberate: the models are trained on telephone sound, and a wide-band recording must not look
different from the same call through a telephone line.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from preprocess_service.errors import InvalidAudio
from preprocess_service.features import g711, mpeg

Samples = NDArray[np.float32]

TELEPHONE_RATE_HZ: Final = 8000
LOWEST_RATE_HZ: Final = 8000
HIGHEST_RATE_HZ: Final = 48000
PCM16_FULL_SCALE: Final = 32768
LARGEST_SAMPLE: Final = 16.0  # float files may overshoot full scale (1.0) by 24 dB; beyond that they are not audio
SHORTEST_S: Final = 0.1
BLOCK_S: Final = 10  # long files are decoded piece by piece, so that a compressed file cannot fill the memory
UNKNOWN_LENGTH: Final = 0xFFFFFFFF  # what recorders that write to a pipe put into a WAV header


class Encoding(Enum):
    """How audio bytes are to be read. FILE: by their header (WAV, FLAC, Ogg, MP3); the others have none."""

    FILE = "file"
    MULAW = "mu-law"
    ALAW = "A-law"
    PCM16 = "PCM16"


class Channel(Enum):
    """Which channel of a stereo recording is used; MIX is the mean of both."""

    MIX = "mix"
    FIRST = "first"
    SECOND = "second"


@dataclass(frozen=True)
class AudioFormat:
    """The format that a caller states; a rate or channel count of 0 is unstated."""

    encoding: Encoding = Encoding.FILE
    sample_rate_hz: int = 0
    channels: int = 0
    channel: Channel = Channel.MIX


def decode(audio: bytes, audio_format: AudioFormat, max_s: float) -> Samples:
    """Decodes a recording to mono samples (n,) float32 at 8000 Hz, full scale 1.0.

    Raises InvalidAudio where the bytes break the stated format, hold a sample that is not finite, or last less than
    SHORTEST_S or longer than `max_s` seconds.
    """
    if not audio:
        raise InvalidAudio(f"0 bytes of audio; at least {SHORTEST_S} s are needed")
    decode_bytes = _decode_file if audio_format.encoding is Encoding.FILE else _decode_headerless
    samples = decode_bytes(audio, audio_format, max_s)
    if len(samples) < SHORTEST_S * TELEPHONE_RATE_HZ:
        raise InvalidAudio(f"{len(samples) / TELEPHONE_RATE_HZ:g} s of audio; at least {SHORTEST_S} s are needed")
    return samples


def resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Resamples (n,) to (round(n * to / from),) with soxr's HQ filter, as librosa does."""
    if from_hz == to_hz:
        return samples
    return np.asarray(soxr.resample(samples, from_hz, to_hz, quality="HQ"), dtype=np.float32)


def _decode_headerless(audio: bytes, audio_format: AudioFormat, max_s: float) -> Samples:
    encoding, rate_hz, channels = audio_format.encoding, audio_format.sample_rate_hz, audio_format.channels or 1
    if encoding is not Encoding.PCM16 and rate_hz != TELEPHONE_RATE_HZ:
        raise InvalidAudio(f"{rate_hz} Hz {encoding.value}; {encoding.value} is {TELEPHONE_RATE_HZ} Hz")
    _check_layout(rate_hz, channels, audio_format.channel)
    frame_bytes = channels * (2 if encoding is Encoding.PCM16 else 1)
    if len(audio) % frame_bytes:
        raise InvalidAudio(
            f"{len(audio)} bytes of {encoding.value}; the length must be a multiple of {frame_bytes} bytes a frame"
        )
    _check_duration(len(audio) // frame_bytes, rate_hz, max_s)
    if encoding is Encoding.PCM16:
        pcm = np.frombuffer(audio, dtype="<i2")
    else:
        code_words = np.frombuffer(audio, dtype=np.uint8)
        pcm = g711.decode_mulaw(code_words) if encoding is Encoding.MULAW else g711.decode_alaw(code_words)
    samples = pcm.astype(np.float32).reshape(-1, channels) / np.float32(PCM16_FULL_SCALE)
    return resample(_to_mono(samples, audio_format.channel), rate_hz, TELEPHONE_RATE_HZ)


def _decode_file(audio: bytes, audio_format: AudioFormat, max_s: float) -> Samples:
    _check_file_kind(audio)
    try:
        with soundfile.SoundFile(io.BytesIO(audio)) as file:
            rate_hz, channels = file.samplerate, file.channels
            _check_stated(audio_format, rate_hz, channels)
            _check_layout(rate_hz, channels, audio_format.channel)
            if file.format != "MP3":  # an MP3 header's length is an estimate
                _check_duration(file.frames, rate_hz, max_s)
            stream = soxr.ResampleStream(rate_hz, TELEPHONE_RATE_HZ, 1, dtype="float32", quality="HQ")
            promised = file.frames if file.format == "FLAC" else 0
            pieces = [
                stream.resample_chunk(block, last=last) if rate_hz != TELEPHONE_RATE_HZ else block
                for block, last in _mono_blocks(file, audio_format.channel, promised, max_s)
            ]
    except soundfile.LibsndfileError as error:
        raise InvalidAudio(f"the file cannot be decoded: {error.error_string.strip()}") from error
    return np.concatenate(pieces)


def _mono_blocks(
    file: soundfile.SoundFile, channel: Channel, promised_frames: int, max_s: float
) -> Iterator[tuple[Samples, bool]]:
    """Yields finite mono blocks and whether each is the last; the last may be empty."""
    total = 0
    while True:
        block = file.read(BLOCK_S * file.samplerate, dtype="float32", always_2d=True)
        _check_samples(block, total)
        total += len(block)
        _check_duration(total, file.samplerate, max_s)
        last = len(block) < BLOCK_S * file.samplerate
        if last and total < promised_frames:
            raise InvalidAudio(f"the header promises {promised_frames} samples and {total} are there: truncated")
        yield _to_mono(block, channel), last
        if last:
            return


def _to_mono(samples: Samples, channel: Channel) -> Samples:
    """(n, channels) to (n,)."""
    if samples.shape[1] == 1:
        return np.ascontiguousarray(samples[:, 0])
    if channel is Channel.MIX:
        return np.asarray(samples.mean(axis=1, dtype=np.float32))
    return np.ascontiguousarray(samples[:, 0 if channel is Channel.FIRST else 1])


def _check_samples(block: Samples, offset: int) -> None:
    # `not (… <= …)` is also true where a sample is not a number.
    if block.size and not np.abs(block).max() <= LARGEST_SAMPLE:
        at = int(np.argmax(~(np.abs(block).max(axis=1) <= LARGEST_SAMPLE)))
        value = float(block[at][np.argmax(~(np.abs(block[at]) <= LARGEST_SAMPLE))])
        raise InvalidAudio(
            f"sample {offset + at} is {value:g}; samples must be finite and within ±{LARGEST_SAMPLE:g} (full scale 1)"
        )


def _check_stated(stated: AudioFormat, rate_hz: int, channels: int) -> None:
    if stated.sample_rate_hz not in (0, rate_hz):
        raise InvalidAudio(f"{stated.sample_rate_hz} Hz stated, {rate_hz} Hz in the file's header; they must agree")
    if stated.channels not in (0, channels):
        raise InvalidAudio(f"{stated.channels} channels stated, {channels} in the file's header; they must agree")


def _check_layout(rate_hz: int, channels: int, channel: Channel) -> None:
    if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        raise InvalidAudio(f"{rate_hz} Hz; the rate must be {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz")
    if channels not in (1, 2):
        raise InvalidAudio(f"{channels} channels; audio must be mono or stereo")
    if channel is Channel.SECOND and channels == 1:
        raise InvalidAudio("the second channel was asked for; the audio has 1 channel")


def _check_duration(frames: int, rate_hz: int, max_s: float) -> None:
    if frames > max_s * rate_hz:
        raise InvalidAudio(f"{frames / rate_hz:.1f} s of audio; at most {max_s:g} s are taken in one request")


def _check_file_kind(audio: bytes) -> None:
    if audio[:4] == b"RIFF" and audio[8:12] == b"WAVE":
        _check_wav(audio)
    elif audio[:4] not in (b"fLaC", b"OggS") and not mpeg.is_mp3(audio):
        raise InvalidAudio(
            f"the audio begins with bytes {audio[:4].hex(' ')} and is no WAV, FLAC, Ogg or MP3 file; "
            "headerless audio needs its encoding and rate stated"
        )


def _check_wav(audio: bytes) -> None:
    """Walks the RIFF chunks, since libsndfile silently accepts headers that promise more than there is."""
    at, has_format = 12, False
    while at + 8 <= len(audio):
        name, size = struct.unpack_from("<4sI", audio, at)
        left = len(audio) - at - 8
        if name == b"data":
            if size > left and size != UNKNOWN_LENGTH:
                raise InvalidAudio(f"the WAV header promises {size} bytes of samples and {left} are there: truncated")
            if not has_format:
                raise InvalidAudio("the WAV file has no `fmt ` chunk before its `data` chunk")
            return
        if name == b"fmt ":
            _check_wav_format(audio[at + 8 : at + 8 + size])
            has_format = True
        at += 8 + size + size % 2
    raise InvalidAudio("the WAV file has no `data` chunk: truncated, or no WAV")


def _check_wav_format(chunk: bytes) -> None:
    if len(chunk) < 16:
        raise InvalidAudio(f"the WAV `fmt ` chunk has {len(chunk)} bytes; at least 16 are needed")
    tag, channels, rate_hz, _, block_bytes, bits = struct.unpack_from("<HHIIHH", chunk)
    if not rate_hz:
        raise InvalidAudio(f"0 Hz in the WAV header; the rate must be {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz")
    linear = tag in (1, 3, 0xFFFE)  # PCM, float, extensible
    if linear and block_bytes != channels * ((bits + 7) // 8):
        raise InvalidAudio(
            f"the WAV header states {channels} channels of {bits} bits and {block_bytes} bytes a frame; they must agree"
        )
