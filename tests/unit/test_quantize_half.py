"""Half precision of a graph with a spectrum, whose powers half precision cannot hold."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from training.precision.graphs import make_fp16

SOUND = np.array([[300.0, 2000.0, 1e-3], [5.0, 700.0, 40.0]], np.float32)


@pytest.fixture
def spectrum(tmp_path):
    """probability = sigmoid(relu(log(sound² + 1e-6) W) v): the square of 2000 is far above 65504."""
    nodes = [
        helper.make_node("Mul", ["sound", "sound"], ["power"], name="square"),
        helper.make_node("Add", ["power", "least"], ["sum"], name="add"),
        helper.make_node("Log", ["sum"], ["level"], name="log"),
        helper.make_node("MatMul", ["level", "w"], ["mixed"], name="mix"),
        helper.make_node("Relu", ["mixed"], ["hidden"], name="relu"),
        helper.make_node("MatMul", ["hidden", "v"], ["logit"], name="last"),
        helper.make_node("Sigmoid", ["logit"], ["probability"], name="sigmoid"),
    ]
    random = np.random.default_rng(1)
    weights = {
        "least": np.float32(1e-6),
        "w": random.normal(0, 0.2, (3, 4)).astype(np.float32),
        "v": random.normal(0, 0.5, (4, 1)).astype(np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "spectrum",
        [helper.make_tensor_value_info("sound", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def answers(path):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["probability"], {"sound": SOUND})[0]


def test_a_spectrum_keeps_its_powers(spectrum, tmp_path):
    make_fp16(spectrum, tmp_path / "half.onnx")

    np.testing.assert_allclose(answers(tmp_path / "half.onnx"), answers(spectrum), atol=2e-3)


def test_only_what_lies_between_spectrum_and_last_layer_is_half(spectrum, tmp_path):
    make_fp16(spectrum, tmp_path / "half.onnx")

    model = onnx.load(tmp_path / "half.onnx")
    assert {each.name: each.data_type for each in model.graph.initializer} == {
        "least": TensorProto.FLOAT,
        "w": TensorProto.FLOAT16,
        "v": TensorProto.FLOAT,
    }
    assert [each.op_type for each in model.graph.node].count("Cast") == 2
    assert model.ir_version == 8


def test_the_probability_has_the_steps_of_single_precision(spectrum, tmp_path):
    """Near 1 half precision knows only 0.9995, 1."""
    original = onnx.load(spectrum)
    (last,) = (each for each in original.graph.initializer if each.name == "v")
    last.CopyFrom(numpy_helper.from_array(np.full((4, 1), 3, np.float32), "v"))
    onnx.save(original, spectrum)
    make_fp16(spectrum, tmp_path / "half.onnx")

    found = answers(tmp_path / "half.onnx")

    assert found.min() > 0.9
    assert (found.astype(np.float16).astype(np.float32) != found).any()


def inner_names(path):
    graph = onnx.load(path).graph
    return {name for node in graph.node for name in node.output} - {value.name for value in graph.output}


def test_networks_of_one_shape_share_no_inner_name(spectrum, tmp_path):
    """TensorRT's engines are kept under these names."""
    make_fp16(spectrum, tmp_path / "half.onnx")
    make_fp16(spectrum, tmp_path / "again.onnx")
    other = onnx.load(spectrum)
    (weights,) = (each for each in other.graph.initializer if each.name == "w")
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(1.5), "w"))
    onnx.save(other, spectrum)
    make_fp16(spectrum, tmp_path / "other.onnx")

    assert inner_names(tmp_path / "half.onnx") == inner_names(tmp_path / "again.onnx")
    assert len(inner_names(tmp_path / "half.onnx")) > 1
    assert not inner_names(tmp_path / "half.onnx") & inner_names(tmp_path / "other.onnx")
