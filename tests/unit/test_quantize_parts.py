"""Which nodes of a graph a lower precision leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from training.precision.graphs import Int8Recipe
from training.precision.parts import after, answering, before_logarithms, dense, first_linear


@pytest.fixture
def graph():
    """A spectrum, a convolution and a product on its logarithm, then two heads."""
    nodes = [
        helper.make_node("Conv", ["sound", "wave"], ["spectrum"], name="fourier"),
        helper.make_node("Mul", ["spectrum", "spectrum"], ["power"], name="square"),
        helper.make_node("Log", ["power"], ["level"], name="log"),
        helper.make_node("Conv", ["level", "stem"], ["seen"], name="stem"),
        helper.make_node("Relu", ["seen"], ["seen_relu"], name="relu"),
        helper.make_node("MatMul", ["seen_relu", "dense"], ["hidden"], name="dense"),
        helper.make_node("MatMul", ["hidden", "one"], ["logit"], name="one"),
        helper.make_node("Sigmoid", ["logit"], ["probability"], name="sigmoid"),
        helper.make_node("MatMul", ["hidden", "many"], ["logits"], name="many"),
        helper.make_node("Softmax", ["logits"], ["kinds"], name="softmax"),
    ]
    shapes = {"wave": (2, 2, 3), "stem": (2, 2, 3), "dense": (4, 20_000), "one": (20_000, 1), "many": (20_000, 5)}
    weights = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in shapes.items()]
    sound = helper.make_tensor_value_info("sound", TensorProto.FLOAT, ["n", 2, 8])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2, width])
        for name, width in (("probability", 1), ("kinds", 5))
    ]
    return helper.make_graph(nodes, "graph", [sound], outputs, weights)


def names(nodes):
    return {node.name for node in nodes.values()}


def test_every_output_has_its_own_last_layer(graph):
    assert names(answering(graph)) == {"one", "many"}


def test_a_spectrum_ends_at_its_logarithm(graph):
    assert names(before_logarithms(graph)) == {"fourier", "square", "log"}


def test_the_first_layer_is_what_no_other_stands_before(graph):
    assert names(first_linear(graph)) == {"fourier"}


def test_all_that_follows_is_found(graph):
    assert names(after(graph, answering(graph))) == {"one", "sigmoid", "many", "softmax"}


def test_int8_always_spares_the_spectrum_and_the_last_layers(graph):
    assert Int8Recipe().kept_float(graph) == ["fourier", "many", "one"]


def test_int8_spares_more_where_the_recipe_says_so(graph):
    assert Int8Recipe(float_dense=True).kept_float(graph) == ["dense", "fourier", "many", "one"]


def test_the_stem_is_spared_where_the_recipe_says_so(graph):
    del graph.node[:3]  # no spectrum: the picture comes first
    graph.input[0].name = "level"

    assert Int8Recipe(float_stem=True).kept_float(graph) == ["many", "one", "stem"]


def test_small_dense_layers_are_told_by_their_weights(graph):
    assert names(dense(graph, 20_000)) == {"one"}
    assert names(dense(graph)) == {"dense", "one", "many"}
