from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from preprocess_service.model_spec import KINDS, MODELS, PROBABILITY, TOKENS, VGG16
from training import models, yamnet
from training.recipes import RECIPES


def trainable(network):
    return sum(int(np.prod(each.shape)) for each in network.trainable_weights)


@pytest.fixture(scope="module")
def multimodal():
    keras.utils.set_random_seed(3)
    return models.multimodal(902, "reference", names_kind=False)


@pytest.fixture(scope="module")
def vgg16():
    return models.joined(models.vgg16_base(None), models.vgg16_head(), VGG16)


def test_multimodal_has_the_published_parameters(multimodal):
    assert multimodal.count_params() == trainable(multimodal) == 1_886_713


def test_multimodal_has_the_published_layers(multimodal):
    halves = [each for each in multimodal.layers if isinstance(each, keras.Model)]
    kinds_and_counts = [
        (type(layer).__name__, layer.count_params()) for half in halves for layer in half.layers if layer.count_params()
    ]

    assert sorted(kinds_and_counts) == sorted(
        [
            ("Conv2D", 624),
            ("Conv2D", 28_848),
            ("Conv2D", 57_648),
            ("Dense", 1_591_360),
            ("Embedding", 90_200),
            ("LSTM", 117_248),
            ("Dense", 772),
            ("Dense", 10),
            ("Dense", 3),
        ]
    )


def fitted_probability(names_kind: bool):
    """What the probability's part of `multimodal` has become after a few steps."""
    keras.utils.set_random_seed(5)
    head = models.multimodal_head(40, names_kind=names_kind)
    losses = {name: "sparse_categorical_crossentropy" for name in head.output_names if name == KINDS.name}
    head.compile(keras.optimizers.Adam(1e-2, clipnorm=1.0), losses | {PROBABILITY.name: "binary_crossentropy"})
    random = np.random.default_rng(5)
    x = {"features": random.normal(size=(64, 64)), TOKENS.name: random.integers(0, 40, (64, 12))}
    y = {PROBABILITY.name: random.integers(0, 2, (64, 1)), KINDS.name: random.integers(0, 14, (64, 1))}
    head.fit(x, {name: y[name] for name in head.output_names}, batch_size=16, epochs=3, shuffle=False, verbose=0)
    return head.predict(x, verbose=0)[PROBABILITY.name]


def test_naming_kinds_does_not_touch_the_probability():
    np.testing.assert_allclose(fitted_probability(names_kind=True), fitted_probability(names_kind=False), rtol=1e-5)


def test_vgg16_has_the_published_parameters(vgg16):
    assert vgg16.count_params() == 15_125_400
    assert trainable(vgg16) == 410_712


def test_vgg16_reads_weights_from_a_file(tmp_path: Path):
    path = tmp_path / "base.weights.h5"
    original = models.vgg16_base(None)
    original.save_weights(path)

    loaded = models.vgg16_base(path)

    for ours, theirs in zip(loaded.get_weights(), original.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_default_head_is_one_logit_and_the_kinds(multimodal):
    default = models.multimodal(902)

    published_head, logit = 772 + 10 + 3, 192 + 1
    embedding, lstm, answer = 902 * 64, 4 * 64 * (64 + 64 + 1), (64 + 64 + 64) * 14 + 14
    kinds = embedding + lstm + answer
    assert default.count_params() == multimodal.count_params() - published_head + logit + kinds


@pytest.mark.parametrize("name", MODELS)
def test_every_model_takes_and_answers_the_tensors_of_its_spec(name):
    spec, recipe = MODELS[name], RECIPES[name]
    network = models.multimodal(902) if recipe.listener else recipe.build(902)
    if recipe.base:
        base = models.vgg16_base(None) if "vgg" in name else yamnet.yamnet_base(None)
        network = models.joined(base, network, spec)

    taken = {each.name: tuple(each.shape[1:]) for each in network.inputs}
    assert taken == {each.name: each.shape for each in spec.inputs}
    answered = {key: tuple(value.shape) for key, value in network.output.items()}
    assert answered == {each.name: (None, *each.shape) for each in spec.outputs}
