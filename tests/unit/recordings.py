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
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=subtype)
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
