"""`python -m training.front_end.measuring`: what a window costs by the graph and by the features of the service."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
import onnxruntime

from preprocess_service.features import mel
from preprocess_service.features.audio import PCM16_FULL_SCALE, TELEPHONE_RATE_HZ, resample
from preprocess_service.front_end import PERIOD, SPAN, TELEPHONE
from training.front_end.graph import build

ROUNDS: Final = 15
WINDOWS: Final = 48  # in a round
BATCHES: Final = (1, 8)


def main() -> int:
    """Prints medians of alternating rounds, CPU time of one thread: the machine may have other work."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(build().SerializeToString(), options, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    rows = generator.integers(-8000, 8000, (WINDOWS, *TELEPHONE.shape), np.int16)
    spans = np.tile(np.array([0, mel.MULTIMODAL_SAMPLES, 1], np.int32), (WINDOWS, 1))
    heard = rows[:, PERIOD : PERIOD + round(mel.MULTIMODAL_WINDOW_S * TELEPHONE_RATE_HZ)]

    def by_graph(batch: int) -> None:
        for start in range(0, WINDOWS, batch):
            here = slice(start, start + batch)
            session.run(None, {TELEPHONE.name: rows[here], SPAN.name: spans[here]})

    def by_features() -> None:
        for pcm in heard:
            telephone = pcm.astype(np.float32) / np.float32(PCM16_FULL_SCALE)
            mel.multimodal_mel(resample(telephone, TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ))

    ways: dict[str, Callable[[], None]] = {"features": by_features}
    ways |= {f"graph, batch {batch}": partial(by_graph, batch) for batch in BATCHES}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(1 + ROUNDS):
        for name, way in ways.items():
            started = time.process_time()
            way()
            taken[name].append(1000 * (time.process_time() - started) / WINDOWS)
    for name, times_ms in taken.items():
        steady = times_ms[1:]
        sys.stdout.write(f"{name:16} {statistics.median(steady):.2f} ms ({min(steady):.2f} to {max(steady):.2f})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
