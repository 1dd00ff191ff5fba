"""The Fourier transform of `features.mel` as two matrix products (Cooley and Tukey, 1965), and its mel filters.

A frame's FFT_SIZE samples are written as COARSE rows of FINE, n = FINE * a + b, and its bins as k = p + COARSE * q.
Then X[p + COARSE q] = sum over b of exp(-2 pi i b q / FINE) * (sum over a of x[n] exp(-2 pi i p n / FFT_SIZE)).
The samples are real: p up to COARSE / 2 with every q gives each bin or its mirror image, of the same power. Eight times
fewer products than one matrix of all bins, and sums of 32 and 128 terms instead of 2,048, which round less.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from preprocess_service.features import mel

Weights = NDArray[np.float64]

FINE: Final = 64  # divides HOP: a frame begins with a whole row
COARSE: Final = mel.FFT_SIZE // FINE
PHASES: Final = COARSE // 2 + 1  # p = 0 ... COARSE / 2


def first_product() -> Weights:
    """(FINE, 2 * PHASES, COARSE), for every b: the inner sum, with the Hann window; real parts, then imaginary."""
    samples = FINE * np.arange(COARSE) + np.arange(FINE)[:, None]  # (FINE, COARSE)
    turns = np.arange(PHASES)[:, None] * samples[:, None, :] % mel.FFT_SIZE / mel.FFT_SIZE  # (FINE, PHASES, COARSE)
    window = signal.get_window("hann", mel.FFT_SIZE, fftbins=True)[samples][:, None, :]
    return np.concatenate([window * np.cos(2 * np.pi * turns), window * -np.sin(2 * np.pi * turns)], axis=1)


def second_product() -> Weights:
    """(2 * FINE, FINE * 2): the outer sum; to real parts of every q, then imaginary, from (b, real or imaginary)."""
    turns = np.outer(np.arange(FINE), np.arange(FINE)) % FINE / FINE  # (q, b)
    cosine, sine = np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)
    real, imaginary = np.stack([cosine, sine], axis=-1), np.stack([-sine, cosine], axis=-1)
    return np.concatenate([real, imaginary]).reshape(2 * FINE, 2 * FINE)


def mel_product() -> NDArray[np.float32]:
    """(BANDS, FINE * PHASES): the mel filters over the powers (q, p) of `second_product`, each bin counted once."""
    bins = np.arange(PHASES) + COARSE * np.arange(FINE)[:, None]  # (FINE, PHASES)
    bins = np.where(bins > mel.FFT_SIZE // 2, mel.FFT_SIZE - bins, bins).ravel()
    counted = np.zeros(bins.size, np.bool_)
    counted[np.unique(bins, return_index=True)[1]] = True
    return np.where(counted, mel.mel_filters()[:, bins], np.float32(0))
