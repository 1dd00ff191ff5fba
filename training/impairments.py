"""What telephone networks do to speech, one effect a function: losses, codecs, bands, noise, rooms, clocks.

All take and give samples (n,) float32 at 8000 Hz, full scale 1.0, of the same length.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Final, Literal, cast

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy import signal

from preprocess_service.features import g711
from preprocess_service.features.audio import PCM16_FULL_SCALE, TELEPHONE_RATE_HZ, Samples
from training.line import FRAME_SAMPLES
from training.synthetic.backgrounds import TAKE_SAMPLES, take
from training.synthetic.telephone import active_rms, echoed, from_db

Lost = NDArray[np.bool_]  # (frames,) of 20 ms
Concealment = Literal["repetition", "silence"]

# G.711 Appendix I (1999): a pitch of 66 to 200 Hz is looked for; the sound fades from 10 ms on and is gone at 60 ms.
_SHORTEST_PITCH: Final = 40
_LONGEST_PITCH: Final = 120
_PITCH_WINDOW: Final = 160
_FADE_FROM: Final = round(0.010 * TELEPHONE_RATE_HZ)
_FADE_TO: Final = round(0.060 * TELEPHONE_RATE_HZ)
_OVERLAP: Final = round(0.004 * TELEPHONE_RATE_HZ)

# libsndfile's names; blocks in samples that WAV packs them in.
GSM_FULL_RATE: Final = ("GSM610", 320)
G721_ADPCM: Final = ("G721_32", 120)


def with_background(samples: Samples, kind: str, seed: int, snr_db: float, rng: np.random.Generator) -> Samples:
    """Background sound of `kind`, `snr_db` below the level of the active speech; around silence nothing is added."""
    whole = take(kind, seed)
    start = int(rng.integers(0, TAKE_SAMPLES))
    window = np.take(whole, np.arange(start, start + len(samples)), mode="wrap")
    return samples + np.float32(active_rms(samples) * from_db(-snr_db)) * window


def random_losses(frames: int, rate: float, rng: np.random.Generator) -> Lost:
    """Each frame lost by itself with probability `rate`."""
    return rng.random(frames) < rate


def bursty_losses(frames: int, rate: float, burst_frames: float, rng: np.random.Generator) -> Lost:
    """Losses in runs: Gilbert's two-state model (1960) with the mean loss `rate` and the mean run `burst_frames`.

    Raises ValueError for a rate outside [0, 1) and for runs under one frame.
    """
    if not 0 <= rate < 1 or burst_frames < 1:
        raise ValueError(f"rate {rate} must be in [0, 1) and burst_frames {burst_frames} at least 1")
    leave_bad = 1 / burst_frames
    enter_bad = min(1.0, rate * leave_bad / (1 - rate))
    lost = np.zeros(frames, bool)
    is_bad = bool(rng.random() < rate)
    for frame, lot in enumerate(rng.random(frames)):
        lost[frame] = is_bad
        is_bad = lot >= leave_bad if is_bad else lot < enter_bad
    return lost


def with_losses(samples: Samples, lost: Lost, concealment: Concealment) -> Samples:
    """Samples without the frames of 20 ms marked in `lost` (frames,): concealed as a receiver would, or silent.

    `lost` holds ceil(n / FRAME_SAMPLES) marks.
    """
    sound = samples.copy()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lost, [False]]).astype(np.int8)))
    for first, end in edges.reshape(-1, 2) * FRAME_SAMPLES:
        gap = sound[first:end]
        gap[:] = _concealed(sound[:first], len(gap)) if concealment == "repetition" else 0
        if concealment == "repetition":
            _smooth_return(sound, first, end)
    return sound


def _concealed(past: Samples, count: int) -> Samples:
    """The last pitch period over and over, fading out: (count,)."""
    if len(past) < _LONGEST_PITCH + _PITCH_WINDOW:
        return np.zeros(count, np.float32)
    period = past[-_pitch(past) :]
    fade = np.interp(np.arange(count), (_FADE_FROM, _FADE_TO), (1.0, 0.0))
    return (np.resize(period, count) * fade).astype(np.float32)


def _pitch(past: Samples) -> int:
    """The lag in samples at which the end of `past` is most like itself."""
    lags = range(_SHORTEST_PITCH, _LONGEST_PITCH + 1)
    end = past[-_PITCH_WINDOW:].astype(np.float64)
    before = np.stack([past[-_PITCH_WINDOW - lag : -lag] for lag in lags]).astype(np.float64)
    likeness = before @ end / np.sqrt(np.sum(before**2, axis=1) + 1e-12)
    return lags[int(np.argmax(likeness))]


def _smooth_return(sound: Samples, first: int, end: int) -> None:
    """Fades from the concealment into what was received again, in place."""
    received = sound[end : end + _OVERLAP]
    ramp = np.linspace(0, 1, len(received), dtype=np.float32)
    going_on = _concealed(sound[:first], end - first + len(received))[end - first :]
    received[:] = ramp * received + (1 - ramp) * going_on


def through_codec(samples: Samples, codec: tuple[str, int]) -> Samples:
    """Samples encoded and decoded by one of libsndfile's codecs (GSM_FULL_RATE, G721_ADPCM)."""
    subtype, block = codec
    padded = np.zeros(-(-len(samples) // block) * block, np.int16)
    padded[: len(samples)] = _pcm16(samples)
    file = io.BytesIO()
    soundfile.write(file, padded, TELEPHONE_RATE_HZ, format="WAV", subtype=subtype)
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    return cast("Samples", decoded[: len(samples)])


def through_alaw(samples: Samples) -> Samples:
    """Samples encoded and decoded by G.711 A-law, as on every international line."""
    levels = g711.decode_alaw(g711.encode_alaw(_pcm16(samples)))
    return levels.astype(np.float32) / np.float32(PCM16_FULL_SCALE)


def _pcm16(samples: Samples) -> g711.Pcm16:
    scaled = np.rint(np.clip(samples, -1, 1) * np.float32(PCM16_FULL_SCALE - 1))
    return np.asarray(scaled, dtype=np.int16)


@lru_cache(maxsize=512)
def _band(low_hz: int, high_hz: int, order: int) -> NDArray[np.float64]:
    return signal.butter(order, (low_hz, high_hz), "bandpass", fs=TELEPHONE_RATE_HZ, output="sos")


def band_limited(samples: Samples, low_hz: int, high_hz: int, order: int) -> Samples:
    """Samples within a Butterworth band."""
    return signal.sosfilt(_band(low_hz, high_hz, order), samples).astype(np.float32)


def in_room(samples: Samples, rt60_s: float, rng: np.random.Generator) -> Samples:
    """Samples in a room of that reverberation time, the tail beyond the end cut off."""
    return echoed(samples, rt60_s, rng)[: len(samples)]


def at_speed(samples: Samples, factor: float) -> Samples:
    """Samples played `factor` times as fast, pitch included; cut, or filled with silence, to the length they had."""
    played = soxr.resample(samples, TELEPHONE_RATE_HZ * factor, TELEPHONE_RATE_HZ, quality="HQ")[: len(samples)]
    sound = np.zeros_like(samples)
    sound[: len(played)] = played
    return sound
