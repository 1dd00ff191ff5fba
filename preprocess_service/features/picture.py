"""The input of `vgg16`: a log-mel spectrogram drawn as a colour image, as an ImageNet network expects it."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from preprocess_service.features import mel
from preprocess_service.features.audio import Samples

Picture = NDArray[np.float32]

SIZE: Final = 150
WINDOW_S: Final = 5.0
WINDOW_SAMPLES: Final = round(WINDOW_S * mel.SAMPLE_RATE_HZ)
# Means of the ImageNet training set, blue, green, red: what keras.applications.vgg16.preprocess_input subtracts.
IMAGENET_MEANS_BGR: Final = np.array([103.939, 116.779, 123.68], np.float32)
# Where in [0, 1] each colour of the "jet" scale peaks: blue for the quiet, green between, red for the loud.
_PEAKS_BGR: Final = np.array([0.25, 0.5, 0.75], np.float32)


def picture(samples: Samples) -> Picture:
    """Draws at most 5 s of telephone sound (n,) at 22,050 Hz as (SIZE, SIZE, 3) float32.

    Time runs to the right and pitch upwards; a shorter recording fills the width all the same. Blue, green and red
    stand in the last axis with the ImageNet means subtracted, as VGG-16's published weights want them.
    """
    heard = samples[:WINDOW_SAMPLES]
    return of_mel(mel.power_to_db(mel.centred_power(heard, mel.frame_count(len(heard)))))


def of_mel(decibels: mel.Spectrogram) -> Picture:
    """The picture of a log-mel spectrogram (BANDS, frames) of any length, in decibels against its maximum."""
    drawn = colours(1 + decibels[::-1] / np.float32(mel.TOP_DB))  # (128, frames, 3)
    by_column = _shrunk(_shrunk(drawn).swapaxes(0, 1))  # (columns, rows, 3)
    return np.asarray(255 * by_column.swapaxes(0, 1) - IMAGENET_MEANS_BGR, dtype=np.float32)


def colours(levels: NDArray[np.float32]) -> Picture:
    """Levels in [0, 1] of any shape to blue, green, red in [0, 1] on the "jet" scale."""
    return np.asarray(np.clip(1.5 - np.abs(4 * (levels[..., None] - _PEAKS_BGR)), 0, 1), dtype=np.float32)


def _shrunk(image: Picture) -> Picture:
    """The first axis brought to SIZE: (n, m, 3) to (SIZE, m, 3)."""
    flat = _sparse_weights(len(image)) @ image.reshape(len(image), -1)
    return np.asarray(flat, dtype=np.float32).reshape(SIZE, *image.shape[1:])


@lru_cache(maxsize=1024)  # one entry for every length of recording that occurs
def _sparse_weights(source: int) -> sparse.csr_array:
    # Sparse, since a row has few weights, and since dense products would wake threads that fight with the caller's.
    return sparse.csr_array(shrink_weights(source, SIZE))


def shrink_weights(source: int, target: int) -> NDArray[np.float32]:
    """Weights (target, source) of bilinear resizing with anti-aliasing: a triangle filter, rows summing to 1.

    Source: the filter of Pillow's `Image.resize(..., BILINEAR)`.
    """
    scale = source / target
    support = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    distance = np.abs(np.arange(source) + 0.5 - centres[:, None]) / support
    weights = np.maximum(0, 1 - distance)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)
