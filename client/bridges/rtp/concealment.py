"""Fills a short gap in speech with what stands around it, in the spirit of G.711 Appendix I (ITU-T, 1999).

The Appendix knows only the past and repeats its last pitch period, fading. Here the packet behind the gap is known,
too: the gap is a crossfade from the past, continued, to the future, continued backwards. Nothing that arrived is
altered.
"""

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.int16]  # (frames, channels)
Floats = NDArray[np.float32]

# Of a voice 66 to 400 Hz high.
SHORTEST_PERIOD_S, LONGEST_PERIOD_S = 0.0025, 0.015
# Periods are found by this much of the signal's end; of one packet alone by less, or a low voice would find none.
COMPARED_S, LEAST_COMPARED_S = 0.02, 0.005
HISTORY_S = LONGEST_PERIOD_S + COMPARED_S
# Part of a period over which one turns into the next.
JOINED = 0.25
# Appendix I: whole during 10 ms, then a fifth less every 10 ms.
FADE_AFTER_S, FADED_AFTER_S = 0.01, 0.06
_PCM16 = np.iinfo(np.int16)


def conceal(before: Pcm, after: Pcm, frames: int, rate_hz: int) -> Pcm:
    """Audio for a gap of `frames` (frames, channels) between `before` and `after`, each perhaps empty."""
    forwards = _continued(before.astype(np.float32), frames, rate_hz)
    backwards = _continued(after[::-1].astype(np.float32), frames, rate_hz)[::-1]
    towards = ((np.arange(frames, dtype=np.float32) + 0.5) / frames)[:, None]
    if not len(after):
        towards = np.zeros_like(towards)
    filled = forwards * (1 - towards) + backwards * towards
    return np.rint(filled).clip(_PCM16.min, _PCM16.max).astype(np.int16)


def _continued(signal: Floats, frames: int, rate_hz: int) -> Floats:
    """The signal's last period over and over, fading: (frames, channels)."""
    period = _period(signal.mean(axis=1), rate_hz) if len(signal) else None
    if period is None:
        return np.zeros((frames, signal.shape[1]), np.float32)
    join = int(period * JOINED)
    falling = np.linspace(1, 0, join, endpoint=False, dtype=np.float32)[:, None]
    cycle = signal[-period:].copy()
    cycle[-join:] = cycle[-join:] * falling + signal[-period - join : -period] * (
        1 - falling
    )  # so that it can go round
    repeated = np.resize(cycle, (frames, signal.shape[1]))
    step = signal[-1] - signal[-1 - period]
    count = min(join, frames)
    repeated[:count] += step * falling[:count]
    return repeated * _fade(frames, rate_hz)[:, None]


def _period(signal: Floats, rate_hz: int) -> int | None:
    """Frames after which the end of a signal (frames,) repeats itself best, None for one too short to tell."""
    shortest = round(SHORTEST_PERIOD_S * rate_hz)
    longest = min(round(LONGEST_PERIOD_S * rate_hz), len(signal) - round(LEAST_COMPARED_S * rate_hz))
    compared = min(round(COMPARED_S * rate_hz), len(signal) - longest)
    if longest <= shortest:
        return None
    end = signal[-compared:]
    earlier = signal[-compared - longest : -shortest]
    candidates = np.lib.stride_tricks.sliding_window_view(earlier, compared)  # (periods, compared), longest first
    energy = np.einsum("ij,ij->i", candidates, candidates)
    likeness = (candidates @ end) / np.sqrt(energy + 1)
    return min(longest - int(likeness.argmax()), int(len(signal) / (1 + JOINED)))


def _fade(frames: int, rate_hz: int) -> Floats:
    seconds = np.arange(frames, dtype=np.float32) / rate_hz
    return np.clip((FADED_AFTER_S - seconds) / (FADED_AFTER_S - FADE_AFTER_S), 0, 1)
