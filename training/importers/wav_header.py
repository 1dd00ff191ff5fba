"""Rate, depth and length of a WAV file from its header: the samples are never read.

A walk of the RIFF chunks instead of libsndfile's, which would inflate a zip member to its end to learn its size.
Source: Microsoft's RIFF WAVE.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from preprocess_service.features.audio import HIGHEST_RATE_HZ, LOWEST_RATE_HZ, SHORTEST_S
from preprocess_service.features.containers import UNKNOWN_LENGTH
from training.importers.findings import BadItem
from training.recording_files import MOST_AUDIO_BYTES, UnreadableRecording, open_recording

LONGEST_S: Final = 1800.0  # training.line.LONGEST_CLIP_S, whose import takes seconds
MOST_CHUNKS: Final = 100  # before the samples
MOST_HEADER_BYTES: Final = 16 << 20  # before the samples; a zip member is inflated as far
FMT_BYTES: Final = 16  # what is read of the `fmt ` chunk


@dataclass(frozen=True, slots=True)
class WavHeader:
    """What a WAV header says."""

    sample_rate_hz: int
    channels: int
    bit_depth: int
    duration_s: float


def read_wav_header(root: Path, path: str) -> WavHeader:
    """The header of a recording that training can read.

    Raises BadItem where the file is missing or no WAV, is truncated, or its rate, channels, length or size are outside
    of what the features take.
    """
    try:
        with open_recording(root, path) as (file, size_bytes):
            if size_bytes > MOST_AUDIO_BYTES:
                raise BadItem(f"wav is larger than {MOST_AUDIO_BYTES} bytes", f"{size_bytes} bytes")
            header = _walk(file, size_bytes)
    except UnreadableRecording as error:
        raise BadItem("wav cannot be read", str(error)) from error
    if not LOWEST_RATE_HZ <= header.sample_rate_hz <= HIGHEST_RATE_HZ:
        rule = f"wav rate is not {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz"
        raise BadItem(rule, f"{header.sample_rate_hz} Hz")
    if header.channels not in (1, 2):
        raise BadItem("wav is neither mono nor stereo", f"{header.channels} channels")
    if header.duration_s < SHORTEST_S:
        raise BadItem(f"wav is shorter than {SHORTEST_S} s", f"{header.duration_s:.3f} s")
    if header.duration_s > LONGEST_S:
        raise BadItem(f"wav is longer than {LONGEST_S:g} s", f"{header.duration_s:.3f} s")
    return header


def _walk(file: IO[bytes], size_bytes: int) -> WavHeader:
    start = file.read(12)
    if start[:4] != b"RIFF" or start[8:] != b"WAVE":
        raise BadItem("file is not a WAV file", f"begins with {start[:4].hex(' ') or 'nothing'}; {size_bytes} bytes")
    fmt, at = b"", 12
    for _ in range(MOST_CHUNKS):
        head = file.read(8)
        at += 8
        if len(head) < 8:
            break
        name, size = struct.unpack("<4sI", head)
        if name == b"data":
            return _header(fmt, size, size_bytes - at)
        if size > size_bytes - at:
            break
        if name == b"fmt ":
            fmt = file.read(min(size, FMT_BYTES))
        at += size + size % 2
        if at > MOST_HEADER_BYTES:
            raise BadItem("wav has no samples", f"no `data` chunk in its first {MOST_HEADER_BYTES} bytes")
        file.seek(at)
    raise BadItem("wav has no samples", "the header has no `data` chunk: truncated, or no WAV")


def _header(fmt: bytes, size: int, left: int) -> WavHeader:
    if len(fmt) < 16:
        raise BadItem("wav header is malformed", f"a `fmt ` chunk of {len(fmt)} bytes; at least 16 are needed")
    _, channels, rate_hz, _, block_bytes, bits = struct.unpack_from("<HHIIHH", fmt)
    if not (rate_hz and block_bytes):
        raise BadItem("wav header is malformed", f"{rate_hz} Hz, {block_bytes} bytes a frame")
    if size == UNKNOWN_LENGTH:
        size = left
    if size > left:
        raise BadItem("wav is truncated", f"the header promises {size} bytes of samples and {left} are there")
    return WavHeader(rate_hz, channels, bits, size // block_bytes / rate_hz)
