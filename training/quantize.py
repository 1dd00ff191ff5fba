"""Int8 and half precision of an exported graph: each is served where it decides as the exported one does, on the kind
of machine that serves it."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final

import onnxruntime
from rich.console import Console

from preprocess_service.contract import MODEL_FILE, Contract, Decision, Graph, sha256_of
from preprocess_service.model_spec import ModelSpec
from training.dataset import Rows
from training.precision.attempt import Attempt, canary_of, choose_recipe, judge_int8
from training.precision.gate import Gate, Runtime, shortage
from training.precision.graphs import Int8Maker, make_fp16
from training.precision.served import TRITON_PYTHON, GraphFailed, ServedGraph, TritonEnvironmentMissing
from training.precision.timing import INT8_FILE
from training.scoring import session

FP16_FILE: Final = "model.fp16.onnx"

console: Final = Console(stderr=True)


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
    gates = Gates(reference, spec, rows, contract.decision)
    graphs, figures = {MODEL_FILE: exported}, dict(contract.figures)
    fp16 = _try_fp16(folder, spec, rows, gates, reference, exported.canary.tolerance)
    int8 = _try_int8(folder, spec, rows, gates, exported.canary.tolerance, python)
    for attempt, file, served in ((int8, INT8_FILE, spec.cpu.graph_file), (fp16, FP16_FILE, spec.gpu.graph_file)):
        console.print(f"{spec.name}: {attempt}", markup=False, highlight=False, soft_wrap=True)
        if attempt.accepted:
            graphs[file] = attempt.graph()
        if attempt.served:
            graphs[served] = graphs[file]
        elif attempt.precision == "int8":
            graphs[served] = _exported_by_the_cpu_profile(folder, spec, reference, exported, python)
        else:
            graphs[served] = exported
        os.link(folder / (file if attempt.served else MODEL_FILE), folder / served)
        if attempt.comparison:
            figures |= {f"{attempt.precision}_{key}": value for key, value in attempt.comparison.to_dict().items()}
    hashes = {name: sha256_of(folder / name) for name in graphs}
    completed = contract.model_copy(
        update={"graphs": graphs, "files": {**contract.files, **hashes}, "figures": figures}
    )
    return completed, (int8, fp16)


class Gates:
    """The gates of one exported graph: recipes are chosen on validation clips, and the chosen one is judged once on
    the test split, whose figures would flatter the best of several. A gate is made when it is first needed."""

    def __init__(self, reference: Runtime, spec: ModelSpec, rows: Rows, decision: Decision) -> None:
        self._made_of = (reference, spec, rows, decision)

    @cached_property
    def validation(self) -> Gate:
        return Gate(*self._made_of, "validation")

    @cached_property
    def test(self) -> Gate:
        return Gate(*self._made_of, "test")


def _try_int8(folder: Path, spec: ModelSpec, rows: Rows, gates: Gates, tolerance: float, python: Path) -> Attempt:
    """Judges the chosen recipe on the test split; its file is in `folder` where it is accepted."""
    if objection := shortage(rows, "validation", "test"):
        return Attempt("int8", "", None, (objection,))
    with tempfile.TemporaryDirectory(prefix="quantize-") as temporary:
        try:
            made, chosen = choose_recipe(
                Int8Maker(folder / MODEL_FILE, spec, rows, Path(temporary)),
                lambda file: judge_int8(file, spec, gates.validation, tolerance, python=python),
                Path(temporary),
            )
            if chosen.comparison is None:
                return chosen
            judged = judge_int8(made, spec, gates.test, tolerance, python=python)
        except TritonEnvironmentMissing as error:
            return Attempt("int8", "", None, (f"cannot be judged: {error}",))
        before = tuple(f"on validation clips: {each}" for each in chosen.objections)
        judged = replace(judged, objections=(*before, *judged.objections))
        if judged.accepted:
            shutil.move(made, folder / INT8_FILE)
        return judged


def _try_fp16(folder: Path, spec: ModelSpec, rows: Rows, gates: Gates, reference: Runtime, tolerance: float) -> Attempt:
    """Judges half precision on the GPU where there is one, else on the CPU; its file stays only if it passes, and is
    served only if a GPU judged it."""
    if objection := shortage(rows, "test"):
        return Attempt("fp16", "", None, (objection,))
    made = folder / FP16_FILE
    make_fp16(folder / MODEL_FILE, made)
    runtime = session(made)
    comparison = gates.test.compare(runtime)
    canary = canary_of(runtime, reference, spec, tolerance)
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
            canary = canary_of(served, reference, spec, exported.canary.tolerance)
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
