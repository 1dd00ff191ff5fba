"""Processor time per item of the graphs of one version, as one instance of the CPU profile runs them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from preprocess_service.contract import MODEL_FILE, canary_inputs
from preprocess_service.model_spec import ModelSpec
from training.precision.served import ServedGraph

BATCHES: Final = (1, 8)
ROUNDS: Final = 5
RUNS: Final = 3  # one after the other, before another graph has its turn
INT8_FILE: Final = "model.int8.onnx"


@dataclass(frozen=True)
class Timing:
    """Milliseconds of processor time per item by batch size, on one thread."""

    graph_file: str
    provider: str
    ms_by_batch: Mapping[int, float]


def measure_ms(folder: Path, spec: ModelSpec, inputs: Mapping[str, NDArray[Any]] | None = None) -> list[Timing]:
    """The exported graph by the CPU provider and by the CPU profile's, and the int8 graph where there is one.

    `inputs` are some rows, the canary's where None. Medians; the graphs take turns, so that what else the machine does
    meets all alike. Raises TritonEnvironmentMissing where Triton's environment is not installed.
    """
    rows = canary_inputs(spec) if inputs is None else inputs
    batches = {size: {name: _repeated(array, size) for name, array in rows.items()} for size in BATCHES}
    names = [each.name for each in spec.outputs]
    with ExitStack() as stack:
        graphs = [
            (file, stack.enter_context(ServedGraph(folder / file, spec, accelerated=accelerated)))
            for file, accelerated in ((MODEL_FILE, False), (MODEL_FILE, True), (INT8_FILE, True))
            if (folder / file).exists()
        ]
        seconds: dict[tuple[int, int], list[float]] = {}
        for warm_up in (True, *[False] * ROUNDS):
            for index, (_, graph) in enumerate(graphs):
                for size, arrays in batches.items():
                    taken = graph.seconds(names, arrays, RUNS)
                    if not warm_up:
                        seconds.setdefault((index, size), []).extend(taken)
        return [
            Timing(
                file,
                graph.get_providers()[0],
                {size: 1e3 * float(np.median(seconds[index, size])) / size for size in BATCHES},
            )
            for index, (file, graph) in enumerate(graphs)
        ]


def _repeated(array: NDArray[Any], size: int) -> NDArray[Any]:
    """The first `size` rows, from the beginning again where there are fewer."""
    return np.take(array, range(size), axis=0, mode="wrap")
