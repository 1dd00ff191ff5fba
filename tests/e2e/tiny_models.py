"""Model repositories of tiny networks with true contracts: what the service does with models, in seconds."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf import text_format
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tritonclient.grpc import model_config_pb2

from preprocess_service.contract import (
    CANDIDATE_MARKER,
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
    canary_inputs,
    feature_settings,
    sha256_of,
)
from preprocess_service.features import text
from preprocess_service.model_spec import KINDS, MODELS, PROBABILITY, ModelSpec
from tests import alert_settings
from tests.integration import small_models
from training.manifest import EMERGENCY_KINDS
from training.triton_config import write_configs

THRESHOLD, UNCERTAIN_FROM = 0.8, 0.3
LIKELIEST = 4  # index of the kind that every tiny network finds likeliest
PROVIDER = "CPUExecutionProvider"


def make_repository(folder: Path, *names: str) -> Path:
    """A repository with the configurations of all models, and version 1 of those named."""
    folder.mkdir(parents=True)
    write_configs(folder)
    for name in names:
        add_version(folder, name, 1)
    return folder


def add_version(
    repository: Path,
    name: str,
    version: int,
    *,
    probability: float = 0.5,
    candidate: bool = False,
    broken: bool = False,
    graphs: dict[str, Graph] | None = None,
) -> Path:
    """A version whose network answers everything with about `probability`, moved into place whole as an export is.

    Triton cannot load a `broken` one, though its contract is true; `graphs` is what the contract says in place of the
    truth.
    """
    spec = MODELS[name]
    partial = repository / name / f".{version}"
    partial.mkdir(parents=True)
    onnx.save(network(spec, probability), partial / MODEL_FILE)
    answer = answer_to_canary(spec, partial / MODEL_FILE)
    if broken:
        (partial / MODEL_FILE).write_bytes(b"no network")
    files = [MODEL_FILE, spec.cpu.graph_file, spec.gpu.graph_file]
    for file in files[1:]:
        os.link(partial / MODEL_FILE, partial / file)
    graph = Graph(precision="fp32", provider=PROVIDER, canary=Canary(probability=answer, tolerance=1e-3), gate={})
    digests = {file: sha256_of(partial / file) for file in files}
    made = contract(spec, version, graphs=graphs or dict.fromkeys(files, graph), files=digests)
    (partial / FILE_NAME).write_text(made.model_dump_json(), encoding="utf-8")
    if candidate:
        (partial / CANDIDATE_MARKER).touch()
    return partial.rename(repository / name / str(version))


def load_slowly(repository: Path, name: str, runs: int) -> None:
    """Has Triton run the model so many times, in its warm-ups, when it loads it."""
    path = repository / name / "configs/cpu.pbtxt"
    config = text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    for warm_up in config.model_warmup:
        warm_up.count = runs // len(config.model_warmup)
    path.write_text(text_format.MessageToString(config), encoding="utf-8")


def contract(spec: ModelSpec, version: int, *, graphs: dict[str, Graph], files: dict[str, str]) -> Contract:
    point = OperatingPoint(scale=1, offset=0, threshold=THRESHOLD, uncertain_from=UNCERTAIN_FROM)
    words = TextSettings(tokens=text.TOKENS, vocabulary=("불", "나다"), stop_words=frozenset())
    return Contract(
        model=spec.name,
        version=version,
        features=feature_settings(spec),
        text=words if spec.tokens else None,
        decision=Decision(with_transcript=point, without_transcript=point),
        alert=alert_settings.settings(),
        kinds=KindSettings(names=EMERGENCY_KINDS, temperature=1.0) if spec.names_kind else None,
        training_data=TrainingData(corpus="none", fingerprint="none", clips=0),
        pretrained_base=None,
        figures={},
        graphs=graphs,
        files=files,
    )


def network(spec: ModelSpec, probability: float) -> onnx.ModelProto:
    """probability = sigmoid(logit(p) + mean of the audio / 10^6); kinds = a fixed distribution."""
    axes = list(range(1, len(spec.audio.shape) + 1))
    constants: dict[str, NDArray[Any]] = {
        "small": np.array([1e-6], np.float32),
        "logit": np.array([math.log(probability / (1 - probability))], np.float32),
        "axes": np.array(axes, np.int64),
        "flat": np.array([-1, 1], np.int64),
    }
    nodes = [
        helper.make_node("ReduceMean", [spec.audio.name, "axes"], ["mean"]),
        helper.make_node("Reshape", ["mean", "flat"], ["column"]),
        helper.make_node("Mul", ["column", "small"], ["little"]),
        helper.make_node("Add", ["little", "logit"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], [PROBABILITY.name]),
    ]
    if spec.names_kind:
        constants["kind_logits"] = np.zeros(KINDS.shape, np.float32)
        constants["kind_logits"][[LIKELIEST, LIKELIEST + 1]] = 2.0, 1.0
        nodes += [
            helper.make_node("Add", ["little", "kind_logits"], ["kind_sums"]),
            helper.make_node("Softmax", ["kind_sums"], [KINDS.name], axis=1),
        ]
    types = {"FP32": TensorProto.FLOAT, "INT32": TensorProto.INT32}
    return small_models.model(
        nodes,
        [(each.name, types[each.datatype], ["batch", *each.shape]) for each in spec.inputs],
        [(each.name, types[each.datatype], ["batch", *each.shape]) for each in spec.outputs],
        constants,
    )


def answer_to_canary(spec: ModelSpec, path: Path) -> float:
    session = onnxruntime.InferenceSession(path, providers=[PROVIDER])
    return float(session.run([PROBABILITY.name], canary_inputs(spec))[0][0, 0])
