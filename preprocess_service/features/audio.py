"""Audio bytes to samples: every recording, whatever its format, becomes mono float32 at the telephone's 8000 Hz.

One rate for all is deliberate: the models are trained on telephone sound, and a wide-band recording must not look
different from the same call through a telephone line.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from preprocess_service.errors import InvalidAudio
from preprocess_service.features import containers, g711, mpeg

Samples = NDArray[np.float32]

TELEPHONE_RATE_HZ: Final = 8000
LOWEST_RATE_HZ: Final = 8000
HIGHEST_RATE_HZ: Final = 48000
PCM16_FULL_SCALE: Final = 32768
LARGEST_SAMPLE: Final = 16.0  # float files may overshoot full scale (1.0) by 24 dB; beyond that they are not audio
SHORTEST_S: Final = 0.1
BLOCK_S: Final = 10  # long files are decoded piece by piece, so that a compressed file cannot fill the memory
LARGEST_LOSS_S: Final = 0.2  # what a decode may fall short of the MP3 frames: codecs start up, last frames are cut


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


def duration_s(audio: bytes, audio_format: AudioFormat) -> float:
    """How long a recording lasts by its headers or, for MP3, its frames, before anything is decoded; in seconds.

    Infinite where a FLAC file does not say (its encoder wrote to a pipe). Raises InvalidAudio as `decode` does for
    bytes whose container or layout is malformed; the samples are not looked at.
    """
    if not audio:
        raise InvalidAudio(f"0 bytes of audio; at least {SHORTEST_S} s are needed")
    if audio_format.encoding is not Encoding.FILE:
        return _headerless_frames(audio, audio_format) / audio_format.sample_rate_hz
    _check_file_kind(audio)
    try:
        with soundfile.SoundFile(io.BytesIO(audio)) as file:
            _check_stated(audio_format, file.samplerate, file.channels)
            _check_layout(file.samplerate, file.channels, audio_format.channel)
            if file.format == "MP3":
                return mpeg.walk(audio, math.inf).duration_s
            if file.format == "FLAC" and not containers.flac_of_unknown_length(audio)[1]:
                return math.inf
            return float(file.frames / file.samplerate)
    except soundfile.LibsndfileError as error:
        raise InvalidAudio(f"the file cannot be decoded: {error.error_string.strip()}") from error


def resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Resamples (n,) to (round(n * to / from),) with soxr's HQ filter, as librosa does."""
    if from_hz == to_hz:
        return samples
    return np.asarray(soxr.resample(samples, from_hz, to_hz, quality="HQ"), dtype=np.float32)


def headerless_frame_bytes(audio_format: AudioFormat) -> int:
    """Bytes of one sample of every channel; raises InvalidAudio for a format without a header that is not taken."""
    encoding, rate_hz, channels = audio_format.encoding, audio_format.sample_rate_hz, audio_format.channels or 1
    if encoding is not Encoding.PCM16 and rate_hz != TELEPHONE_RATE_HZ:
        raise InvalidAudio(f"{rate_hz} Hz {encoding.value}; {encoding.value} is {TELEPHONE_RATE_HZ} Hz")
    _check_layout(rate_hz, channels, audio_format.channel)
    return channels * (2 if encoding is Encoding.PCM16 else 1)


def headerless_samples(audio: bytes, audio_format: AudioFormat) -> Samples:
    """Samples (n, channels), full scale 1.0, at the format's own rate, of whole frames of headerless audio."""
    if audio_format.encoding is Encoding.PCM16:
        pcm = np.frombuffer(audio, dtype="<i2")
    else:
        code_words = np.frombuffer(audio, dtype=np.uint8)
        decode_words = g711.decode_mulaw if audio_format.encoding is Encoding.MULAW else g711.decode_alaw
        pcm = decode_words(code_words)
    return pcm.astype(np.float32).reshape(-1, audio_format.channels or 1) / np.float32(PCM16_FULL_SCALE)


def _headerless_frames(audio: bytes, audio_format: AudioFormat) -> int:
    encoding, frame_bytes = audio_format.encoding, headerless_frame_bytes(audio_format)
    if len(audio) % frame_bytes:
        raise InvalidAudio(
            f"{len(audio)} bytes of {encoding.value}; the length must be a multiple of {frame_bytes} bytes a frame"
        )
    return len(audio) // frame_bytes


