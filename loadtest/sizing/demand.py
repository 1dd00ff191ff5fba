"""How many live calls there are at once, and calls of a simulation that begin and end as real ones would."""

from __future__ import annotations

import math
import random
from statistics import NormalDist
from typing import Final

CALL_S: Final = 180.0
SHARE_OF_TIME: Final = 0.999  # in which there are no more calls at once than machines are bought for
EXACT_BELOW: Final = 50.0  # calls, up to which the Poisson distribution is summed, not taken as normal


def most_at_once(mean: float, share: float = SHARE_OF_TIME) -> int:
    """Calls at once that are not exceeded in that share of the time.

    Calls that begin by chance (a Poisson process) and last as they like, whatever the distribution of their length,
    are Poisson-distributed in number at every moment (the queue M/G/infinity).
    """
    if mean <= EXACT_BELOW:
        number, chance = 0, math.exp(-mean)
        below = chance
        while below < share:
            number += 1
            chance *= mean / number
            below += chance
        return number
    return math.ceil(mean + NormalDist().inv_cdf(share) * math.sqrt(mean))


def calls_at_once(
    mean: float, seconds: float, hop_s: float, seed: int, call_s: float = CALL_S
) -> list[tuple[float, float]]:
    """Beginnings and lengths of calls, in seconds, that are `mean` at once on average from the first hop's end on.

    Calls begin as a Poisson process and last exponentially long: those that are there at the beginning have as long
    before them as new ones. Their hops fall anywhere in a second, as those of independent callers do.
    """
    chance, calls = random.Random(seed), []
    at_s = 0.0
    while (at_s := at_s + chance.expovariate(mean)) < 1:
        calls.append((chance.uniform(0, hop_s), chance.expovariate(1 / call_s)))
    at_s = 0.0
    while (at_s := at_s + chance.expovariate(mean / call_s)) < seconds:
        calls.append((at_s, chance.expovariate(1 / call_s)))
    return calls
