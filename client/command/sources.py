"""Where `wigeup stream` takes its audio from: a recording, standard input or the microphone, in pieces of 100 ms."""

import argparse
import importlib
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from client.command import options
from client.command.plan import STDIN, UsageError
from client.formats import AudioFormat, Encoding
from client.live.gathering import frame_bytes_of
from client.recordings import format_of

PIECE_S = 0.1
MICROPHONE = "mic"
MICROPHONE_RATE_HZ = 16000
EXTENSIBLE = 0xFFFE  # a WAVE format tag that says: the tag comes later
_ENCODING_OF_TAG_AND_BITS = {(1, 16): Encoding.PCM16, (6, 8): Encoding.ALAW, (7, 8): Encoding.MULAW}
UNKNOWN_LENGTH = 0xFFFFFFFF  # what recorders that write to a pipe put into a WAV header


@dataclass(frozen=True, slots=True)
class Source:
    """Audio piece by piece; of a recording with its length. What is live sets its own pace."""

    format: AudioFormat
    pieces: Iterator[bytes]
    duration_s: float | None = None

    @property
    def is_live(self) -> bool:
        """Whether the audio comes into being just now."""
        return self.duration_s is None


def open_source(args: argparse.Namespace) -> Source:
    """What the command line names; raises UsageError, OSError, or ValueError for a file that is no recording."""
    if args.source == MICROPHONE:
        return Source(AudioFormat.pcm16(MICROPHONE_RATE_HZ), _microphone())
    given = options.audio_format(args)
    if args.source == STDIN:
        audio_format = given or AudioFormat.mulaw()
        # Unbuffered: what a pipe has goes out at once, and a read that never ends holds no lock when the process does.
        return Source(audio_format, _pieces(getattr(sys.stdin.buffer, "raw", sys.stdin.buffer), audio_format))
    path = Path(args.source)
    audio_format = format_of(path, given)
    if audio_format.encoding is Encoding.FILE:
        return _open_wav(path) or _open_any(path)
    return _headerless(path, audio_format, 0, path.stat().st_size)


def _headerless(path: Path, audio_format: AudioFormat, start: int, size_bytes: int) -> Source:
    duration_s = size_bytes / frame_bytes_of(audio_format) / audio_format.sample_rate_hz

    def pieces() -> Iterator[bytes]:
        with path.open("rb") as stream:
            stream.seek(start)
            yield from _pieces(stream, audio_format, size_bytes)

    return Source(audio_format, pieces(), duration_s)


def _pieces(stream: BinaryIO, audio_format: AudioFormat, size_bytes: int | None = None) -> Iterator[bytes]:
    """Whole frames to the end, or so many bytes of them; a frame that is cut off at the end is left out."""
    frame_bytes = frame_bytes_of(audio_format)
    piece_bytes = round(PIECE_S * audio_format.sample_rate_hz) * frame_bytes
    left, rest = size_bytes, b""
    while data := stream.read(piece_bytes if left is None else min(piece_bytes, left)):
        left = None if left is None else left - len(data)
        data = rest + data
        whole = len(data) // frame_bytes * frame_bytes
        rest = data[whole:]
        if whole:
            yield data[:whole]


def _open_wav(path: Path) -> Source | None:
    """A WAV file of 16-bit or G.711 samples as it is, without decoding; None for anything else."""
    with path.open("rb") as stream:
        riff = stream.read(12)
        if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
            return None
        audio_format: AudioFormat | None = None
        while len(header := stream.read(8)) == 8:
            name, size_bytes = struct.unpack("<4sI", header)
            if name == b"data":
                there = path.stat().st_size - stream.tell()
                size_bytes = there if size_bytes == UNKNOWN_LENGTH else min(size_bytes, there)
                return _headerless(path, audio_format, stream.tell(), size_bytes) if audio_format else None
            next_chunk = stream.tell() + size_bytes + size_bytes % 2
            if name == b"fmt ":
                audio_format = _wav_format(stream.read(size_bytes))
            stream.seek(next_chunk)
    return None


def _wav_format(chunk: bytes) -> AudioFormat | None:
    if len(chunk) < 16:
        return None
    tag, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == EXTENSIBLE and len(chunk) >= 26:
        (tag,) = struct.unpack_from("<H", chunk, 24)
    encoding = _ENCODING_OF_TAG_AND_BITS.get((tag, bits))
    return None if encoding is None else AudioFormat(encoding, rate_hz, channels)


def _open_any(path: Path) -> Source:
    """Whatever libsndfile reads, decoded to 16 bits."""
    soundfile = _package("soundfile", f"reading {path.name}")
    try:
        recording = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} is no recording: {error}") from error
    audio_format = AudioFormat.pcm16(recording.samplerate, recording.channels)

    def pieces() -> Iterator[bytes]:
        with recording:
            for block in recording.blocks(round(PIECE_S * recording.samplerate), dtype="int16"):
                yield block.tobytes()

    return Source(audio_format, pieces(), recording.frames / recording.samplerate)


def _microphone() -> Iterator[bytes]:
    sounddevice = _package("sounddevice", "the microphone")
    frames = round(PIECE_S * MICROPHONE_RATE_HZ)
    with sounddevice.RawInputStream(MICROPHONE_RATE_HZ, frames, channels=1, dtype="int16") as stream:
        while True:
            data, _has_overflowed = stream.read(frames)
            yield bytes(data)


def _package(name: str, purpose: str) -> Any:
    """A package that the client does without elsewhere; raises UsageError where it is missing."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: its native library is missing
        raise UsageError(f"{purpose} needs the package {name}: {error}") from error
