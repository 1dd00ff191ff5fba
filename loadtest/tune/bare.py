"""ONNX Runtime without Triton: the same graph, session and threads, a process an instance, batches ready in memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from preprocess_service.model_spec import ModelSpec
from preprocess_service.triton import Arrays
from training.precision.served import ServedGraph

BATCHES: Final = (1, 2, 4, 8)
TRIAL_RUNS: Final = 3
MS_A_S: Final = 1000


@dataclass(frozen=True)
class Bare:
    """By batch size, repetitions of each: rows a second, and milliseconds of processor time a row."""

    per_s: dict[int, tuple[float, ...]]
    cpu_ms: dict[int, tuple[float, ...]]

    @property
    def best_batch(self) -> int:
        return max(self.per_s, key=lambda size: statistics.median(self.per_s[size]))

    @property
    def best_per_s(self) -> float:
        return statistics.median(self.per_s[self.best_batch])

    @property
    def best_cpu_ms(self) -> float:
        """At the best batch size."""
        return statistics.median(self.cpu_ms[self.best_batch])

    @classmethod
    def of_rounds(cls, rounds: Sequence[Bare]) -> Self:
        """Several rounds as one."""
        sizes = rounds[0].per_s
        return cls(
            {size: tuple(value for each in rounds for value in each.per_s[size]) for size in sizes},
            {size: tuple(value for each in rounds for value in each.cpu_ms[size]) for size in sizes},
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "per_s": {str(size): [round(each, 1) for each in values] for size, values in self.per_s.items()},
            "cpu_ms": {str(size): [round(each, 4) for each in values] for size, values in self.cpu_ms.items()},
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

    def round(self, seconds: float) -> Bare:
        """Every batch size in turn, each held for about that long."""
        per_s: dict[int, tuple[float, ...]] = {}
        cpu_ms: dict[int, tuple[float, ...]] = {}
        for size in BATCHES:
            runs = max(1, round(seconds / self._run(size, TRIAL_RUNS)[0] * TRIAL_RUNS))
            took_s, cpu_s = self._run(size, runs)
            rows = len(self._graphs) * size * runs
            per_s[size], cpu_ms[size] = (rows / took_s,), (MS_A_S * cpu_s / rows,)
        return Bare(per_s, cpu_ms)

    def _run(self, size: int, runs: int) -> tuple[float, float]:
        """Wall and processor seconds of so many runs of a batch in all processes at once."""
        feed = {
            name: np.concatenate([self._arrays[index % len(self._arrays)][name] for index in range(size)])
            for name in self._arrays[0]
        }
        began = time.perf_counter()
        with ThreadPoolExecutor(len(self._graphs)) as pool:
            spent = list(pool.map(lambda graph: graph.seconds(self._names, feed, runs), self._graphs))
        return time.perf_counter() - began, sum(sum(each) for each in spent)
