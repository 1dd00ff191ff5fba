"""Which audio carries evidence: silence, comfort noise, tones and music on hold do not.

A missed emergency is far worse than a piece of music that is judged. So it is not enough that tones are there: all else
must be away. Whatever lasts 0.14 s, is not explained by telephone tones or by notes that are held, and is not far below
them, makes a window evidence, and so does whatever stirs in the pauses.

Measured on generated windows of 7 s and the recordings of ESC-10, through mu-law:
- Telephone tones, and comfort noise up to -44 dB of full scale: all found. Of generated chords about half, of music
  with drums nearly nothing: the rest is judged. Even rain below -44 dB is comfort noise.
- Speech, crying, screams, moans, sirens, alarms, horns, fire, all of ESC-10 at three levels: none of 270 missed.
- Speech from 10 dB above to 15 dB below dial tone, ring-back, chords or a radio: 1 of 1200 missed, at 15 dB below.
- One word of 0.25 s at least 6 dB above comfort noise: none of 160 missed; 10 dB below chords: 5 of 40.
- Speech 5 dB below comfort noise: 14 of 40 missed. Sirens of two or three unchanging tones: 2 of 880 missed.
- A pure, unchanging whistle at the very pitch of a telephone's tone is taken for one.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from preprocess_service.features import mel
from preprocess_service.features.audio import TELEPHONE_RATE_HZ
from preprocess_service.features.live.audio import LiveAudio, Span
from preprocess_service.features.mel import Spectrogram

Flags = NDArray[np.bool_]
Levels = NDArray[np.floating[Any]]

SILENT_LEVEL: Final = 1e-3  # of full scale: -60 dB, as of recordings
LEAST_FRAMES: Final = 60  # 1.4 s: less is not enough to call anything steady
AUDIBLE_DB: Final = 25.0  # below the loudest frame
EDGE_FRAMES: Final = 4  # that the beginning or the end of a tone reaches into
# Comfort noise: low and unchanging, at every moment and in every band of speech.
NOISE_LEVEL_DB: Final = 0.0  # of the mean frame; white noise at -42 dB of full scale has as much
NOISE_DEVIATION_DB: Final = 6.0  # of any frame's loudness from the median
NOISE_BAND_SPREAD_DB: Final = 3.5  # mean of the bands' standard deviations
SILENT_DB: Final = -20.0  # of a frame: about -62 dB of full scale
# What else there is beside tones or notes, as a share of the power. It counts if it lasts: where a note begins, all
# bands sound for a moment.
LASTING_FRAMES: Final = 6  # 0.14 s
MOST_BESIDE_TONES: Final = 0.003
MOST_BESIDE_NOTES: Final = 0.02
TONE_LEVEL_SPREAD_DB: Final = 4.0  # a telephone's tones are as loud in the end as in the beginning
PARTNER_SHARE: Final = 0.05  # of the power, that the other one of two frequencies has at least
NOTE_DB: Final = 25.0  # below its frame: a partial of a note
HELD_FRAMES: Final = 8  # 0.19 s on one band: voices move
LEAST_NOTES: Final = 5  # a siren has one to three, a stuck horn one or two

_EDGES_HZ: Final = mel.mel_to_hz(np.linspace(0, float(mel.hz_to_mel(np.array(mel.SAMPLE_RATE_HZ / 2))), mel.BANDS + 2))
_BANDS: Final = int(np.sum(_EDGES_HZ[1:-1] < TELEPHONE_RATE_HZ / 2))
_SPEECH: Final = slice(2, 75)  # 0.15 to 3.4 kHz
_DOUBLINGS: Final = (1, 2, 4)  # 1, 2, 4, then HELD_FRAMES on end
_NEIGHBOURS: Final = 2  # bands to either side that a steady tone reaches into


def _nearest(*frequencies_hz: float) -> Flags:
    """Which bands (_BANDS,) tones of these frequencies are loudest in."""
    nearest = np.zeros(_BANDS, bool)
    nearest[[int(np.argmin(np.abs(_EDGES_HZ[1:-1] - each))) for each in frequencies_hz]] = True
    return nearest


def _spread(flags: Flags, reach: int) -> Flags:
    """Flags (n, ...) that also hold up to `reach` places before and after."""
    spread = flags.copy()
    for shift in range(1, reach + 1):
        spread[shift:] |= flags[:-shift]
        spread[:-shift] |= flags[shift:]
    return spread


# Source: ITU-T E.180 Supplement 2 (dial, ring-back and busy tones of Korea, North America and Europe); Q.23 (keys).
_CALL: Final = _nearest(350, 425, 440, 450, 480)
_BUSY: Final = _nearest(620)  # with 480
_ROWS: Final = _nearest(697, 770, 852, 941)
_COLUMNS: Final = _nearest(1209, 1336, 1477, 1633)
_TONES: Final = _CALL | _BUSY | _ROWS | _COLUMNS
_GROUPS: Final = tuple(_spread(each, _NEIGHBOURS) for each in (_CALL, _BUSY, _ROWS, _COLUMNS))


class Evidence(Enum):
    """What a stretch of audio is; only SOUND is evidence."""

    SOUND = "sound"
    SILENCE = "silence"
    COMFORT_NOISE = "comfort noise"
    HOLD_MUSIC = "hold music"


def evidence(audio: LiveAudio, span: Span) -> Evidence:
    """What a span of a party's audio is."""
    if audio.levels(span)[0] < SILENT_LEVEL:
        return Evidence.SILENCE
    frames = audio.frames(span)
    if frames.shape[1] < LEAST_FRAMES:
        return Evidence.SOUND
    return kind_of(frames)


