"""How sure a figure is: Wilson and Jeffreys intervals for shares, and the bootstrap over groups of clips.

Clips of one caller are alike, so the bootstrap draws whole groups; drawn clip by clip it would promise too much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

LEVEL: Final = 0.95
RESAMPLES: Final = 1000
SEED: Final = 20_261_122
FEWEST_GROUPS: Final = 5  # fewer say nothing about other groups; then clips are drawn
_Z: Final = float(stats.norm.ppf(0.5 + LEVEL / 2))
_TAILS: Final = (50 * (1 - LEVEL), 50 * (1 + LEVEL))  # percentiles
_BLOCK_CELLS: Final = 4_000_000  # of one block of weights: 32 MB


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; `n` counts the clips, calls or pairs behind it; NaN is "unknown"."""

    value: float
    low: float
    high: float
    n: int


def wilson(successes: int, n: int) -> Estimate:
    """A share with Wilson's score interval ("Probable inference", JASA 22, 1927); NaN of nothing."""
    if n == 0:
        return Estimate(np.nan, np.nan, np.nan, 0)
    share, z2 = successes / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Estimate(share, max(0.0, float(middle - half)), min(1.0, float(middle + half)), n)


def envelope(*estimates: Estimate) -> Estimate:
    """The first estimate's value with the widest limits of all: each kind of interval misses what another sees."""
    first = estimates[0]
    low, high = [each.low for each in estimates], [each.high for each in estimates]
    return Estimate(first.value, float(np.fmin.reduce(low)), float(np.fmax.reduce(high)), first.n)


def from_draws(value: float, draws: Floats, n: int) -> Estimate:
    """A value with the percentiles of its draws (m,); draws that are NaN (a class was not drawn) are left out."""
    sound = draws[np.isfinite(draws)]
    if sound.size == 0:
        return Estimate(value, np.nan, np.nan, n)
    low, high = np.percentile(sound, _TAILS)
    return Estimate(value, float(low), float(high), n)


def jeffreys_draws(successes: int, n: int, rng: np.random.Generator, size: int = 20_000) -> Floats:
    """Draws (size,) of a share's posterior under Jeffreys' prior: not degenerate where nothing was seen in n."""
    return rng.beta(successes + 0.5, n - successes + 0.5, size)


@dataclass(frozen=True)
class Resampling:
    """The bootstrap of one set of clips: `group_of` (n,) numbers the group of every clip from 0."""

    group_of: NDArray[np.int64]
    by_clip: bool  # whether clips are drawn, since there are too few groups
    resamples: int = RESAMPLES
    seed: int = SEED

    @property
    def groups(self) -> int:
        return int(self.group_of.max()) + 1 if len(self.group_of) else 0

    def weights(self) -> Iterator[Floats]:
        """Blocks (some resamples, n) of how often every clip was drawn; the same ones at every call."""
        rng = np.random.default_rng(self.seed)
        block = max(1, _BLOCK_CELLS // max(1, len(self.group_of)))
        even = np.full(self.groups, 1 / self.groups)
        for start in range(0, self.resamples, block):
            counts = rng.multinomial(self.groups, even, min(block, self.resamples - start))
            yield counts[:, self.group_of].astype(np.float64)

    def estimate(self, figure: Callable[[Floats], Floats]) -> Estimate:
        """`figure` takes weights (m, n) to figures (m,); its value is that of all clips, once each."""
        n = len(self.group_of)
        value = float(figure(np.ones((1, n)))[0])
        return from_draws(value, np.concatenate([figure(block) for block in self.weights()]), n)


def resampling(groups: Sequence[str]) -> Resampling:
    """The bootstrap over these groups, one name a clip; clips without a name ("") stand alone."""
    named = [group or f"\0{index}" for index, group in enumerate(groups)]
    names, group_of = np.unique(np.array(named, dtype=np.str_), return_inverse=True)
    if len(names) < FEWEST_GROUPS:
        return Resampling(np.arange(len(named)), by_clip=True)
    return Resampling(group_of.astype(np.int64), by_clip=False)
