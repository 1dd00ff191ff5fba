"""Which audio carries evidence: silence, comfort noise, tones and music on hold do not.

A missed emergency is far worse than a piece of music that is judged, so whatever is not clearly one of these is sound.
Of 400 synthetic calls the most musical has its loudest band held for 0.23 of the time; of some recordings of ESC-10
(crying, fire, rain, a rooster) one has 0.49, a clock; generated chords and telephone tones have 0.80 to 1. The
steadiest speech moves by 10 dB, comfort noise by 1 to 4. What is taken for music though it is none: a pure two-tone
siren, alone for a whole window.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preprocess_service.features.live import LiveAudio, Span
from preprocess_service.features.mel import Spectrogram

SILENT_LEVEL: Final = 1e-3  # of full scale: -60 dB, as of recordings
LEAST_FRAMES: Final = 60  # 1.4 s: less is not enough to call anything steady
STRIDE: Final = 2  # every other frame tells as much
# Comfort noise: low and unchanging, as a whole and in every band of speech.
NOISE_LEVEL_DB: Final = 0.0  # of the mean frame; white noise at -42 dB of full scale has as much
NOISE_SPREAD_DB: Final = 5.0  # between the 5th and the 95th percentile of the frames' loudness
NOISE_BAND_SPREAD_DB: Final = 3.5  # mean of the bands' standard deviations
SPEECH_BANDS: Final = slice(2, 75)  # 0.15 to 3.4 kHz
# Tones and music: the loudest band stays the same for a while, and changes at once.
HELD_FRAMES: Final = 10  # 0.23 s
HELD_SHARE: Final = 0.75  # of the audible frames
AUDIBLE_DB: Final = 25.0  # below the loudest frame
HIGHEST_BAND: Final = 55  # 1.9 kHz: a smoke alarm's tone is higher, a telephone's and a tune's are lower


class Evidence(Enum):
    """What a stretch of audio is; only SOUND is evidence."""

    SOUND = "sound"
    SILENCE = "silence"
    COMFORT_NOISE = "comfort noise"
    HOLD_MUSIC = "hold music"


def evidence(audio: LiveAudio, span: Span) -> Evidence:
    """What a span of a party's audio is."""
    if not np.any(np.abs(audio.samples(span)) >= SILENT_LEVEL):
        return Evidence.SILENCE
    frames = audio.frames(span)
    if frames.shape[1] < LEAST_FRAMES:
        return Evidence.SOUND
    return kind_of(frames)


def kind_of(decibels: Spectrogram) -> Evidence:
    """What frames (BANDS, n) of absolute decibels are, none of them silence."""
    chosen = decibels[:, ::STRIDE]
    loudness = 10 * np.log10(np.sum(np.exp(chosen * np.float32(np.log(10) / 10)), axis=0))
    if _is_comfort_noise(chosen, loudness):
        return Evidence.COMFORT_NOISE
    return Evidence.HOLD_MUSIC if _is_music(chosen, loudness) else Evidence.SOUND


def _is_comfort_noise(decibels: Spectrogram, loudness: NDArray[np.float32]) -> bool:
    low, high = np.percentile(loudness, (5, 95))
    if loudness.mean() > NOISE_LEVEL_DB or high - low > NOISE_SPREAD_DB:
        return False
    return float(decibels[SPEECH_BANDS].std(axis=1).mean()) <= NOISE_BAND_SPREAD_DB


def _is_music(decibels: Spectrogram, loudness: NDArray[np.float32]) -> bool:
    audible = loudness > loudness.max() - AUDIBLE_DB
    loudest = decibels.argmax(axis=0)
    edges = np.concatenate([[0], np.flatnonzero(np.diff(loudest)) + 1, [len(loudest)]])
    held = np.repeat(np.diff(edges), np.diff(edges)) >= HELD_FRAMES // STRIDE
    held &= audible & (loudest <= HIGHEST_BAND)
    return bool(held.sum() >= HELD_SHARE * audible.sum())
