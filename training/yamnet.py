"""YAMNet, the published architecture: a 16 kHz waveform to one 1024-d embedding for every 0.48 s.

Source: `yamnet.py`, `features.py` and `params.py` of tensorflow/models (research/audioset/yamnet): log-mel patches of
0.96 s into a MobileNet v1 body. The spectrogram is a part of the network, written as a convolution and two products,
so that it becomes plain ONNX.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import h5py
import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from preprocess_service.features.waveform import SAMPLE_RATE_HZ
from preprocess_service.model_spec import WAVEFORM

CLASSES: Final = 521
PARAMETERS: Final = 3_751_369  # with the classifier over CLASSES, as published
EMBEDDING: Final = 1024
FRAME: Final = 400  # 25 ms
FRAME_HOP: Final = 160  # 10 ms
FFT_SIZE: Final = 512
BANDS: Final = 64
BAND_EDGES_HZ: Final = (125.0, 7500.0)
LOG_OFFSET: Final = 0.001
PATCH: Final = 96  # frames: 0.96 s
PATCH_HOP: Final = 48
PATCHES: Final = 1 + -(-((WAVEFORM.shape[0] - FRAME) // FRAME_HOP + 1 - PATCH) // PATCH_HOP)
# (stride, output channels) of the depthwise separable layers 2 to 14
SEPARABLE: Final = (
    *((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512)),
    *((1, 512), (1, 512), (1, 512), (1, 512), (1, 512), (2, 1024), (1, 1024)),
)
_FIRST_CHANNELS: Final = 32
_BATCH_NORM_EPSILON: Final = 1e-4
_SETTLING_BATCH: Final = 8
_CLASSIFIER: Final = "logits"
_WEIGHT_ORDER: Final = ("kernel", "depthwise_kernel", "bias", "beta", "moving_mean", "moving_variance")

Model = Any  # keras.Model: Keras ships no types


class WeightsError(ValueError):
    """A weights file that does not fit; the message names the file, the layer and both shapes."""


def mel_weights() -> NDArray[np.float32]:
    """Triangular filters (257, 64) on the HTK mel scale: `tf.signal.linear_to_mel_weight_matrix`."""
    bins = _hz_to_mel(np.linspace(0, SAMPLE_RATE_HZ / 2, FFT_SIZE // 2 + 1)[1:])[:, np.newaxis]
    low, high = _hz_to_mel(np.array(BAND_EDGES_HZ))
    edges = np.linspace(low, high, BANDS + 2)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0, np.minimum(rising, falling))
    return np.pad(weights, ((1, 0), (0, 0))).astype(np.float32)  # the bin at 0 Hz belongs to no band


def fourier_kernels() -> NDArray[np.float32]:
    """A Hann-windowed real Fourier transform as convolution kernels (FRAME, 1, 2 * 257): cosines, then sines."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)
    phase = 2 * np.pi * np.outer(np.arange(FRAME), np.arange(FFT_SIZE // 2 + 1)) / FFT_SIZE
    kernels = np.concatenate([np.cos(phase), np.sin(phase)], axis=1) * window[:, np.newaxis]
    return kernels[:, np.newaxis].astype(np.float32)


@keras.saving.register_keras_serializable("wigeup")
class LogMelPatches(layers.Layer):  # type: ignore[misc]
    """Waveform (n, samples) to log-mel patches (n, PATCHES, PATCH, BANDS); nothing in it is trained."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self._kernels, self._mel = fourier_kernels(), mel_weights()

    def call(self, waveform: Any) -> Any:
        missing = (FRAME + FRAME_HOP * (PATCH + PATCH_HOP * (PATCHES - 1) - 1)) - WAVEFORM.shape[0]
        padded = ops.pad(waveform, ((0, 0), (0, missing)))[..., None]
        spectrum = ops.conv(padded, self._kernels, strides=FRAME_HOP, padding="valid")  # (n, frames, 514)
        cosines, sines = ops.split(spectrum, 2, axis=-1)
        magnitude = ops.sqrt(ops.square(cosines) + ops.square(sines))
        log_mel = ops.log(ops.matmul(magnitude, self._mel) + LOG_OFFSET)  # (n, frames, BANDS)
        starts = range(0, PATCH_HOP * PATCHES, PATCH_HOP)
        return ops.stack([log_mel[:, start : start + PATCH] for start in starts], axis=1)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return shape[0], PATCHES, PATCH, BANDS


def body() -> Model:
    """The MobileNet: patches (n, PATCH, BANDS, 1) to embeddings (n, EMBEDDING)."""
    patches = keras.Input((PATCH, BANDS, 1), name="patches")
    x = layers.Conv2D(_FIRST_CHANNELS, 3, strides=2, padding="same", use_bias=False, name="layer1.conv")(patches)
    x = _normalised(x, "layer1.conv")
    for index, (stride, channels) in enumerate(SEPARABLE, start=2):
        depthwise, pointwise = f"layer{index}.depthwise_conv", f"layer{index}.pointwise_conv"
        x = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False, name=depthwise)(x)
        x = _normalised(x, depthwise)
        x = layers.Conv2D(channels, 1, padding="same", use_bias=False, name=pointwise)(x)
        x = _normalised(x, pointwise)
    return keras.Model(patches, layers.GlobalAveragePooling2D()(x), name="yamnet_body")


def published() -> Model:
    """Body and classifier over CLASSES: the network whose weights `yamnet.h5` holds."""
    inside = body()
    scores = layers.Dense(CLASSES, activation="sigmoid", name=_CLASSIFIER)(inside.output)
    return keras.Model(inside.input, scores, name="yamnet_published")


def yamnet_base(weights: Path | None) -> Model:
    """Waveform (n, samples at 16 kHz) to embeddings (n, PATCHES, EMBEDDING), frozen; untrained without `weights`.

    Raises WeightsError for a file of another layout.
    """
    network = published()
    if weights is not None:
        load_weights(network, weights)
    inside = keras.Model(network.input, network.get_layer(_CLASSIFIER).input, name="yamnet_body")
    waveform = keras.Input(WAVEFORM.shape, name=WAVEFORM.name)
    patches = ops.reshape(LogMelPatches()(waveform), (-1, PATCH, BANDS, 1))
    embeddings = ops.reshape(inside(patches), (-1, PATCHES, EMBEDDING))
    base = keras.Model(waveform, embeddings, name="yamnet_base")
    base.trainable = False
    return base


def settle(base: Model, waveforms: NDArray[np.float32]) -> None:
    """Gives the normalisations of an untrained base the statistics of real sound: with their first ones, 27 layers
    shrink the signal to nothing."""
    norms = [each for each in base._flatten_layers() if isinstance(each, layers.BatchNormalization)]
    for each in norms:
        each.trainable = True
    for step, start in enumerate(range(0, len(waveforms), _SETTLING_BATCH)):
        for each in norms:
            each.momentum = step / (step + 1)  # the mean over all batches
        base(waveforms[start : start + _SETTLING_BATCH], training=True)
    for each in norms:
        each.trainable = False


def load_weights(network: Model, path: Path) -> None:
    """Reads a Keras weights file of the published layout (`layer1/conv`, `layer1/conv/bn`, ..., `logits`)."""
    wanted = {layer.name.replace(".", "/"): layer for layer in network.layers if layer.weights}
    found: set[str] = set()
    with h5py.File(path) as file:
        for name, arrays in _stored(file):
            if name not in wanted:
                raise WeightsError(f"{path}: layer {name!r} is no layer of YAMNet")
            layer = wanted[name]
            shapes, expected = [each.shape for each in arrays], [tuple(each.shape) for each in layer.weights]
            if shapes != expected:
                raise WeightsError(f"{path}: layer {name!r} has weights of {shapes}; YAMNet has {expected}")
            layer.set_weights(arrays)
            found.add(name)
    if missing := sorted(wanted.keys() - found):
        raise WeightsError(f"{path}: layer {missing[0]!r} is missing")


def _stored(file: h5py.File) -> Iterator[tuple[str, list[NDArray[np.float32]]]]:
    """Every layer of the file that has weights, with them in Keras's order."""
    by_layer: dict[str, dict[str, NDArray[np.float32]]] = {}

    def visit(path: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            # "layer1/conv/layer1/conv/kernel:0": the group of the layer, then the weight's own full name
            layer, _, weight = path.partition(":")[0].rpartition("/")
            half = layer.split("/")
            name = "/".join(half[: len(half) // 2]) if half[: len(half) // 2] == half[len(half) // 2 :] else layer
            by_layer.setdefault(name, {})[weight] = np.asarray(item, dtype=np.float32)

    (file.get("model_weights") or file).visititems(visit)
    for name, weights in by_layer.items():
        yield name, [weights[key] for key in _WEIGHT_ORDER if key in weights]


def _normalised(x: Any, name: str) -> Any:
    norm = layers.BatchNormalization(center=True, scale=False, epsilon=_BATCH_NORM_EPSILON, name=f"{name}.bn")
    return layers.ReLU()(norm(x))


def _hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1127.0 * np.log1p(hz / 700.0))
