"""The resampling of `features.audio.resample` from the telephone's rate, as matrices: soxr's filter is linear.

The matrices are what soxr answers to single samples, so no filter is designed anew here.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from preprocess_service.features import mel
from preprocess_service.features.audio import TELEPHONE_RATE_HZ, resample
from preprocess_service.front_end import PERIOD, PERIOD_OUT

Matrix = NDArray[np.float64]

# soxr's first few samples of a recording differ from what its filter gives over silence ahead of it.
ONSET: Final = 32
# Impulses so many periods apart do not meet. The mean of several is free of the rounding of each.
_APART: Final = 6
_IMPULSES: Final = 12


def filter_matrix() -> Matrix:
    """(3 * PERIOD, PERIOD_OUT): a period of output from the period of input under it and the ones at its sides."""
    matrix = np.zeros((3 * PERIOD, PERIOD_OUT))
    places = _APART * np.arange(1, _IMPULSES + 1)
    for phase in range(PERIOD):
        sound = np.zeros((_APART * (_IMPULSES + 2), PERIOD), np.float32)
        sound[places, phase] = 1
        response = _resampled(sound.ravel()).reshape(-1, PERIOD_OUT)
        for block in range(3):  # as the period ahead, under, behind: it reaches the output after, at, before its place
            matrix[block * PERIOD + phase] = response[places + 1 - block].mean(axis=0)
    return matrix


def onset_matrix(whole: Matrix) -> Matrix:
    """(PERIOD, ONSET): what a recording's first period adds to its first outputs, beside `filter_matrix()`."""
    matrix = np.zeros((PERIOD, ONSET))
    for phase in range(PERIOD):
        sound = np.zeros((_APART, PERIOD), np.float32)
        sound[0, phase] = 1
        matrix[phase] = _resampled(sound.ravel())[:ONSET] - whole[PERIOD + phase, :ONSET]
    return matrix


def _resampled(samples: NDArray[np.float32]) -> Matrix:
    return resample(samples, TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ).astype(np.float64)
