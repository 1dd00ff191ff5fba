"""The input of `lstm`: mel-frequency cepstral coefficients over time, numerically librosa's (`feature.mfcc`)."""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from preprocess_service.features import mel
from preprocess_service.features.audio import Samples

COEFFICIENTS: Final = 40
FRAMES: Final = mel.MULTIMODAL_FRAMES


def mfcc(samples: Samples) -> NDArray[np.float32]:
    """The first coefficients of at most 7 s of samples (n,) at 22,050 Hz: (FRAMES, COEFFICIENTS) float32.

    The cosine transform (type II, orthonormal) of the same log-mel spectrogram that `multimodal` hears.
    """
    return of_mel(mel.multimodal_mel(samples))


def of_mel(log_mel: mel.Spectrogram) -> NDArray[np.float32]:
    """The coefficients (FRAMES, COEFFICIENTS) of a log-mel spectrogram (BANDS, FRAMES)."""
    cepstrum = scipy.fft.dct(log_mel, type=2, axis=0, norm="ortho")
    return np.ascontiguousarray(cepstrum[:COEFFICIENTS].T, dtype=np.float32)
