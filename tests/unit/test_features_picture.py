"""The reference: librosa's spectrogram, Pillow's resizing, Keras's preprocessing."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
from PIL import Image

from preprocess_service.features import mel, picture
from tests.unit.recordings import speech_like
from tests.unit.test_features_mel import ALL_SOUNDS, GENERATED, RATE_HZ, reference_power


def reference_picture(samples):
    decibels = librosa.power_to_db(reference_power(samples[: 5 * RATE_HZ]), ref=np.max)
    drawn = picture.colours((1 + decibels[::-1] / 80).astype(np.float32))
    channels = [
        np.asarray(Image.fromarray(np.ascontiguousarray(drawn[..., k])).resize((150, 150), Image.Resampling.BILINEAR))
        for k in range(3)
    ]
    return 255 * np.stack(channels, axis=-1) - np.array([103.939, 116.779, 123.68])


@pytest.mark.parametrize("samples", ALL_SOUNDS)
def test_is_the_reference_picture(samples):
    drawn = picture.picture(samples)

    assert drawn.shape == (150, 150, 3)
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn, reference_picture(samples), atol=255 * 1e-4 * 4)  # colours change 4 times as fast


def test_subtracts_what_keras_subtracts():
    from keras.applications.vgg16 import preprocess_input

    rgb = np.random.default_rng(0).uniform(0, 255, (1, 150, 150, 3)).astype(np.float32)

    expected = preprocess_input(rgb.copy())

    np.testing.assert_allclose(rgb[..., ::-1] - picture.IMAGENET_MEANS_BGR, expected, atol=1e-4)


def test_loud_is_red_quiet_is_blue():
    blue, green, red = picture.colours(np.array([0.25, 0.5, 0.75], np.float32))

    assert list(blue) == [1, 0.5, 0]
    assert list(green) == [0.5, 1, 0.5]
    assert list(red) == [0, 0.5, 1]


def test_high_pitch_stands_above_low_pitch():
    t = np.arange(5 * RATE_HZ) / RATE_HZ
    low, high = (picture.picture(np.sin(2 * np.pi * hz * t).astype(np.float32)) for hz in (200, 3500))

    def redness_by_row(drawn):
        return (drawn[..., 2] + picture.IMAGENET_MEANS_BGR[2]).mean(axis=1)

    assert np.argmax(redness_by_row(high)) < np.argmax(redness_by_row(low))


def test_ignores_what_comes_after_five_seconds():
    samples = speech_like(7, RATE_HZ)

    np.testing.assert_array_equal(picture.picture(samples), picture.picture(samples[: 5 * RATE_HZ]))


def test_resizing_weights_sum_to_one_for_every_length():
    for frames in range(1, mel.frame_count(picture.WINDOW_SAMPLES) + 1):
        np.testing.assert_allclose(picture.shrink_weights(frames, 150).sum(axis=1), 1, atol=1e-6)


def test_silence_is_drawn_too():
    assert np.isfinite(picture.picture(GENERATED["silence"])).all()
