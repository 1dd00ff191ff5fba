"""Log-mel spectrograms, numerically librosa's (`feature.melspectrogram`, `power_to_db`), several times as fast.

Source of the definitions: librosa 0.11; the mel scale is Slaney's (Auditory Toolbox, 1998).
"""

from __future__ import annotations

import threading
from typing import Final

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import signal, sparse

from preprocess_service.features.audio import Samples

Spectrogram = NDArray[np.float32]

SAMPLE_RATE_HZ: Final = 22050
FFT_SIZE: Final = 2048
HOP: Final = 512
BANDS: Final = 128
BINS: Final = FFT_SIZE // 2 + 1
TOP_DB: Final = 80.0
SMALLEST_POWER: Final = 1e-10

MULTIMODAL_WINDOW_S: Final = 7.0
MULTIMODAL_FRAMES: Final = 300
MULTIMODAL_SAMPLES: Final = round(MULTIMODAL_WINDOW_S * SAMPLE_RATE_HZ)

_LINEAR_HZ_PER_MEL: Final = 200 / 3
_LOG_FROM_HZ: Final = 1000.0  # the scale is linear below and logarithmic above
_LOG_FROM_MEL: Final = _LOG_FROM_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP: Final = np.log(6.4) / 27


def frame_count(n_samples: int) -> int:
    """Frames of a centred transform over that many samples."""
    return 1 + n_samples // HOP


def hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's mel scale."""
    above = np.log(np.maximum(hz, _LOG_FROM_HZ) / _LOG_FROM_HZ) / _LOG_STEP + _LOG_FROM_MEL
    return np.where(hz >= _LOG_FROM_HZ, above, hz / _LINEAR_HZ_PER_MEL)


def mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `hz_to_mel`."""
    above = _LOG_FROM_HZ * np.exp(_LOG_STEP * (mel - _LOG_FROM_MEL))
    return np.where(mel >= _LOG_FROM_MEL, above, mel * _LINEAR_HZ_PER_MEL)


def mel_filters() -> NDArray[np.float32]:
    """Triangular filters (BANDS, BINS) from 0 Hz to the Nyquist frequency, each of unit area per Hz."""
    nyquist_mel = hz_to_mel(np.array(SAMPLE_RATE_HZ / 2))
    edges_hz = mel_to_hz(np.linspace(0, float(nyquist_mel), BANDS + 2))
    bins_hz = np.fft.rfftfreq(FFT_SIZE, 1 / SAMPLE_RATE_HZ)
    widths_hz = np.diff(edges_hz)
    rising = (bins_hz - edges_hz[:-2, None]) / widths_hz[:-1, None]
    falling = (edges_hz[2:, None] - bins_hz) / widths_hz[1:, None]
    areas = 2 / (edges_hz[2:] - edges_hz[:-2])
    return (np.maximum(0, np.minimum(rising, falling)) * areas[:, None]).astype(np.float32)


_FILTERS: Final = sparse.csr_array(mel_filters())
_HANN: Final = signal.get_window("hann", FFT_SIZE, fftbins=True).astype(np.float32)
# Frames that are worked on at once. A block, its spectrum and its power stay in a core's own cache; all 302 frames of a
# window at once would go through memory five times.
BLOCK: Final = 64
_HALF: Final = FFT_SIZE // 2


class _Buffers(threading.local):
    """Per-thread working memory: fresh pages for every call would cost more than the arithmetic."""

    def __init__(self) -> None:
        self.frames = np.empty((BLOCK, FFT_SIZE), np.float32)
        self.power, self.part = np.empty((2, BLOCK, BINS), np.float32)
        self.by_bin = np.empty(BINS * BLOCK, np.float32)


_buffers = _Buffers()


def mel_power(samples: Samples) -> Spectrogram:
    """Mel power spectrogram of samples (n,) at 22,050 Hz: (BANDS, 1 + n // HOP)."""
    return frames_power(np.pad(samples, _HALF))


def frames_power(samples: Samples) -> Spectrogram:
    """Mel power (BANDS, frames) of all whole frames of FFT_SIZE samples, one beginning every HOP samples (n,)."""
    frames = frames_of(samples)
    found = np.empty((BANDS, len(frames)), np.float32)
    for start in range(0, len(frames), BLOCK):
        block = frames[start : start + BLOCK]
        found[:, start : start + len(block)] = block_power(block)
    return found


def frames_of(samples: Samples) -> Samples:
    """All whole frames (frames, FFT_SIZE) of samples (n,), one beginning every HOP, as a view."""
    return sliding_window_view(samples, FFT_SIZE)[::HOP]


def block_power(block: Samples) -> Spectrogram:
    """Mel power (BANDS, n) of at most BLOCK frames (n, FFT_SIZE)."""
    count = len(block)
    windowed = np.multiply(block, _HANN, out=_buffers.frames[:count])
    spectrum = scipy.fft.rfft(windowed, axis=1, overwrite_x=True)  # (n, BINS) complex64
    power = np.square(spectrum.real, out=_buffers.power[:count])
    power += np.square(spectrum.imag, out=_buffers.part[:count])
    # Turned round in one go for the sparse product, which takes whole rows: turning while squaring costs twice as much.
    by_bin = _buffers.by_bin[: BINS * count].reshape(BINS, count)
    np.copyto(by_bin, power.T)
    return np.asarray(_FILTERS @ by_bin, dtype=np.float32)


def power_to_db(power: Spectrogram) -> Spectrogram:
    """Decibels against the greatest power, none below -TOP_DB; all 0 where there is no sound at all."""
    return against_loudest(decibels(power))


def decibels(power: Spectrogram) -> Spectrogram:
    """Decibels against a power of 1; no power counts as less than SMALLEST_POWER."""
    found = np.log10(np.maximum(power, np.float32(SMALLEST_POWER)))
    found *= np.float32(10)
    return found


def against_loudest(absolute: Spectrogram) -> Spectrogram:
    """Decibels against the greatest of them, none below -TOP_DB; overwrites its argument."""
    absolute -= absolute.max()
    return np.maximum(absolute, np.float32(-TOP_DB), out=absolute)


def multimodal_mel(samples: Samples) -> Spectrogram:
    """The input of `multimodal`: (BANDS, MULTIMODAL_FRAMES) dB of at most 7 s at 22,050 Hz, silence after the end."""
    heard = samples[:MULTIMODAL_SAMPLES]
    whole = frame_count(MULTIMODAL_SAMPLES)
    # The frames that sound reaches; all others have no power at all, which need not be computed.
    count = min(whole, frames_reached(len(heard)))
    power = np.zeros((BANDS, whole), np.float32)
    power[:, :count] = frames_power(np.pad(heard, (_HALF, (count - 1) * HOP + _HALF - len(heard)))) if count else 0
    return power_to_db(power)[:, :MULTIMODAL_FRAMES]


def frames_reached(n_samples: int) -> int:
    """Frames of a centred transform that any of so many samples, from its beginning on, lies in."""
    return -(-(n_samples + _HALF) // HOP) if n_samples else 0
