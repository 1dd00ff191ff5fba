"""Keras to ONNX, through a gate that lets nothing doubtful into the model repository."""

from __future__ import annotations

import json
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
    Graph,
    KindSettings,
    TrainingData,
    canary_inputs,
    feature_settings,
    sha256_of,
)
from preprocess_service.model_spec import PROBABILITY, WAVEFORM, ModelSpec
from training import alerting, golden
from training.dataset import Corpus, Rows
from training.decision import figures, fit_operating_point, fit_temperature
from training.manifest import EMERGENCY_KINDS
from training.quantize import add_precisions
from training.recordings import Scorer
from training.scoring import clip_kinds, clip_scores, clips_with_words, judge_clips, row_inputs, session
from training.staging import staged
from training.train import Trained

OPSET: Final = 17
IR_VERSION: Final = 8  # what every ONNX Runtime from Triton 24.10 on reads
LARGEST_DIFFERENCE: Final = 1e-4  # ONNX Runtime against Keras
# Where the spectrogram is part of the graph: some thirty layers take up what its logarithm makes of rounding, which on
# processors without AVX-512 came to 2e-4.
LARGEST_DIFFERENCE_OF_WAVEFORMS: Final = 1e-3
CANARY_TOLERANCE: Final = 1e-3  # other machines and providers round otherwise; a broken server is further off
GATE_BATCHES: Final = 4
GATE_BATCH: Final = 64
LEAST_SPREAD: Final = 1e-6  # of the answers to different rows: a network that says the same to all has learnt nothing
RECORD_FILE: Final = "training.json"
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
    _rename_outputs(model.graph, spec)
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


def largest_difference(spec: ModelSpec) -> float:
    """What ONNX Runtime's probabilities may differ from Keras's."""
    return LARGEST_DIFFERENCE_OF_WAVEFORMS if spec.audio == WAVEFORM else LARGEST_DIFFERENCE


def check_numbers(model: onnx.ModelProto, trained: Trained, rows: Rows) -> float:
    """The greatest difference between ONNX Runtime and Keras on real features.

    Raises ExportRefused where it is too great, and for a network that gives every row the same answer.
    """
    spec, runtime = trained.spec, session(model.SerializeToString())
    count = min(GATE_BATCHES * GATE_BATCH, len(rows.clip_of_row))
    chosen = np.linspace(0, len(rows.clip_of_row) - 1, count).astype(np.int64)
    names = [each.name for each in spec.outputs]
    difference, probabilities = 0.0, []
    for start in range(0, count, GATE_BATCH):
        arrays = row_inputs(spec, rows, chosen[start : start + GATE_BATCH])
        onnx_answers = dict(zip(names, runtime.run(names, arrays), strict=True))
        keras_answers = trained.network.predict_on_batch(_as_keras_takes(arrays))
        differences = [np.abs(onnx_answers[name] - np.asarray(keras_answers[name])).max() for name in names]
        difference = max(difference, *map(float, differences))
        probabilities.append(onnx_answers[PROBABILITY.name])
    if not difference <= (allowed := largest_difference(spec)):
        raise ExportRefused(f"{spec.name}: ONNX Runtime and Keras differ by {difference:.2g}; at most {allowed:g}")
    if not (spread := float(np.ptp(np.concatenate(probabilities)))) >= LEAST_SPREAD:
        raise ExportRefused(f"{spec.name}: {count} rows get answers within {spread:.2g} of each other")
    return difference


def export(trained: Trained, corpus: Corpus, rows: Rows, folder: Path, version: int) -> Contract:
    """Converts, gates, calibrates on validation, chooses the alert policy there, too, and measures on test; `folder`
    then holds all that a version needs.

    The folder appears whole or not at all; an existing one is replaced.
    """
    spec = trained.spec
    model = to_onnx(trained)
    check_graph(model, spec)
    difference = check_numbers(model, trained, rows)
    with staged(folder) as partial:
        onnx.save(model, partial / MODEL_FILE)
        contract = _contract(trained, corpus, rows, partial / MODEL_FILE, version, difference)
        contract = add_precisions(partial, spec, rows, contract)
        scorer = Scorer(session(partial / MODEL_FILE), spec, contract)
        golden.choose(scorer, corpus, np.flatnonzero(rows.splits == "test"), partial)
        files = contract.files | {golden.FILE_NAME: sha256_of(partial / golden.FILE_NAME)}
        contract = contract.model_copy(update={"files": files})
        (partial / RECORD_FILE).write_text(json.dumps(trained.record, indent=1), encoding="utf-8")
        (partial / FILE_NAME).write_text(contract.model_dump_json(indent=1), encoding="utf-8")
    return contract


