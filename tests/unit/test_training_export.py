"""The gate: what must not reach the model repository does not."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import onnx
import pytest
from keras import layers
from onnx import TensorProto, helper

from preprocess_service.model_spec import MODELS, MULTIMODAL, VGG16, WAVEFORM
from training import models
from training.dataset import Rows
from training.export import ExportRefused, check_graph, check_numbers, to_onnx
from training.recipes import RECIPES
from training.train import Trained

RANDOM = np.random.default_rng(4)


def rows_for(spec, count=8):
    tokens = RANDOM.integers(0, 902, (count, 12)).astype(np.int32) if spec.tokens else None
    index = np.arange(count)
    return Rows(
        audio=windows(spec, count),
        tokens=tokens,
        window_of_row=index,
        clip_of_row=index,
        is_emergency=index % 2 == 0,
        splits=np.array(["train"] * count),
    )


def windows(spec, count):
    low, high = (-0.1, 0.1) if spec.audio == WAVEFORM else (-80, 0)
    return RANDOM.uniform(low, high, (count, *spec.audio.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(2)
    return {name: Trained(MODELS[name], network(name), None, recipe.base and False) for name, recipe in RECIPES.items()}


def network(name):
    recipe = RECIPES[name]
    if recipe.listener:
        return models.multimodal(902)
    if recipe.base is None:
        return recipe.build(902)
    base, _ = recipe.base(None, RANDOM.uniform(-0.1, 0.1, (8, *MODELS[name].audio.shape)).astype(np.float32))
    return models.joined(base, recipe.build(902), MODELS[name])


@pytest.fixture(scope="module")
def graphs(trained):
    return {name: to_onnx(each) for name, each in trained.items()}


@pytest.mark.parametrize("name", MODELS)
def test_good_graphs_pass(trained, graphs, name):
    check_graph(graphs[name], MODELS[name])

    assert check_numbers(graphs[name], trained[name], rows_for(MODELS[name])) <= 1e-4


def test_multimodal_has_a_true_lstm(graphs):
    operators = {node.op_type for node in graphs["multimodal"].graph.node}

    assert "LSTM" in operators
    assert not operators & {"Loop", "Scan", "If"}


def test_a_masked_embedding_is_refused():
    """`mask_zero` turns the LSTM into something else on export."""
    original = models.multimodal(902)
    mel, tokens = original.inputs
    words = layers.LSTM(128)(layers.Embedding(902, 100, mask_zero=True)(tokens))
    joined = layers.Concatenate()([words, layers.Flatten()(layers.MaxPooling2D(16)(mel))])
    outputs = {"probability": layers.Dense(1, activation="sigmoid")(joined), "kinds": layers.Dense(14)(joined)}
    masked = keras.Model([mel, tokens], outputs)

    with pytest.raises(ExportRefused, match="Loop|no LSTM node"):
        check_graph(to_onnx(Trained(MULTIMODAL, masked, None, None)), MULTIMODAL)


def test_other_names_or_shapes_are_refused(graphs):
    renamed = replace(MULTIMODAL, audio=replace(MULTIMODAL.audio, name="spectrogram"))
    reshaped = replace(VGG16, audio=replace(VGG16.audio, shape=(224, 224, 3)))

    with pytest.raises(ExportRefused, match="inputs are.*spec says.*spectrogram"):
        check_graph(graphs["multimodal"], renamed)
    with pytest.raises(ExportRefused, match="inputs are.*spec says.*224"):
        check_graph(graphs["vgg16"], reshaped)


def test_an_extra_output_is_refused(graphs):
    model = onnx.ModelProto()
    model.CopyFrom(graphs["vgg16"])
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2]))

    with pytest.raises(ExportRefused, match="outputs are.*logits"):
        check_graph(model, VGG16)


def test_a_network_that_answers_the_same_to_everything_is_refused(trained):
    spec = MODELS["cnn"]
    constant = keras.models.clone_model(trained["cnn"].network)
    constant.set_weights([np.zeros_like(each) for each in constant.get_weights()])
    dull = Trained(spec, constant, None, None)

    with pytest.raises(ExportRefused, match="answers within 0 of each other"):
        check_numbers(to_onnx(dull), dull, rows_for(spec))


def test_other_numbers_are_refused(trained, graphs):
    model = onnx.ModelProto()
    model.CopyFrom(graphs["multimodal"])
    (embedding,) = (each for each in model.graph.initializer if list(each.dims) == [902, 100])
    changed = onnx.numpy_helper.to_array(embedding) + np.float32(1)
    embedding.CopyFrom(onnx.numpy_helper.from_array(changed, embedding.name))

    with pytest.raises(ExportRefused, match="differ by"):
        check_numbers(model, trained["multimodal"], rows_for(MULTIMODAL))
