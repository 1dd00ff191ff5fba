"""Log-mel spectrograms, numerically librosa's (`feature.melspectrogram`, `power_to_db`), several times as fast.

Source of the definitions: librosa 0.11; the mel scale is Slaney's (Auditory Toolbox, 1998). Sound is a telephone's,
brought from 8,000 to 22,050 Hz by `audio.resample`: nothing is above 4 kHz but where a recording begins or ends.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
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


# Frames that are worked on at once. A block, its spectrum and its power stay in a core's own cache; all 302 frames of a
# window at once would go through memory five times.
BLOCK: Final = 128
_HALF: Final = FFT_SIZE // 2
EDGE_FRAMES: Final = _HALF // HOP  # of a centred transform, that begin before the first sample


class _Buffers(threading.local):
    """Per-thread working memory: fresh pages for every call would cost more than the arithmetic."""

    def __init__(self) -> None:
        self.frames = np.empty(BLOCK * FFT_SIZE, np.float32)
        self.power, self.part, self.by_bin = np.empty((3, BLOCK * BINS), np.float32)


_buffers = _Buffers()


class _Transform:
    """Frames to mel power from every `step`-th of their samples: all there is, if nothing sounds at or above the
    Nyquist frequency of that rate."""

    def __init__(self, step: int) -> None:
        self.step, self.size, self.hop = step, FFT_SIZE // step, HOP // step
        self._bins = self.size // 2 + 1
        window = signal.get_window("hann", FFT_SIZE, fftbins=True)[::step]
        self._window = np.ascontiguousarray(window, np.float32)
        # A sum over fewer samples is so much smaller, its power by the square.
        self._filters = sparse.csr_array(mel_filters()[:, : self._bins] * np.float32(step**2))

    def frames(self, samples: Samples) -> Samples:
        """All whole frames (frames, size) of samples (n,) at this rate, one beginning every `hop`, as a view."""
        return sliding_window_view(samples, self.size)[:: self.hop]

    def power(self, frames: Samples) -> Spectrogram:
        """Mel power (BANDS, frames) of frames (frames, size)."""
        found = np.empty((BANDS, len(frames)), np.float32)
        for start in range(0, len(frames), BLOCK):
            block = frames[start : start + BLOCK]
            found[:, start : start + len(block)] = self._block_power(block)
        return found

    def _block_power(self, block: Samples) -> Spectrogram:
        count = len(block)
        windowed = np.multiply(block, self._window, out=_shaped(_buffers.frames, count, self.size))
        spectrum = scipy.fft.rfft(windowed, axis=1, overwrite_x=True)  # (count, bins) complex64
        power = np.square(spectrum.real, out=_shaped(_buffers.power, count, self._bins))
        power += np.square(spectrum.imag, out=_shaped(_buffers.part, count, self._bins))
        # Turned round in one go for the sparse product, which takes whole rows: turning while squaring costs twice as
        # much.
        by_bin = _shaped(_buffers.by_bin, self._bins, count)
        np.copyto(by_bin, power.T)
        return np.asarray(self._filters @ by_bin, dtype=np.float32)


def _shaped(buffer: Samples, rows: int, columns: int) -> Samples:
    return buffer[: rows * columns].reshape(rows, columns)


# Telephone sound ends at 4 kHz, at whatever rate: half the rate says all of it, for half the work. Not so where a
# recording is cut off: a step sounds up to the highest frequency.
_TELEPHONE: Final = _Transform(2)
_WIDE_BAND: Final = _Transform(1)


def centred_power(samples: Samples, count: int) -> Spectrogram:
    """Mel power (BANDS, count) of telephone sound (n,) at 22,050 Hz: the first frames of a centred transform, silence
    before and after the sound."""
    power = np.zeros((BANDS, count), np.float32)  # that of frames which no sound reaches
    whole, cut = whole_frames(len(samples), count), cut_frames(len(samples), count)
    if whole:
        power[:, whole.start : whole.stop] = inner_power(samples[: (whole.stop - 1) * HOP + _HALF])
    if cut:
        power[:, cut] = edge_power(samples, cut)
    return power


def whole_frames(n_samples: int, count: int) -> range:
    """Those of the first `count` frames of a centred transform that lie wholly within so many samples."""
    return range(EDGE_FRAMES, max(EDGE_FRAMES, min(count, (n_samples - _HALF) // HOP + 1)))


def cut_frames(n_samples: int, count: int) -> list[int]:
    """Those of the first `count` frames that the samples lie in but do not fill."""
    reached = min(count, -(-(n_samples + _HALF) // HOP) if n_samples else 0)
    return [*range(min(EDGE_FRAMES, reached)), *range(whole_frames(n_samples, count).stop, reached)]


def inner_power(samples: Samples) -> Spectrogram:
    """Mel power (BANDS, frames) of all whole frames, one beginning every HOP, of telephone sound (n,) that goes on
    before and after."""
    return _TELEPHONE.power(_TELEPHONE.frames(np.ascontiguousarray(samples[:: _TELEPHONE.step])))


def edge_power(samples: Samples, numbers: Sequence[int]) -> Spectrogram:
    """Mel power (BANDS, len(numbers)) of the frames of a centred transform with these numbers, silence before and after
    the samples (n,); of any sound."""
    frames = np.zeros((len(numbers), FFT_SIZE), np.float32)
    for frame, number in zip(frames, numbers, strict=True):
        begin = number * HOP - _HALF
        heard = samples[max(0, begin) : max(0, begin + FFT_SIZE)]
        silence = max(0, -begin)
        frame[silence : silence + len(heard)] = heard
    return _WIDE_BAND.power(frames)


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
    """The input of `multimodal`: (BANDS, MULTIMODAL_FRAMES) dB of at most 7 s of telephone sound at 22,050 Hz, silence
    after the end."""
    # The last frame is not heard, but may be the loudest.
    power = centred_power(samples[:MULTIMODAL_SAMPLES], frame_count(MULTIMODAL_SAMPLES))
    return power_to_db(power)[:, :MULTIMODAL_FRAMES]
