"""Graphs of lower precision, and what came of judging them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from preprocess_service.contract import Canary, Graph, canary_inputs
from preprocess_service.model_spec import PROBABILITY, ModelSpec
from training.precision.gate import Comparison, Gate, Runtime
from training.precision.graphs import INT8_RECIPES, Int8Maker
from training.precision.served import TRITON_PYTHON, GraphFailed, ServedGraph
from training.precision.timing import INT8_FILE

GPU_PROVIDER: Final = "CUDAExecutionProvider"
NOT_TRIED: Final = "nothing in it can be int8: LSTM layers stay float"
NOT_ON_A_GPU: Final = "not judged on a GPU"
NOISE_FACTOR: Final = 4.0  # from two ways to compute the canary's answer to all ways that there are
LARGEST_TOLERANCE: Final = 0.05  # a canary that forgives more would not notice a broken graph


@dataclass(frozen=True)
class Attempt:
    """One graph of lower precision, as it was judged; without a comparison it could not be made or run."""

    precision: Literal["int8", "fp16"]
    provider: str
    comparison: Comparison | None
    objections: tuple[str, ...]
    size: int = 0  # bytes
    canary: Canary | None = None

    @property
    def accepted(self) -> bool:
        return self.comparison is not None and not self.objections

    @property
    def served(self) -> bool:
        """Whether its profile serves it: the GPU's takes half precision only as a GPU was seen to compute it."""
        return self.accepted and (self.precision == "int8" or self.provider == GPU_PROVIDER)

    @property
    def verdict(self) -> str:
        if not self.accepted:
            return "refused"
        return "accepted" if self.served else f"accepted, not served: {NOT_ON_A_GPU}"

    def graph(self) -> Graph:
        """The contract's entry of an accepted graph."""
        if self.comparison is None or self.canary is None or self.objections:
            raise ValueError(f"{self.precision} was refused: {'; '.join(self.objections)}")
        return Graph(
            precision=self.precision, provider=self.provider, canary=self.canary, gate=self.comparison.to_dict()
        )

    def __str__(self) -> str:
        by = f" by {self.provider}" if self.provider else ""
        return f"{self.precision}{by} {': '.join([self.verdict, *filter(None, ['; '.join(self.objections)])])}"


def choose_recipe(maker: Int8Maker, judge: Callable[[Path], Attempt], folder: Path) -> tuple[Path, Attempt]:
    """The graph of the first recipe that `judge` accepts, else of the one that agrees best, and its judgement."""
    attempts: list[tuple[Path, Attempt]] = []
    for number, recipe in enumerate(INT8_RECIPES):
        made = folder / f"{number}-{INT8_FILE}"
        if not maker.quantisable(recipe):
            attempts.append((made, Attempt("int8", "", None, (NOT_TRIED,))))
            continue
        maker.make(recipe, made)
        attempts.append((made, judge(made)))
        if attempts[-1][1].accepted:
            return attempts[-1]
    return max(attempts, key=lambda each: each[1].comparison.label_agreement if each[1].comparison else -1.0)


def judge_int8(
    graph_file: Path, spec: ModelSpec, gate: Gate, tolerance: float, *, python: Path = TRITON_PYTHON
) -> Attempt:
    """Judges an int8 graph by the provider that the CPU profile serves it with."""
    try:
        with (
            ServedGraph(graph_file, spec, python=python) as served,
            ServedGraph(graph_file, spec, python=python, accelerated=False) as plain,
        ):
            comparison = gate.compare(served)
            canary = canary_of(served, plain, spec, tolerance)
            provider = served.get_providers()[0]
    except GraphFailed as error:
        return Attempt("int8", "", None, (str(error),))
    size = graph_file.stat().st_size
    return Attempt("int8", provider, comparison, tuple(comparison.objections), size, canary)


def canary_of(runtime: Runtime, other: Runtime, spec: ModelSpec, least_tolerance: float) -> Canary:
    """The answer of `runtime`, with a tolerance from how far `other`, which computes alike, is off."""
    answers = [float(each.run([PROBABILITY.name], canary_inputs(spec))[0][0, 0]) for each in (runtime, other)]
    noise = abs(answers[0] - answers[1])
    tolerance = min(max(least_tolerance, NOISE_FACTOR * noise), max(least_tolerance, LARGEST_TOLERANCE))
    return Canary(probability=answers[0], tolerance=tolerance)
