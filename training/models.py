"""The networks: each takes the tensors of its spec and answers a dict of its spec's outputs.

Those with a frozen, pretrained part are built in two pieces, so that the frozen one runs once for every window and
only the head is trained on its output: `base` and `head` are joined for the export. Tables and parameter counts are
asserted in the tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import keras
import numpy as np
from keras import layers

from preprocess_service.model_spec import (
    KINDS,
    MEL,
    MFCC,
    MULTIMODAL,
    PICTURE,
    PROBABILITY,
    TOKENS,
    ModelSpec,
    TensorSpec,
)
from training import yamnet

Head = Literal["logit", "reference"]

EMBEDDING: Final = 100
WORDS: Final = 128  # units of the text LSTM
KIND_EMBEDDING: Final = 64
KIND_WORDS: Final = 64
DROPOUT: Final = 0.3
NORM_MOMENTUM: Final = 0.9  # of running statistics: small corpora have few steps
WORD_DROPOUT: Final = 0.2
MEL_MEAN_DB: Final = -45.0  # of telephone speech, in decibels against the loudest band
MEL_SPREAD_DB: Final = 20.0
HEAD_GAIN: Final = 4.0  # the first weights from the softmax pair to the probability
VGG_FEATURES: Final = (4, 4, 512)
YAMNET_FEATURES: Final = (yamnet.PATCHES, yamnet.EMBEDDING)
SOUND: Final = "sound"
SOUND_FEATURES: Final = 64
PIXEL_SPREAD: Final = 100.0  # of a picture's values about their means
SINGLE: Final = "float32"  # of what stays exact where the rest is trained in half precision
FEATURES: Final = "features"  # the input of a head: what its frozen base answers
MFCC_FRAMES_A_STEP: Final = 3  # 70 ms

Model = Any  # keras.Model: Keras ships no types
Tensor = Any


def multimodal(vocabulary_size: int, head: Head = "logit", *, names_kind: bool = True) -> Model:
    """CNN on log-mel and LSTM on tokens.

    The reference head without kinds has 1,886,713 parameters at 902 ids (padding and unknown included).
    """
    return joined(sound_half(cnn()), multimodal_head(vocabulary_size, head, names_kind=names_kind), MULTIMODAL)


def multimodal_head(vocabulary_size: int, head: Head = "logit", *, names_kind: bool = True) -> Model:
    """All of `multimodal` but its ears: 64 features of the sound and tokens to its answers."""
    features, token_input = keras.Input((SOUND_FEATURES,), name=FEATURES), _input(TOKENS)
    heard = layers.Dropout(DROPOUT)(features)
    joined_halves = layers.Concatenate()([_words(token_input, vocabulary_size), heard])
    probability = _reference_answer(joined_halves) if head == "reference" else _probability(joined_halves)
    outputs = {PROBABILITY.name: probability}
    if names_kind:
        outputs[KINDS.name] = _kind(features, token_input, vocabulary_size)
    return keras.Model([features, token_input], outputs, name="multimodal_head")


def cnn() -> Model:
    """The audio half of `multimodal` alone."""
    mel_input = _input(MEL)
    heard = layers.Dropout(DROPOUT)(_sound(mel_input))
    return keras.Model(mel_input, {PROBABILITY.name: _probability(heard)}, name="cnn")


def sound_half(listener: Model) -> Model:
    """What `cnn` makes of the sound before it answers: (128, 300, 1) to 64."""
    return keras.Model(listener.inputs, listener.get_layer(SOUND).output, name=SOUND)


def lstm() -> Model:
    """Two LSTM layers over MFCC, three frames a step."""
    mfcc_input = _input(MFCC)
    x = layers.BatchNormalization(momentum=NORM_MOMENTUM)(mfcc_input)  # coefficients differ in size by a hundred
    x = layers.Reshape((MFCC.shape[0] // MFCC_FRAMES_A_STEP, MFCC_FRAMES_A_STEP * MFCC.shape[1]))(x)
    x = layers.LSTM(96, return_sequences=True)(x)
    x = layers.Dropout(DROPOUT)(layers.LSTM(64, return_sequences=True)(x))
    return keras.Model(mfcc_input, {PROBABILITY.name: _probability(_pooled(x))}, name="lstm")


def cnn_lstm() -> Model:
    """A CNN that keeps time, and an LSTM over what it sees."""
    mel_input = _input(MEL)
    x = _scaled(mel_input)
    for filters, size, pool in ((16, 3, (4, 2)), (32, 3, (4, 2)), (64, 3, (2, 1))):
        x = layers.Conv2D(filters, size, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=NORM_MOMENTUM)(layers.MaxPooling2D(pool)(x)))
    # (bands, time, channels) to (time, bands * channels): the LSTM must step through time, not through pitch.
    bands, steps, channels = x.shape[1:]
    x = layers.Reshape((steps, bands * channels), name="steps")(layers.Permute((2, 1, 3))(x))
    x = layers.Dropout(DROPOUT)(layers.LSTM(64, return_sequences=True)(x))
    return keras.Model(mel_input, {PROBABILITY.name: _probability(_pooled(x))}, name="cnn_lstm")


def vgg16_base(weights: Path | str | None) -> Model:
    """VGG-16's convolutions, frozen: picture (150, 150, 3) to (4, 4, 512).

    `weights` is "imagenet" (fetched by Keras), a weights file without the top, or None for untrained convolutions.
    """
    base = keras.applications.VGG16(
        include_top=False, weights=None if weights is None else str(weights), input_shape=PICTURE.shape
    )
    if weights is None:
        _keep_variance(base)
    base.trainable = False
    return base


def vgg16_head() -> Model:
    """The trainable part of `vgg16`: (4, 4, 512) features to a softmax of normal and emergency; 410,712 parameters."""
    features = keras.Input(VGG_FEATURES, name=FEATURES)
    x = layers.Dense(50, activation="relu")(layers.Flatten()(features))
    x = layers.Dense(20, activation="relu")(x)
    pair = layers.Dense(2, activation="softmax")(x)
    return keras.Model(features, {PROBABILITY.name: pair[:, 1:]}, name="vgg16_head")


def vgg16_lstm_head(vocabulary_size: int) -> Model:
    """(4, 4, 512) features and tokens to the probability."""
    features, token_input = keras.Input(VGG_FEATURES, name=FEATURES), _input(TOKENS)
    # The base's values are large and differ by layer: unscaled, the first steps kill the dense layer for good.
    x = layers.Flatten()(layers.BatchNormalization(momentum=NORM_MOMENTUM)(features))
    x = layers.Dropout(DROPOUT)(layers.Dense(50, activation="relu")(x))
    joined = layers.Concatenate()([_words(token_input, vocabulary_size), x])
    return keras.Model([features, token_input], {PROBABILITY.name: _probability(joined)}, name="vgg16_lstm_head")


def yamnet_head() -> Model:
    """The embeddings of all patches, pooled over the window, to the probability."""
    features = keras.Input(YAMNET_FEATURES, name=FEATURES)
    x = layers.Dropout(DROPOUT)(_pooled(layers.BatchNormalization(momentum=NORM_MOMENTUM)(features)))
    x = layers.Dropout(DROPOUT)(layers.Dense(64, activation="relu")(x))
    return keras.Model(features, {PROBABILITY.name: _probability(x)}, name="yamnet_head")


def joined(base: Model, head: Model, spec: ModelSpec) -> Model:
    """Base and head as one network, from the tensors of the spec to its outputs."""
    inputs = [_input(each) for each in spec.inputs]
    features = base(inputs[0])
    return keras.Model(inputs, head([features, *inputs[1:]] if inputs[1:] else features), name=spec.name)


def _input(tensor: TensorSpec) -> Tensor:
    return keras.Input(tensor.shape, dtype="int32" if tensor.datatype == "INT32" else "float32", name=tensor.name)


def _scaled(mel: Tensor) -> Tensor:
    """About zero mean and unit variance; a constant of the graph, so that the tensor stays librosa's."""
    return layers.Rescaling(1 / MEL_SPREAD_DB, offset=-MEL_MEAN_DB / MEL_SPREAD_DB)(mel)


