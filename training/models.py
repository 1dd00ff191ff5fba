"""The Keras models, layer by layer as published; parameter counts are asserted in the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from keras import layers

from preprocess_service.model_spec import MEL, PICTURE, PROBABILITY, TOKENS

EMBEDDING: Final = 100
DROPOUT: Final = 0.3
MEL_MEAN_DB: Final = -45.0  # of telephone speech, in decibels against the loudest band
MEL_SPREAD_DB: Final = 20.0
HEAD_GAIN: Final = 4.0  # the first weights from the softmax pair to the probability
VGG_FEATURES: Final = (4, 4, 512)
PIXEL_SPREAD: Final = 100.0  # of a picture's values about their means

Model = Any  # keras.Model: Keras ships no types


def multimodal(vocabulary_size: int) -> Model:
    """CNN on log-mel and LSTM on tokens; 1,886,713 parameters at 902 ids (padding and unknown included)."""
    mel_input = keras.Input(MEL.shape, name=MEL.name)
    # About zero mean and unit variance; a constant of the graph, so that the tensor stays librosa's.
    x = layers.Rescaling(1 / MEL_SPREAD_DB, offset=-MEL_MEAN_DB / MEL_SPREAD_DB)(mel_input)
    for filters, padding, pooled in ((24, "valid", True), (48, "same", True), (48, "same", False)):
        x = layers.Conv2D(filters, 5, padding=padding)(x)
        if pooled:
            x = layers.MaxPooling2D((4, 2))(x)
        x = layers.ReLU()(x)
    x = layers.Dropout(DROPOUT)(layers.Flatten()(x))
    x = layers.Dropout(DROPOUT)(layers.Dense(64, activation="relu")(x))

    token_input = keras.Input(TOKENS.shape, dtype="int32", name=TOKENS.name)
    # No mask_zero: it would turn the LSTM into a Loop when exported.
    words = layers.LSTM(128)(layers.Embedding(vocabulary_size, EMBEDDING)(token_input))

    joined = layers.Dense(4)(layers.Concatenate()([words, x]))
    pair = layers.Dense(2, activation="softmax")(joined)
    answer = layers.Dense(1, activation="sigmoid")
    probability = answer(pair)
    # Weights of one sign, as chance gives them every other time, make one side of the softmax the better answer to
    # every clip: it saturates in the first steps and the network stays at 0.5 for good.
    answer.set_weights([np.array([[-HEAD_GAIN], [HEAD_GAIN]], np.float32), np.zeros(1, np.float32)])
    return keras.Model([mel_input, token_input], {PROBABILITY.name: probability}, name="multimodal")


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


def _keep_variance(base: Model) -> None:
    """He initialisation: under Keras's default, thirteen untrained layers shrink the signal to nothing."""
    gain = 1 / PIXEL_SPREAD
    for index, layer in enumerate(base.layers):
        if isinstance(layer, layers.Conv2D):
            kernel, bias = layer.get_weights()
            layer.set_weights([gain * keras.initializers.HeNormal(seed=index)(kernel.shape), bias])
            gain = 1.0


def vgg16_head() -> Model:
    """The trainable part of `vgg16`: (4, 4, 512) features to a softmax of normal and emergency; 410,712 parameters."""
    features = keras.Input(VGG_FEATURES, name="features")
    x = layers.Dense(50, activation="relu")(layers.Flatten()(features))
    x = layers.Dense(20, activation="relu")(x)
    return keras.Model(features, layers.Dense(2, activation="softmax")(x), name="vgg16_head")


def vgg16(base: Model, head: Model) -> Model:
    """Base and head as one network from picture to probability; 15,125,400 parameters, 410,712 of them trainable."""
    picture_input = keras.Input(PICTURE.shape, name=PICTURE.name)
    pair = head(base(picture_input))
    return keras.Model(picture_input, {PROBABILITY.name: pair[:, 1:]}, name="vgg16")
