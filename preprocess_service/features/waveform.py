"""The input of `yamnet`: samples at 16 kHz; the network makes its own spectrogram."""

from __future__ import annotations

from typing import Final

import numpy as np

from preprocess_service.features import mel
from preprocess_service.features.audio import Samples, resample

SAMPLE_RATE_HZ: Final = 16_000
WINDOW_S: Final = mel.MULTIMODAL_WINDOW_S
WINDOW_SAMPLES: Final = round(WINDOW_S * SAMPLE_RATE_HZ)
# YAMNet's log(mel + 0.001) depends on the level, and the levels of telephone lines differ: all are brought to this one.
LEVEL: Final = 0.05  # root mean square of full scale: -26 dB
LARGEST_GAIN: Final = 100.0  # an all but silent line stays silent


def waveform(samples: Samples) -> Samples:
    """At most 7 s of samples (n,) at 22,050 Hz as (WINDOW_SAMPLES,) float32 at 16 kHz within [-1, 1], silence after the
    end."""
    window = np.zeros(WINDOW_SAMPLES, np.float32)
    heard = samples[: round(WINDOW_S * mel.SAMPLE_RATE_HZ)]
    if len(heard):
        at_16_khz = resample(heard, mel.SAMPLE_RATE_HZ, SAMPLE_RATE_HZ)[:WINDOW_SAMPLES]
        level = float(np.sqrt(np.mean(np.square(at_16_khz, dtype=np.float64))))
        gain = min(LEVEL / max(level, 1e-9), LARGEST_GAIN)
        window[: len(at_16_khz)] = np.clip(at_16_khz * np.float32(gain), -1, 1)
    return window
