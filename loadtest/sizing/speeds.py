"""How much several busy cores do together: so many times what one does, or less where they share much."""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import numpy as np

from preprocess_service.features import mel

SECONDS: Final = 1.0
TIMES: Final = 3  # the best counts: other programs can only make it less


def measure_speeds(cores: int | None = None) -> tuple[float, ...]:
    """What 1, 2 ... cores do together, in cores that work alone: measured for one and for all, a line between."""
    count = cores or os.cpu_count() or 1
    if count == 1:
        return (1.0,)
    context = multiprocessing.get_context("spawn")  # gRPC does not outlive a fork
    with ProcessPoolExecutor(count, mp_context=context) as pool:
        list(pool.map(_spectrograms, [SECONDS] * count))  # all have started
        alone, together = 0.0, 0.0
        for _ in range(TIMES):
            alone = max(alone, pool.submit(_spectrograms, SECONDS).result())
            together = max(together, sum(pool.map(_spectrograms, [SECONDS] * count)))
    return line_of_speeds(min(float(count), max(1.0, together / alone)), count)


def line_of_speeds(together: float, cores: int) -> tuple[float, ...]:
    """From 1.0 for one core to what all do together."""
    return tuple(1.0 + (together - 1.0) * busy / (cores - 1) for busy in range(cores)) if cores > 1 else (1.0,)


def _spectrograms(seconds: float) -> float:
    """How many of the model's spectrograms this process makes in a second of its own processor time: what others use
    does not count."""
    samples = np.random.default_rng(0).standard_normal(mel.MULTIMODAL_SAMPLES).astype(np.float32)
    began, spent, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        mel.multimodal_mel(samples)
        count += 1
    return count / (time.process_time() - spent)
