"""Audio bytes of every kind that the service takes, written by libsndfile or by hand."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

Samples = NDArray[np.float32]

ROOT = Path(__file__).resolve().parents[2]
# Real recordings, where the checkout has them beside it; the tests need none.
REAL_RECORDINGS = sorted((ROOT.parent / "shared/audio").rglob("*.ogg"))


def speech_like(seconds: float, rate_hz: int, seed: int = 0) -> Samples:
    """A voiced, gliding, amplitude-modulated sound with breath noise: (n,) float32."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    pitch_hz = 140 + 40 * np.sin(2 * np.pi * 0.7 * t + seed)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    voiced = sum(np.sin(k * phase) / k for k in range(1, 12))
    loudness = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * t)
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return np.asarray(0.15 * loudness * voiced + 0.01 * noise, dtype=np.float32)


def file_bytes(samples: NDArray[np.float32], rate_hz: int, container: str, subtype: str | None = None) -> bytes:
    """Samples (n,) or (n, channels) as a file of libsndfile's container and subtype."""
    buffer = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(buffer, "w", rate_hz, channels, subtype, format=container) as file:
        # Piece by piece: libsndfile's Vorbis encoder overflows the stack on a long recording in one piece.
        for start in range(0, len(samples), 4000):
            file.write(samples[start : start + 4000])
    return buffer.getvalue()


def wav_header(*, channels: int = 1, rate_hz: int = 8000, bits: int = 16, data_bytes: int, tag: int = 1) -> bytes:
    """A WAV header that says what it is told, true or not."""
    block = channels * bits // 8
    chunk = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * block, block, bits)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + data_bytes & 0xFFFFFFFF)
        + b"WAVEfmt "
        + struct.pack("<I", len(chunk))
        + chunk
        + b"data"
        + struct.pack("<I", data_bytes)
    )


def with_flac_length(flac: bytes, samples: int) -> bytes:
    """A FLAC file whose STREAMINFO promises what it is told; 0 is what an encoder writes to a pipe."""
    return flac[:21] + bytes([flac[21] & 0xF0 | samples >> 32]) + struct.pack(">I", samples & 0xFFFFFFFF) + flac[26:]


def with_xing_frames(mp3: bytes, frames: int) -> bytes:
    """A variable-bit-rate MP3 file whose Xing header promises what it is told."""
    at = mp3.index(b"Xing") + 8
    return mp3[:at] + struct.pack(">I", frames) + mp3[at + 4 :]


def ogg_pages(ogg: bytes) -> list[bytes]:
    """The pages of an Ogg file, each whole."""
    at, pages = 0, []
    while at < len(ogg):
        body = at + 27 + ogg[at + 26]
        end = body + sum(ogg[at + 27 : body])
        pages.append(ogg[at:end])
        at = end
    return pages
