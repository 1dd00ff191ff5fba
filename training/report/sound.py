"""Features of a recording that hold no word: its silence, its high band, and what its file says about it.

Speech must not get in: a probe on these features asks whether the class can be told from the recording alone.
"""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from preprocess_service.errors import InvalidAudio
from preprocess_service.features import mel
from preprocess_service.features.audio import TELEPHONE_RATE_HZ, Samples, resample
from training.report.intervals import Floats

FRAME_S: Final = 0.032
QUIET_SHARE: Final = 0.2
TELEPHONE_EDGE_HZ: Final = 3400.0  # what a telephone line is made to carry ends here
_SPEECH_BELOW_DB: Final = 25.0  # a frame that much quieter than the loudest ones is no speech
_BANDS_HZ: Final = (0, 250, 500, 1000, 1500, 2000, 2500, 3000, 3400, 4000)
_LEAST_POWER: Final = 1e-12
_BITS: Final = {"PCM_S8": 8, "PCM_U8": 8, "ULAW": 8, "ALAW": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 32}
_UNKNOWN_BITS: Final = 0

SILENCE_FEATURES: Final = (
    *("quiet level", "spread of quiet levels", "quietest frame", "level step", "digital silence"),
    *("leading silence", "trailing silence", "level at the start", "level at the end"),
    *(f"quiet {low}-{high} Hz" for low, high in pairwise(_BANDS_HZ)),
)
HIGH_BAND_FEATURES: Final = ("3.4-4 kHz", "its spread", "its floor", "above 4 kHz", "its spread above", "its ceiling")
FILE_FEATURES: Final = ("rate", "bits", "channels", "duration", "log size", "bytes a second")
FILE_BAND_FEATURES: Final = ("share above 3.4 kHz", "its spread", "its floor", "edge of the spectrum")


def silence(telephone: Samples) -> Floats:
    """SILENCE_FEATURES (18,) of samples (n,) at 8000 Hz: levels in dB, silence in seconds, bands in dB of the whole."""
    power = _frame_powers(telephone, TELEPHONE_RATE_HZ)
    levels = _decibels(power.sum(axis=1))
    quiet = np.argsort(levels, kind="stable")[: max(1, round(QUIET_SHARE * len(levels)))]
    loud = np.flatnonzero(levels > np.percentile(levels, 95) - _SPEECH_BELOW_DB)
    shape = power[quiet].mean(axis=0)
    bands = _band_powers(shape[np.newaxis], TELEPHONE_RATE_HZ, np.array(_BANDS_HZ, np.float64))[0]
    measured = [
        levels[quiet].mean(),
        levels[quiet].std(),
        levels.min(),
        float(np.diff(np.unique(np.abs(telephone)))[:1].sum()) * 1e4,  # the finest step shows the bit depth
        float((telephone == 0).mean()),
        loud[0] * FRAME_S / 2,
        (len(levels) - 1 - loud[-1]) * FRAME_S / 2,
        levels[0],
        levels[-1],
    ]
    return np.concatenate([measured, _decibels(bands) - _decibels(bands.sum())])


def high_band(telephone: Samples) -> Floats:
    """HIGH_BAND_FEATURES (6,) in dB of samples (n,) at 8000 Hz as the models hear them, at 22,050 Hz."""
    power = _frame_powers(resample(telephone, TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ), mel.SAMPLE_RATE_HZ)
    edges = np.array([0, TELEPHONE_EDGE_HZ, TELEPHONE_RATE_HZ / 2, mel.SAMPLE_RATE_HZ / 2])
    whole, upper, above = _band_powers(power, mel.SAMPLE_RATE_HZ, edges).T
    inside, beyond = _decibels(upper) - _decibels(whole), _decibels(above) - _decibels(whole)
    return np.array(
        [
            _decibels(upper.sum()) - _decibels(whole.sum()),
            inside.std(),
            np.percentile(_decibels(upper), 10),
            _decibels(above.sum()) - _decibels(whole.sum()),
            beyond.std(),
            np.percentile(_decibels(above), 90),
        ]
    )


def of_file(audio: bytes, duration_s: float) -> Floats:
    """FILE_FEATURES (6,) of a file's bytes, of which a clip is `duration_s` seconds; raises InvalidAudio."""
    try:
        with soundfile.SoundFile(io.BytesIO(audio)) as file:
            bits = _BITS.get(file.subtype, _UNKNOWN_BITS)
            facts = [file.samplerate, bits, file.channels, duration_s]
            seconds = file.frames / file.samplerate
    except soundfile.LibsndfileError as error:
        raise InvalidAudio(f"the file cannot be decoded: {error.error_string.strip()}") from error
    return np.array([*facts, np.log(len(audio)), len(audio) / max(seconds, FRAME_S)], np.float64)


def file_band(samples: Samples, rate_hz: int) -> Floats:
    """FILE_BAND_FEATURES (4,) of a recording (n,) at the rate of its file: what telephony would have taken away."""
    power = _frame_powers(samples, rate_hz)
    whole, above = _band_powers(power, rate_hz, np.array([0, TELEPHONE_EDGE_HZ, rate_hz / 2])).T
    share = _decibels(above) - _decibels(whole + above)
    spectrum = power.mean(axis=0).cumsum()
    edge = np.searchsorted(spectrum, 0.999 * spectrum[-1]) / max(1, len(spectrum) - 1)
    return np.array(
        [
            _decibels(above.sum()) - _decibels((whole + above).sum()),
            share.std(),
            np.percentile(_decibels(above), 10),
            edge * rate_hz / 2,
        ]
    )


def _frame_powers(samples: Samples, rate_hz: int) -> Floats:
    """Power spectra (frames, bins) of half-overlapping Hann windows of FRAME_S, at least one."""
    size = round(FRAME_S * rate_hz)
    padded = np.pad(samples.astype(np.float64), (0, max(0, size - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 2]
    spectrum = np.fft.rfft(frames * np.hanning(size), axis=1)
    return np.asarray(np.abs(spectrum) ** 2 / size**2, dtype=np.float64)


def _band_powers(power: Floats, rate_hz: int, edges_hz: Floats) -> Floats:
    """Power (frames, bands) between neighbouring edges; a band without a bin is empty."""
    of_bin = np.linspace(0, rate_hz / 2, power.shape[1])
    band = np.clip(np.searchsorted(edges_hz, of_bin, side="right") - 1, 0, len(edges_hz) - 2)
    return np.stack([power[:, band == each].sum(axis=1) for each in range(len(edges_hz) - 1)], axis=1)


def _decibels(power: Floats | np.float64 | NDArray[np.float64]) -> Floats:
    return np.asarray(10 * np.log10(np.maximum(power, _LEAST_POWER)), dtype=np.float64)
