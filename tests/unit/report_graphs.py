"""Small real graphs with contracts, whose right answers are known: they stand where trained models would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from preprocess_service.contract import (
    FILE_NAME,
    MODEL_FILE,
    Canary,
    Contract,
    Decision,
    Graph,
    KindSettings,
    OperatingPoint,
    TextSettings,
    TrainingData,
    feature_settings,
    sha256_of,
)
from preprocess_service.features import text
from preprocess_service.model_spec import KINDS, PROBABILITY, ModelSpec
from tests import alert_settings
from training.manifest import EMERGENCY_KINDS
from training.recordings import Scorer
from training.scoring import session

ALARM_WORD = "불"
VOCABULARY = ("안녕", ALARM_WORD, "집")
ALARM_ID = text.FIRST_WORD_ID + 1
HIGH, LOW = 0.9, 0.1
_TYPES = {"FP32": TensorProto.FLOAT, "INT32": TensorProto.INT32}


def word_graph(spec: ModelSpec) -> onnx.ModelProto:
    """HIGH where ALARM_WORD is among the tokens, else LOW."""
    nodes = [
        helper.make_node("Equal", ["tokens", "word"], ["is_word"]),
        helper.make_node("Cast", ["is_word"], ["found"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["found"], ["any"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["any", "rise"], ["risen"]),
        helper.make_node("Add", ["risen", "low"], [PROBABILITY.name]),
    ]
    constants = {
        "word": np.array([ALARM_ID], np.int32),
        "rise": np.array([HIGH - LOW], np.float32),
        "low": np.array([LOW], np.float32),
    }
    return _model(spec, nodes, constants)


def loudness_graph(spec: ModelSpec) -> onnx.ModelProto:
    """A probability that rises with the mean of the audio tensor."""
    axes = list(range(1, len(spec.audio.shape) + 1))
    nodes = [
        helper.make_node("ReduceMean", [spec.audio.name], ["mean"], axes=axes, keepdims=0),
        helper.make_node("Mul", ["mean", "slope"], ["scaled"]),
        helper.make_node("Sigmoid", ["scaled"], ["flat"]),
        helper.make_node("Reshape", ["flat", "column"], [PROBABILITY.name]),
    ]
    return _model(spec, nodes, {"slope": np.array([0.02], np.float32), "column": np.array([-1, 1], np.int64)})


def _model(spec: ModelSpec, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    outputs = [helper.make_tensor_value_info(PROBABILITY.name, TensorProto.FLOAT, ["batch", 1])]
    if spec.names_kind:
        nodes = [
            *nodes,
            helper.make_node("MatMul", [PROBABILITY.name, "kind_weights"], ["kind_logits"]),
            helper.make_node("Softmax", ["kind_logits"], [KINDS.name]),
        ]
        constants = {**constants, "kind_weights": np.linspace(1, 0, KINDS.shape[0], dtype=np.float32)[np.newaxis]}
        outputs.append(helper.make_tensor_value_info(KINDS.name, TensorProto.FLOAT, ["batch", *KINDS.shape]))
    graph = helper.make_graph(
        nodes,
        spec.name,
        [
            helper.make_tensor_value_info(each.name, _TYPES[each.datatype], ["batch", *each.shape])
            for each in spec.inputs
        ],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def contract_of(spec: ModelSpec, files: dict[str, str], fingerprint: str = "unknown") -> Contract:
    """A contract that leaves probabilities as they are, with the threshold at one half."""
    point = OperatingPoint(scale=1, offset=0, threshold=0.5, uncertain_from=0.3)
    graph = Graph(
        precision="fp32", provider="CPUExecutionProvider", canary=Canary(probability=LOW, tolerance=1), gate={}
    )
    return Contract(
        model=spec.name,
        version=1,
        features=feature_settings(spec),
        text=TextSettings(tokens=text.TOKENS, vocabulary=VOCABULARY, stop_words=frozenset()) if spec.tokens else None,
        decision=Decision(with_transcript=point, without_transcript=point),
        alert=alert_settings.settings(),
        kinds=KindSettings(names=EMERGENCY_KINDS, temperature=1) if spec.names_kind else None,
        training_data=TrainingData(corpus="synthetic", fingerprint=fingerprint, clips=10),
        pretrained_base=None,
        figures={"onnx_keras_difference": 0.0},
        graphs=dict.fromkeys(files, graph),
        files=files,
    )


def scorer_of(spec: ModelSpec, graph: onnx.ModelProto) -> Scorer:
    return Scorer(session(graph.SerializeToString()), spec, contract_of(spec, {}))


def put_model(repository: Path, spec: ModelSpec, graph: onnx.ModelProto, fingerprint: str) -> Path:
    """Writes version 1 of a model into a repository and returns its folder."""
    folder = repository / spec.name / "1"
    folder.mkdir(parents=True)
    names = {MODEL_FILE, spec.cpu.graph_file, spec.gpu.graph_file}
    for name in names:
        onnx.save(graph, folder / name)
    files = {name: sha256_of(folder / name) for name in names}
    (folder / FILE_NAME).write_text(contract_of(spec, files, fingerprint).model_dump_json(), encoding="utf-8")
    return folder