def _contract(
    trained: Trained, corpus: Corpus, rows: Rows, model_file: Path, version: int, difference: float
) -> Contract:
    spec, runtime = trained.spec, session(model_file)
    decision = _decision(spec, runtime, rows)
    (canary_answer,) = runtime.run([PROBABILITY.name], canary_inputs(spec))
    canary = Canary(probability=float(canary_answer[0, 0]), tolerance=CANARY_TOLERANCE)
    contract = Contract(
        model=spec.name,
        version=version,
        features=feature_settings(spec),
        text=trained.text_settings,
        decision=decision,
        alert=alerting.untried(decision),
        kinds=_kinds(spec, runtime, corpus, rows) if spec.names_kind else None,
        training_data=TrainingData(
            corpus=corpus.sources, fingerprint=corpus.fingerprint, clips=int((rows.splits == "train").sum())
        ),
        pretrained_base=trained.pretrained_base,
        figures={"onnx_keras_difference": difference, **_test_figures(spec, runtime, rows, decision)},
        graphs={MODEL_FILE: Graph(precision="fp32", provider=runtime.get_providers()[0], canary=canary, gate={})},
        files={MODEL_FILE: sha256_of(model_file)},
    )
    alert = alerting.choose(Scorer(runtime, spec, contract), corpus, rows)
    return contract.model_copy(update={"alert": alert})


def _kinds(spec: ModelSpec, runtime: Any, corpus: Corpus, rows: Rows) -> KindSettings:
    emergencies = np.flatnonzero((rows.splits == "validation") & rows.is_emergency)
    true = np.array([EMERGENCY_KINDS.index(corpus.clips[index].kind) for index in emergencies])
    temperature = fit_temperature(clip_kinds(runtime, spec, rows, emergencies), true)
    return KindSettings(names=EMERGENCY_KINDS, temperature=temperature)


def _decision(spec: ModelSpec, runtime: Any, rows: Rows) -> Decision:
    clips = np.flatnonzero(rows.splits == "validation")
    heard = fit_operating_point(clip_scores(runtime, spec, rows, clips, with_text=False), rows.is_emergency[clips])
    if not spec.tokens:
        return Decision(with_transcript=heard, without_transcript=heard)
    read = clips_with_words(rows, clips)
    whole = fit_operating_point(clip_scores(runtime, spec, rows, read), rows.is_emergency[read])
    return Decision(with_transcript=whole, without_transcript=heard)


def _test_figures(spec: ModelSpec, runtime: Any, rows: Rows, decision: Decision) -> dict[str, float]:
    clips = np.flatnonzero(rows.splits == "test")
    measured = figures(judge_clips(runtime, spec, decision, rows, clips), rows.is_emergency[clips])
    return {f"test_{key}": value for key, value in measured.to_dict().items()}


def _as_keras_takes(arrays: dict[str, Any]) -> Any:
    """A network of one input takes the bare array."""
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def _describe(value: onnx.ValueInfoProto) -> tuple[int, tuple[int | str, ...]]:
    tensor = value.type.tensor_type
    return tensor.elem_type, tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim)


def _rename_outputs(graph: onnx.GraphProto, spec: ModelSpec) -> None:
    """Gives the graph's outputs the names of the spec, whatever their last nodes called them; they differ in width."""
    by_width = {tensor.shape[-1]: tensor.name for tensor in spec.outputs}
    for output in graph.output:
        old, new = output.name, by_width.get(output.type.tensor_type.shape.dim[-1].dim_value, output.name)
        for node in graph.node:
            node.output[:] = [new if each == old else each for each in node.output]
            node.input[:] = [new if each == old else each for each in node.input]
        output.name = new
