"""Keras to ONNX, through a gate that lets nothing doubtful into the model repository."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from preprocess_service.contract import (
    FILE_NAME,
    MODEL_FILE,
    Canary,
    Contract,
    Decision,
    TrainingData,
    canary_inputs,
    feature_settings,
    sha256_of,
)
from preprocess_service.model_spec import PROBABILITY, ModelSpec
from training.dataset import Corpus, Rows
from training.decision import figures, fit_operating_point
from training.scoring import clip_scores, row_inputs, session
from training.train import Trained

OPSET: Final = 17
IR_VERSION: Final = 8  # what every ONNX Runtime from Triton 24.10 on reads
LARGEST_DIFFERENCE: Final = 1e-4  # ONNX Runtime against Keras
CANARY_TOLERANCE: Final = 1e-3  # other machines and providers round otherwise; a broken server is further off
GATE_ROWS: Final = 64
_LOOPS: Final = frozenset({"Loop", "Scan", "If"})
_ONNX_TYPES: Final = {"FP32": onnx.TensorProto.FLOAT, "INT32": onnx.TensorProto.INT32}
_TF_TYPES: Final = {"FP32": tf.float32, "INT32": tf.int32}


class ExportRefused(Exception):
    """The graph fails the gate; the message says what was found and what is wanted."""


def to_onnx(trained: Trained) -> onnx.ModelProto:
    """Converts a network to ONNX with the names of its spec and a dynamic batch axis."""
    spec = trained.spec
    signature = [tf.TensorSpec((None, *each.shape), _TF_TYPES[each.datatype], name=each.name) for each in spec.inputs]
    model, _ = tf2onnx.convert.from_keras(trained.network, input_signature=signature, opset=OPSET)
    _rename_output(model.graph, PROBABILITY.name)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del model.graph.value_info[:]
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model


def check_graph(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Raises ExportRefused unless inputs, outputs and operators are those of the spec."""
    operators = {node.op_type for node in model.graph.node}
    if loops := operators & _LOOPS:
        raise ExportRefused(
            f"{spec.name}: the graph has {sorted(loops)}; a loop runs step by step and cannot be batched"
        )
    if spec.tokens and "LSTM" not in operators:
        raise ExportRefused(f"{spec.name}: the graph has no LSTM node, only {sorted(operators)}")
    for kind, values, wanted in (
        ("inputs", model.graph.input, spec.inputs),
        ("outputs", model.graph.output, spec.outputs),
    ):
        found = {value.name: _describe(value) for value in values}
        expected = {each.name: (_ONNX_TYPES[each.datatype], ("batch", *each.shape)) for each in wanted}
        if found != expected:
            raise ExportRefused(f"{spec.name}: the graph's {kind} are {found}; the spec says {expected}")


def check_numbers(model: onnx.ModelProto, trained: Trained, rows: Rows) -> float:
    """The greatest difference between ONNX Runtime and Keras on real features; raises ExportRefused above 1e-4."""
    chosen = np.linspace(0, len(rows.clip_of_row) - 1, GATE_ROWS).astype(np.int64)
    arrays = row_inputs(trained.spec, rows, chosen)
    (onnx_answer,) = session(model.SerializeToString()).run([PROBABILITY.name], arrays)
    keras_answer = np.asarray(trained.network.predict_on_batch(_as_keras_takes(arrays))[PROBABILITY.name])
    difference = float(np.abs(onnx_answer - keras_answer).max())
    if not difference <= LARGEST_DIFFERENCE:
        raise ExportRefused(
            f"{trained.spec.name}: ONNX Runtime and Keras differ by {difference:.2g}; at most {LARGEST_DIFFERENCE:g}"
        )
    return difference


def export(trained: Trained, corpus: Corpus, rows: Rows, repository: Path, version: int) -> Contract:
    """Converts, gates, calibrates on validation, measures on test, and puts model and contract into the repository.

    The version folder appears whole or not at all; an existing one of that number is replaced.
    """
    spec = trained.spec
    model = to_onnx(trained)
    check_graph(model, spec)
    difference = check_numbers(model, trained, rows)
    folder = repository / spec.name / str(version)
    partial = repository / spec.name / f".{version}.{os.getpid()}.partial"
    partial.mkdir(parents=True)
    onnx.save(model, partial / MODEL_FILE)
    contract = _contract(trained, corpus, rows, partial, version, difference)
    (partial / FILE_NAME).write_text(contract.model_dump_json(indent=1), encoding="utf-8")
    replaced = partial.with_suffix(".replaced")
    with contextlib.suppress(FileNotFoundError):
        folder.rename(replaced)
    partial.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)
    return contract


def _contract(trained: Trained, corpus: Corpus, rows: Rows, folder: Path, version: int, difference: float) -> Contract:
    spec, runtime = trained.spec, session(folder / MODEL_FILE)
    decision = _decision(spec, runtime, rows)
    (canary_answer,) = runtime.run([PROBABILITY.name], canary_inputs(spec))
    return Contract(
        model=spec.name,
        version=version,
        features=feature_settings(spec),
        text=trained.text_settings,
        decision=decision,
        training_data=TrainingData(
            corpus=corpus.sources, fingerprint=corpus.fingerprint, clips=int((rows.splits == "train").sum())
        ),
        pretrained_base=trained.pretrained_base,
        figures={"onnx_keras_difference": difference, **_test_figures(spec, runtime, rows, decision)},
        canary=Canary(probability=float(canary_answer[0, 0]), tolerance=CANARY_TOLERANCE),
        files={MODEL_FILE: sha256_of(folder / MODEL_FILE)},
    )


def _decision(spec: ModelSpec, runtime: Any, rows: Rows) -> Decision:
    clips = np.flatnonzero(rows.splits == "validation")
    labels = rows.is_emergency[clips]
    whole = fit_operating_point(clip_scores(runtime, spec, rows, clips), labels)
    if not spec.tokens:
        return Decision(with_transcript=whole, without_transcript=whole)
    heard = fit_operating_point(clip_scores(runtime, spec, rows, clips, with_text=False), labels)
    return Decision(with_transcript=whole, without_transcript=heard)


def _test_figures(spec: ModelSpec, runtime: Any, rows: Rows, decision: Decision) -> dict[str, float]:
    clips = np.flatnonzero(rows.splits == "test")
    scores = decision.with_transcript.calibrate(clip_scores(runtime, spec, rows, clips))
    measured = figures(scores, rows.is_emergency[clips], decision.with_transcript.threshold)
    return {f"test_{key}": value for key, value in measured.to_dict().items()}


def _as_keras_takes(arrays: dict[str, Any]) -> Any:
    """A network of one input takes the bare array."""
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def _describe(value: onnx.ValueInfoProto) -> tuple[int, tuple[int | str, ...]]:
    tensor = value.type.tensor_type
    return tensor.elem_type, tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim)


def _rename_output(graph: onnx.GraphProto, name: str) -> None:
    """Gives the graph's one output its name, whatever its last node called it."""
    (output,) = graph.output
    for node in graph.node:
        node.output[:] = [name if each == output.name else each for each in node.output]
        node.input[:] = [name if each == output.name else each for each in node.input]
    output.name = name