def _sound(mel: Tensor) -> Tensor:
    """The published audio half: (128, 300, 1) to 64."""
    x = _scaled(mel)
    for filters, padding, pooled in ((24, "valid", True), (48, "same", True), (48, "same", False)):
        x = layers.Conv2D(filters, 5, padding=padding)(x)
        if pooled:
            x = layers.MaxPooling2D((4, 2))(x)
        x = layers.ReLU()(x)
    x = layers.Dropout(DROPOUT)(layers.Flatten()(x))
    return layers.Dense(SOUND_FEATURES, activation="relu", name=SOUND)(x)


def _words(tokens: Tensor, vocabulary_size: int) -> Tensor:
    """The published text half: 12 ids to 128. No mask_zero: it would turn the LSTM into a Loop when exported."""
    embedded = layers.Embedding(vocabulary_size, EMBEDDING, dtype=SINGLE)(tokens)
    x = layers.SpatialDropout1D(WORD_DROPOUT, dtype=SINGLE)(embedded)
    return layers.Dropout(DROPOUT, dtype=SINGLE)(layers.LSTM(WORDS, dtype=SINGLE)(x))


def _pooled(steps: Tensor) -> Tensor:
    """(n, steps, features) to the mean and the maximum over the steps, side by side."""
    return layers.Concatenate()([layers.GlobalAveragePooling1D()(steps), layers.GlobalMaxPooling1D()(steps)])