def kind_of(decibels: Spectrogram) -> Evidence:
    """What frames (BANDS, n) of absolute decibels are, none of them silence."""
    heard = decibels[:_BANDS]
    power = np.exp(heard * np.float32(np.log(10) / 10))
    total = power.sum(axis=0)
    loudness = 10 * np.log10(total)
    if _is_comfort_noise(heard, loudness):
        return Evidence.COMFORT_NOISE
    audible = loudness > loudness.max() - AUDIBLE_DB
    pauses = ~_spread(audible, EDGE_FRAMES)
    pauses[:EDGE_FRAMES] = pauses[-EDGE_FRAMES:] = False  # a tone may have ended, or begin, at the very edge
    if pauses.any() and not _is_pause(heard[:, pauses], loudness[pauses]):
        return Evidence.SOUND
    if _are_telephone_tones(power, total, loudness, audible) or _is_tune(heard, power, total, audible):
        return Evidence.HOLD_MUSIC
    return Evidence.SOUND


def _is_comfort_noise(decibels: Spectrogram, loudness: Levels) -> bool:
    if loudness.mean() > NOISE_LEVEL_DB or np.abs(loudness - np.median(loudness)).max() > NOISE_DEVIATION_DB:
        return False
    return float(decibels[_SPEECH].std(axis=1).mean()) <= NOISE_BAND_SPREAD_DB


def _is_pause(decibels: Spectrogram, loudness: Levels) -> bool:
    return bool(loudness.max() <= SILENT_DB) or _is_comfort_noise(decibels, loudness)


def _are_telephone_tones(power: Spectrogram, total: Levels, loudness: Levels, audible: Flags) -> bool:
    """Whether nothing but the tones of a network or of keys is heard, at one level."""
    inside = ~_spread(~audible, EDGE_FRAMES // 2)
    inside[: EDGE_FRAMES // 2] = inside[-EDGE_FRAMES // 2 :] = False
    if not inside.any() or np.ptp(loudness[inside]) > TONE_LEVEL_SPREAD_DB:
        return False
    if not _TONES[power[:, inside].argmax(axis=0)].all():
        return False
    call, busy, row, column = (power[bands].sum(axis=0) for bands in _GROUPS)
    least = PARTNER_SHARE * total
    of_network = np.where((busy < least) | (call > least), call + busy, 0)
    of_keys = np.where((row > least) & (column > least), row + column, 0)
    return _lasting(1 - np.maximum(of_network, of_keys) / total, audible) < MOST_BESIDE_TONES


def _is_tune(decibels: Spectrogram, power: Spectrogram, total: Levels, audible: Flags) -> bool:
    """Whether nothing but several notes is heard, each of which keeps its pitch while it sounds."""
    peaks = np.zeros(decibels.shape, bool)
    peaks[1:-1] = (decibels[1:-1] >= decibels[:-2]) & (decibels[1:-1] >= decibels[2:])
    peaks &= power > total * np.float32(10 ** (-NOTE_DB / 10))
    held = _held(peaks)
    explained = np.where(_spread(held, _NEIGHBOURS), power, 0).sum(axis=0)
    if _lasting(1 - explained / total, audible) > MOST_BESIDE_NOTES:
        return False
    loudest = np.where(held, power, 0).argmax(axis=0)[audible & held.any(axis=0)]
    return _count_notes(loudest) >= LEAST_NOTES


def _count_notes(loudest: NDArray[np.intp]) -> int:
    """How many pitches a sequence of bands leaps to; what a pitch glides to is no other note."""
    leaps = np.abs(np.diff(loudest, prepend=-mel.BANDS)) > _NEIGHBOURS
    count, last = 0, -mel.BANDS
    for band in np.unique(loudest[leaps]):
        if band - last > _NEIGHBOURS:
            count, last = count + 1, int(band)
    return count


def _lasting(share: Levels, audible: Flags) -> float:
    """The greatest share that is there for LASTING_FRAMES audible frames on end."""
    runs = np.lib.stride_tricks.sliding_window_view(np.where(audible, share, 0), LASTING_FRAMES)
    return float(runs.min(axis=1).max())


def _held(peaks: Flags) -> Flags:
    """The peaks (bands, n) that stay on their band for HELD_FRAMES on end."""
    begins = peaks
    for shift in _DOUBLINGS:
        begins = begins[:, :-shift] & begins[:, shift:]
    held = np.zeros_like(peaks)
    held[:, : begins.shape[1]] = begins
    for shift in _DOUBLINGS:
        held[:, shift:] |= held[:, :-shift]
    return held
