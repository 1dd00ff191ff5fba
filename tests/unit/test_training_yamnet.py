"""YAMNet as published: the same spectrogram, the same layers, weights from a file of the published layout."""

from __future__ import annotations

from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from training import yamnet

RANDOM = np.random.default_rng(5)
SOUND = (0.05 * RANDOM.standard_normal((3, 112_000))).astype(np.float32)


def write_published_layout(network, path: Path, skip: str = "", prefix: str = "") -> None:
    """A weights file as Keras 2 wrote `yamnet.h5`: layers with slashes in their names."""
    with h5py.File(path, "w") as file:
        names = []
        for layer in network.layers:
            name = layer.name.replace(".", "/")
            if name == skip:
                continue
            names.append(name)
            group = file.create_group(prefix + name)
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)  # Keras 3 calls its kernel "kernel", too
            weight_names = [f"{name}/{'depthwise_' * depthwise}{each.name}:0" for each in layer.weights]
            for weight_name, value in zip(weight_names, layer.get_weights(), strict=True):
                group.create_dataset(weight_name, data=value)
            group.attrs["weight_names"] = [each.encode() for each in weight_names]
        file.attrs["layer_names"] = [each.encode() for each in names]


@pytest.fixture(scope="module")
def published():
    keras.utils.set_random_seed(8)
    network = yamnet.published()
    for layer in network.layers:
        layer.set_weights([RANDOM.uniform(0.1, 1, each.shape) for each in layer.get_weights()])
    return network


def test_has_the_published_parameters(published):
    assert published.count_params() == yamnet.PARAMETERS == 3_751_369
    assert sum(int(np.prod(each.shape)) for each in published.trainable_weights) == 3_729_481


def test_the_mel_bands_are_tensorflows():
    expected = tf.signal.linear_to_mel_weight_matrix(64, 257, 16_000, 125.0, 7500.0).numpy()

    np.testing.assert_allclose(yamnet.mel_weights(), expected, atol=2e-5)


def test_the_patches_are_the_published_ones():
    padded = np.pad(SOUND, ((0, 0), (0, 15_600 + 13 * 7_680 - 112_000)))  # to whole patches, as `pad_waveform` does
    magnitude = np.abs(tf.signal.stft(padded, 400, 160, 512).numpy())
    log_mel = np.log(magnitude @ tf.signal.linear_to_mel_weight_matrix(64, 257, 16_000, 125.0, 7500.0).numpy() + 0.001)
    expected = tf.signal.frame(log_mel, 96, 48, axis=1).numpy()

    np.testing.assert_allclose(yamnet.LogMelPatches()(SOUND).numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("prefix", ["", "model_weights/"])
def test_reads_weights_of_the_published_layout(tmp_path, published, prefix):
    write_published_layout(published, tmp_path / "yamnet.h5", prefix=prefix)

    base = yamnet.yamnet_base(tmp_path / "yamnet.h5")

    body = base.get_layer("yamnet_body")
    assert body.count_params() == 3_751_369 - 1024 * 521 - 521
    ours, theirs = ([each for each in network.layers if each.weights] for network in (body, published))
    for loaded, written in zip(ours, theirs[:-1], strict=True):  # all but the classifier
        for value, expected in zip(loaded.get_weights(), written.get_weights(), strict=True):
            np.testing.assert_array_equal(value, expected)
    assert not base.trainable_weights


def test_a_file_without_a_layer_is_refused_by_name(tmp_path, published):
    write_published_layout(published, tmp_path / "yamnet.h5", skip="layer7/pointwise_conv")

    with pytest.raises(yamnet.WeightsError, match="layer7/pointwise_conv.* is missing"):
        yamnet.yamnet_base(tmp_path / "yamnet.h5")


def test_a_file_of_another_network_is_refused_by_name(tmp_path):
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="resnet")])
    write_published_layout(other, tmp_path / "other.h5")

    with pytest.raises(yamnet.WeightsError, match="'resnet' is no layer"):
        yamnet.yamnet_base(tmp_path / "other.h5")


def test_an_untrained_base_hears_differences_once_settled():
    base = yamnet.yamnet_base(None)
    yamnet.settle(base, np.tile(SOUND, (8, 1)))

    embeddings = base.predict_on_batch(SOUND * np.array([[0.1], [1], [3]], np.float32))

    assert embeddings.std(axis=0).mean() > 1e-3
