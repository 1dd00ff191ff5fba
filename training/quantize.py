"""Int8 and half precision of an exported graph: each is served where it decides as the exported one does."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import onnxruntime
from rich.console import Console

from preprocess_service.contract import MODEL_FILE, Canary, Contract, Graph, canary_inputs, sha256_of
from preprocess_service.model_spec import PROBABILITY, ModelSpec
from training.dataset import Rows
from training.precision.gate import Comparison, Gate, Runtime
from training.precision.graphs import INT8_RECIPES, Int8Maker, make_fp16
from training.precision.served import TRITON_PYTHON, GraphFailed, ServedGraph, TritonEnvironmentMissing
from training.precision.timing import INT8_FILE
from training.scoring import session

FP16_FILE: Final = "model.fp16.onnx"
NOISE_FACTOR: Final = 4.0  # from two ways to compute the canary's answer to all ways that there are
LARGEST_TOLERANCE: Final = 0.05  # a canary that forgives more would not notice a broken graph
NOT_TRIED: Final = "nothing in it can be int8: LSTM layers stay float"

console: Final = Console(stderr=True)


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

    def graph(self) -> Graph:
        """The contract's entry of an accepted graph."""
        if self.comparison is None or self.canary is None or self.objections:
            raise ValueError(f"{self.precision} was refused: {'; '.join(self.objections)}")
        return Graph(
            precision=self.precision, provider=self.provider, canary=self.canary, gate=self.comparison.to_dict()
        )

    def __str__(self) -> str:
        verdict = "accepted" if self.accepted else f"refused: {'; '.join(self.objections)}"
        return f"{self.precision}{f' by {self.provider}' if self.provider else ''} {verdict}"


def add_precisions(
    folder: Path, spec: ModelSpec, rows: Rows, contract: Contract, *, python: Path = TRITON_PYTHON
) -> Contract:
    """Completes a folder that holds model.onnx: adds what lower precisions pass the gate, links the file of each
    profile to the graph that it serves, and returns the contract with their entries, hashes and figures.

    For folders that nobody reads yet. `python` is the interpreter of Triton's environment; without it the CPU profile
    gets model.onnx. Raises GraphFailed where not even model.onnx can be served as it is.
    """
    return attempt_precisions(folder, spec, rows, contract, python=python)[0]


def attempt_precisions(
    folder: Path, spec: ModelSpec, rows: Rows, contract: Contract, *, python: Path = TRITON_PYTHON
) -> tuple[Contract, tuple[Attempt, Attempt]]:
    """As `add_precisions`; also returns how int8 and fp16 were judged."""
    exported = contract.graphs[MODEL_FILE]
    reference = onnxruntime.InferenceSession(str(folder / MODEL_FILE), providers=["CPUExecutionProvider"])
    gate = Gate(reference, spec, rows, contract.decision, "test")
    graphs, figures = {MODEL_FILE: exported}, dict(contract.figures)
    fp16 = _try_fp16(folder, spec, gate, reference, exported.canary.tolerance)
    int8 = _try_int8(folder, spec, rows, gate, exported.canary.tolerance, python)
    for attempt, file, served in ((int8, INT8_FILE, spec.cpu.graph_file), (fp16, FP16_FILE, spec.gpu.graph_file)):
        console.print(f"{spec.name}: {attempt}", markup=False, highlight=False, soft_wrap=True)
        if attempt.accepted:
            graphs[file] = graphs[served] = attempt.graph()
        elif attempt.precision == "int8":
            graphs[served] = _exported_by_the_cpu_profile(folder, spec, reference, exported, python)
        else:
            graphs[served] = exported
        os.link(folder / (file if attempt.accepted else MODEL_FILE), folder / served)
        if attempt.comparison:
            figures |= {f"{attempt.precision}_{key}": value for key, value in attempt.comparison.to_dict().items()}
    hashes = {name: sha256_of(folder / name) for name in graphs}
    completed = contract.model_copy(
        update={"graphs": graphs, "files": {**contract.files, **hashes}, "figures": figures}
    )
    return completed, (int8, fp16)


def _try_int8(folder: Path, spec: ModelSpec, rows: Rows, gate: Gate, tolerance: float, python: Path) -> Attempt:
    """The first recipe that passes, its file in `folder`; else the one that agrees best."""
    attempts = []
    with tempfile.TemporaryDirectory(prefix="quantize-") as temporary:
        maker = Int8Maker(folder / MODEL_FILE, spec, rows, Path(temporary))
        made = Path(temporary) / INT8_FILE
        for recipe in INT8_RECIPES:
            if not maker.quantisable(recipe):
                attempts.append(Attempt("int8", "", None, (NOT_TRIED,)))
                continue
            maker.make(recipe, made)
            try:
                attempts.append(judge_int8(made, spec, gate, tolerance, python=python))
            except TritonEnvironmentMissing as error:
                return Attempt("int8", "", None, (f"cannot be judged: {error}",))
            if attempts[-1].accepted:
                shutil.move(made, folder / INT8_FILE)
                return attempts[-1]
    return max(attempts, key=lambda each: each.comparison.label_agreement if each.comparison else -1.0)


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
            canary = _canary(served, plain, spec, tolerance)
            provider = served.get_providers()[0]
    except GraphFailed as error:
        return Attempt("int8", "", None, (str(error),))
    size = graph_file.stat().st_size
    return Attempt("int8", provider, comparison, tuple(comparison.objections), size, canary)


def _try_fp16(folder: Path, spec: ModelSpec, gate: Gate, reference: Runtime, tolerance: float) -> Attempt:
    """Judges half precision on the GPU where there is one, else on the CPU; its file stays only if it passes."""
    made = folder / FP16_FILE
    make_fp16(folder / MODEL_FILE, made)
    runtime = session(made)
    comparison = gate.compare(runtime)
    canary = _canary(runtime, reference, spec, tolerance)
    provider, size = runtime.get_providers()[0], made.stat().st_size
    if comparison.objections:
        made.unlink()
    return Attempt("fp16", provider, comparison, tuple(comparison.objections), size, canary)


def _exported_by_the_cpu_profile(
    folder: Path, spec: ModelSpec, reference: Runtime, exported: Graph, python: Path
) -> Graph:
    """The entry of model.onnx as the CPU profile runs it; raises GraphFailed where it answers otherwise than it should.

    Without Triton's environment, as it was exported.
    """
    try:
        with ServedGraph(folder / MODEL_FILE, spec, python=python) as served:
            canary = _canary(served, reference, spec, exported.canary.tolerance)
            provider = served.get_providers()[0]
    except TritonEnvironmentMissing:
        return exported
    difference = abs(canary.probability - exported.canary.probability)
    if not difference <= exported.canary.tolerance:
        raise GraphFailed(
            f"{spec.name}: {MODEL_FILE} by {provider} differs by {difference:.2g} from {exported.provider}; "
            f"at most {exported.canary.tolerance:g}"
        )
    return exported.model_copy(update={"provider": provider, "canary": canary})


def _canary(runtime: Runtime, other: Runtime, spec: ModelSpec, least_tolerance: float) -> Canary:
    """The answer of `runtime`, with a tolerance from how far `other`, which computes alike, is off."""
    answers = [float(each.run([PROBABILITY.name], canary_inputs(spec))[0][0, 0]) for each in (runtime, other)]
    noise = abs(answers[0] - answers[1])
    tolerance = min(max(least_tolerance, NOISE_FACTOR * noise), max(least_tolerance, LARGEST_TOLERANCE))
    return Canary(probability=answers[0], tolerance=tolerance)
