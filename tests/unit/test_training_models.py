from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from training import models


def trainable(network):
    return sum(int(np.prod(each.shape)) for each in network.trainable_weights)


@pytest.fixture(scope="module")
def multimodal():
    keras.utils.set_random_seed(3)
    return models.multimodal(902)


@pytest.fixture(scope="module")
def vgg16():
    return models.vgg16(models.vgg16_base(None), models.vgg16_head())


def test_multimodal_has_the_published_parameters(multimodal):
    assert multimodal.count_params() == trainable(multimodal) == 1_886_713


def test_multimodal_has_the_published_layers(multimodal):
    kinds_and_counts = [
        (type(layer).__name__, layer.count_params()) for layer in multimodal.layers if layer.count_params()
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


@pytest.mark.parametrize("seed", range(3))
def test_multimodal_overfits_thirty_two_clips_from_any_seed(seed):
    """Catches a head that saturates in the first steps, whatever the first weights are."""
    keras.utils.set_random_seed(seed)
    random = np.random.default_rng(seed)
    labels = np.arange(32) % 2
    mel = random.uniform(-80, 0, (32, 128, 300, 1)).astype(np.float32)
    mel[labels == 1, 20:40] = 0
    tokens = random.integers(2, 902, (32, 12)).astype(np.int32)
    network = models.multimodal(902)
    network.compile("adam", "binary_crossentropy", metrics=["accuracy"])

    network.fit({"mel": mel, "tokens": tokens}, {"probability": labels[:, None]}, batch_size=16, epochs=25, verbose=0)

    answers = network.predict({"mel": mel, "tokens": tokens}, verbose=0)["probability"][:, 0]
    assert ((answers > 0.5) == labels).all()
