"""From studio speech to what a telephone delivers: room, level, background, clipping, band, G.711."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from typing import Final, cast

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy import signal

from preprocess_service.features.g711 import CodeWords, encode_mulaw

Samples = NDArray[np.float32]

LINE_RATE_HZ: Final = 8_000
PASS_BAND_HZ: Final = (300.0, 3_400.0)
MAX_ECHO_S: Final = 0.6

_FRAME: Final = LINE_RATE_HZ // 50  # 20 ms, for measuring level
_ACTIVE_BELOW_PEAK_DB: Final = 30.0
_PCM_FULL_SCALE: Final = 32_767
_WAVE_FORMAT_MULAW: Final = 7


def to_line_rate(samples: Samples, rate_hz: int) -> Samples:
    """(n,) at `rate_hz` to float32 at LINE_RATE_HZ."""
    return cast("Samples", soxr.resample(samples, rate_hz, LINE_RATE_HZ, quality="HQ"))


def from_db(gain_db: float) -> float:
    """An amplitude factor."""
    return float(10 ** (gain_db / 20))


def active_rms(samples: Samples) -> float:
    """RMS over the 20 ms frames within 30 dB of the loudest; 0.0 for silence or under one frame."""
    frames = samples[: samples.size // _FRAME * _FRAME].reshape(-1, _FRAME)
    powers = np.mean(np.square(frames, dtype=np.float64), axis=1)
    if not powers.any():
        return 0.0
    return float(np.sqrt(powers[powers >= powers.max() * 10 ** (-_ACTIVE_BELOW_PEAK_DB / 10)].mean()))


def tilted(samples: Samples, tilt_db: float) -> Samples:
    """Samples with `tilt_db` more gain at the highest frequency than at 0 Hz, by one zero: a raised voice has more in
    the upper harmonics."""
    ratio = from_db(tilt_db)
    return np.asarray(signal.lfilter([1.0, (1 - ratio) / (1 + ratio)], [1.0], samples), dtype=np.float32)


def impulse_response(rt60_s: float, rng: np.random.Generator) -> Samples:
    """A room: a direct path and an exponentially decaying noise tail of `rt60_s`, float32 at LINE_RATE_HZ.

    Raises ValueError for a reverberation time outside 0-MAX_ECHO_S.
    """
    if not 0 < rt60_s <= MAX_ECHO_S:
        raise ValueError(f"rt60_s {rt60_s} must be above 0 and at most {MAX_ECHO_S}")
    time_s = np.arange(round(rt60_s * LINE_RATE_HZ)) / LINE_RATE_HZ
    tail = rng.standard_normal(time_s.size) * 10 ** (-3 * time_s / rt60_s)
    tail *= from_db(rng.uniform(-12, -2)) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    return tail.astype(np.float32)


def echoed(samples: Samples, rt60_s: float, rng: np.random.Generator) -> Samples:
    """`samples` (n,) in a room, the tail included: (n + rt60_s * rate - 1,)."""
    return signal.oaconvolve(samples, impulse_response(rt60_s, rng)).astype(np.float32)


def overdriven(samples: Samples, overdrive_db: float) -> Samples:
    """`samples` with the top `overdrive_db` of its peaks cut off."""
    limit = float(np.abs(samples).max()) * from_db(-overdrive_db)
    return np.clip(samples, -limit, limit)


@cache
def _pass_band() -> NDArray[np.float64]:
    return signal.butter(3, PASS_BAND_HZ, "bandpass", fs=LINE_RATE_HZ, output="sos")


def telephone(samples: Samples, *, band_limited: bool) -> CodeWords:
    """float (n,) in [-1, 1] at LINE_RATE_HZ to mu-law code words (n,); what is beyond full scale clips."""
    if band_limited:
        samples = signal.sosfilt(_pass_band(), samples).astype(np.float32)
    return encode_mulaw(np.rint(np.clip(samples, -1, 1) * _PCM_FULL_SCALE).astype(np.int16))


def write_mulaw(path: Path, code_words: CodeWords) -> None:
    """Write an 8 kHz mono mu-law WAV; the file appears complete or not at all."""
    data = code_words.tobytes()
    padded = data + b"\0" * (len(data) % 2)
    form = struct.pack("<HHIIHHH", _WAVE_FORMAT_MULAW, 1, LINE_RATE_HZ, LINE_RATE_HZ, 1, 8, 0)
    chunks = ((b"fmt ", form), (b"fact", struct.pack("<I", len(data))))
    head = b"".join(name + struct.pack("<I", len(body)) + body for name, body in chunks)
    body = b"WAVE" + head + b"data" + struct.pack("<I", len(data)) + padded
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    partial.replace(path)