def _decode_headerless(audio: bytes, audio_format: AudioFormat, max_s: float) -> Samples:
    rate_hz = audio_format.sample_rate_hz
    _check_duration(_headerless_frames(audio, audio_format), rate_hz, max_s)
    samples = headerless_samples(audio, audio_format)
    return resample(_to_mono(samples, audio_format.channel), rate_hz, TELEPHONE_RATE_HZ)


def _decode_file(audio: bytes, audio_format: AudioFormat, max_s: float) -> Samples:
    _check_file_kind(audio)
    source, least_frames, most_frames = _decodable(audio, max_s)
    try:
        with _ForwardFile(io.BytesIO(source)) as file:
            rate_hz, channels = file.samplerate, file.channels
            _check_stated(audio_format, rate_hz, channels)
            _check_layout(rate_hz, channels, audio_format.channel)
            if file.format not in ("MP3", "FLAC"):
                least_frames = most_frames = file.frames
            _check_duration(least_frames, rate_hz, max_s)
            stream = soxr.ResampleStream(rate_hz, TELEPHONE_RATE_HZ, 1, dtype="float32", quality="HQ")
            pieces = [
                stream.resample_chunk(block, last=last) if rate_hz != TELEPHONE_RATE_HZ else block
                for block, last in _mono_blocks(file, audio_format.channel, least_frames, most_frames, max_s)
            ]
    except soundfile.LibsndfileError as error:
        raise InvalidAudio(f"the file cannot be decoded: {error.error_string.strip()}") from error
    return np.concatenate(pieces)


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile is untyped
    """A file read to its end: soundfile cuts reads at, and seeks by, the header's length where it may seek."""

    def seekable(self) -> bool:
        return False


def _decodable(audio: bytes, max_s: float) -> tuple[bytes, int, float]:
    """The file as libsndfile, which stops where a header says, decodes all of it, and the least and most frames due."""
    if audio[:4] == b"fLaC":
        source, promised = containers.flac_of_unknown_length(audio)
        return source, promised, promised or math.inf
    if audio[:4] in (b"RIFF", b"OggS"):
        return audio, 0, math.inf
    frames = mpeg.walk(audio, max_s)
    _check_duration(frames.total * frames.header.samples, frames.header.rate_hz, max_s)
    due = frames.total * frames.header.samples - round(LARGEST_LOSS_S * frames.header.rate_hz)
    return mpeg.with_true_length(audio, frames), max(0, due), math.inf


def _mono_blocks(
    file: soundfile.SoundFile, channel: Channel, least_frames: int, most_frames: float, max_s: float
) -> Iterator[tuple[Samples, bool]]:
    """Yields finite mono blocks and whether each is the last; the last may be empty."""
    total = 0
    while True:
        block = file.read(BLOCK_S * file.samplerate, dtype="float32", always_2d=True)
        _check_samples(block, total)
        total += len(block)
        _check_duration(total, file.samplerate, max_s)
        last = len(block) < BLOCK_S * file.samplerate
        if total > most_frames:
            raise InvalidAudio(f"the header promises {most_frames} samples and more are there; they must agree")
        if last and total < least_frames:
            raise InvalidAudio(_shortfall(file, least_frames, total))
        yield _to_mono(block, channel), last
        if last:
            return


def _shortfall(file: soundfile.SoundFile, least_frames: int, total: int) -> str:
    if file.format == "MP3":
        held_s = least_frames / file.samplerate + LARGEST_LOSS_S
        return f"the MP3 frames hold {held_s:.2f} s and {total / file.samplerate:.2f} s can be decoded: damaged"
    return f"the header promises {least_frames} samples and {total} are there: truncated"


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
        containers.check_wav(audio)
    elif audio[:4] == b"OggS":
        containers.check_ogg(audio)
    elif audio[:4] != b"fLaC" and not mpeg.is_mp3(audio):
        raise InvalidAudio(
            f"the audio begins with bytes {audio[:4].hex(' ')} and is no WAV, FLAC, Ogg or MP3 file; "
            "headerless audio needs its encoding and rate stated"
        )