def _probability(x: Tensor) -> Tensor:
    return layers.Dense(1, activation="sigmoid", name=PROBABILITY.name, dtype=SINGLE)(x)


def _kind(heard: Tensor, tokens: Tensor, vocabulary_size: int) -> Tensor:
    """Which kind of emergency it is, by a reader of its own: it shares nothing that is trained with the probability, so
    naming kinds cannot harm it. Built last, so that the probability's first weights do not depend on it either."""
    x = layers.SpatialDropout1D(WORD_DROPOUT, dtype=SINGLE)(
        layers.Embedding(vocabulary_size, KIND_EMBEDDING, dtype=SINGLE)(tokens)
    )
    read = [layers.LSTM(KIND_WORDS, dtype=SINGLE)(x), layers.GlobalMaxPooling1D(dtype=SINGLE)(x)]
    evidence = layers.Dropout(DROPOUT, dtype=SINGLE)(layers.Concatenate(dtype=SINGLE)([*read, heard]))
    return layers.Dense(KINDS.shape[0], activation="softmax", name=KINDS.name, dtype=SINGLE)(evidence)


def _reference_answer(x: Tensor) -> Tensor:
    """The published head: a sigmoid on top of a softmax pair, which squeezes the range of the answer."""
    pair = layers.Dense(2, activation="softmax", dtype=SINGLE)(layers.Dense(4, dtype=SINGLE)(x))
    answer = layers.Dense(1, activation="sigmoid", name=PROBABILITY.name, dtype=SINGLE)
    probability = answer(pair)
    # Weights of one sign, as chance gives them every other time, make one side of the softmax the better answer to
    # every clip: it saturates in the first steps and the network stays at 0.5 for good.
    answer.set_weights([np.array([[-HEAD_GAIN], [HEAD_GAIN]], np.float32), np.zeros(1, np.float32)])
    return probability


def _keep_variance(base: Model) -> None:
    """He initialisation: under Keras's default, thirteen untrained layers shrink the signal to nothing."""
    gain = 1 / PIXEL_SPREAD
    for index, layer in enumerate(base.layers):
        if isinstance(layer, layers.Conv2D):
            kernel, bias = layer.get_weights()
            layer.set_weights([gain * keras.initializers.HeNormal(seed=index)(kernel.shape), bias])
            gain = 1.0
