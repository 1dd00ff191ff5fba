"""Resampling of audio that comes piece by piece, equal to resampling all of it at once."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from preprocess_service.features.audio import Samples, resample

# soxr's HQ filter reaches 16 ms to either side at telephone rates. Its own streams hold back up to 116 ms, since they
# work in blocks.
FILTER_S: Final = 0.02


class Resampler:
    """Takes samples as they come and gives all that no later sample can change: what `audio.resample` would give.

    Every call to `resample` that gives anything sets soxr up anew (0.2 ms): feed it hop by hop, not packet by packet.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        divisor = math.gcd(from_hz, to_hz)
        self._from_hz, self._to_hz = from_hz, to_hz
        # So many samples in give so many out, exactly: pieces that begin on multiples have the same phase.
        self._period, self._period_out = from_hz // divisor, to_hz // divisor
        self._reach = 0 if from_hz == to_hz else self._periods(math.ceil(FILTER_S * from_hz))
        self._kept = np.zeros(0, np.float32)  # from `_start` on
        self._start = self._done = 0  # positions in the input; up to `_done`, output was given

    @property
    def latency_s(self) -> float:
        """The most audio that is held back."""
        return (self._reach + (self._period if self._reach else 0)) / self._from_hz

    def resample(self, samples: Samples, *, last: bool = False) -> Samples:
        """The output (m,) that input (n,) settles; with `last` all that is left."""
        if not self._reach:
            return samples
        heard = np.concatenate([self._kept, samples])
        end = self._start + len(heard)
        until = end if last else self._multiple(end - self._reach)
        if until <= self._done:
            self._kept = heard
            return np.zeros(0, np.float32)
        given = resample(heard, self._from_hz, self._to_hz)
        first = (self._done - self._start) // self._period * self._period_out
        output = given[first:] if last else given[first : (until - self._start) // self._period * self._period_out]
        keep_from = max(0, until - self._reach) if not last else end
        self._kept, self._start, self._done = heard[keep_from - self._start :], keep_from, until
        return output

    def _multiple(self, position: int) -> int:
        """The last whole period up to a position."""
        return max(0, position // self._period * self._period)

    def _periods(self, count: int) -> int:
        """So many samples, rounded up to whole periods."""
        return -(-count // self._period) * self._period
