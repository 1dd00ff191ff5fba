"""ONNX Runtime without Triton: the same graph, session and threads, a process an instance, batches ready in memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from preprocess_service.model_spec import ModelSpec
from preprocess_service.triton import Arrays
from training.precision.served import ServedGraph

BATCHES: Final = (1, 2, 4, 8)


@dataclass(frozen=True)
class Bare:
    """Rows a second by batch size, repetitions of each."""

    per_s: dict[int, tuple[float, ...]]

    @property
    def best_batch(self) -> int:
        return max(self.per_s, key=lambda size: statistics.median(self.per_s[size]))

    @property
    def best_per_s(self) -> float:
        return statistics.median(self.per_s[self.best_batch])

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "per_s": {str(size): [round(each, 1) for each in values] for size, values in self.per_s.items()},
            "best_batch": self.best_batch,
            "best_per_s": round(self.best_per_s, 1),
        }


class BareGraphs:
    """As many processes as the profile has instances; a context manager, which starts and ends them."""

    def __init__(self, version: Path, spec: ModelSpec, arrays: Sequence[Arrays]) -> None:
        self._graph_file, self._spec, self._arrays = version / spec.cpu.graph_file, spec, arrays
        self._names = [each.name for each in spec.outputs]
        self._stack = ExitStack()
        self._graphs: list[ServedGraph] = []

    def __enter__(self) -> BareGraphs:
        with ExitStack() as stack:
            for _ in range(self._spec.cpu.instances):
                self._graphs.append(stack.enter_context(ServedGraph(self._graph_file, self._spec)))
            self._stack = stack.pop_all()
        for size in BATCHES:
            self._run(size, 1)  # the first batch of a size is slow
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def rounds(self, seconds: float, count: int) -> Bare:
        """Every batch size in turn, `count` times over, each held for about that long."""
        per_s: dict[int, list[float]] = {size: [] for size in BATCHES}
        runs = {size: max(1, round(seconds / self._run(size, 3) * 3)) for size in BATCHES}
        for _ in range(count):
            for size in BATCHES:
                took_s = self._run(size, runs[size])
                per_s[size].append(len(self._graphs) * size * runs[size] / took_s)
        return Bare({size: tuple(values) for size, values in per_s.items()})

    def _run(self, size: int, runs: int) -> float:
        """Wall seconds of so many runs of a batch in all processes at once."""
        feed = {
            name: np.concatenate([self._arrays[index % len(self._arrays)][name] for index in range(size)])
            for name in self._arrays[0]
        }
        began = time.perf_counter()
        with ThreadPoolExecutor(len(self._graphs)) as pool:
            list(pool.map(lambda graph: graph.seconds(self._names, feed, runs), self._graphs))
        return time.perf_counter() - began
