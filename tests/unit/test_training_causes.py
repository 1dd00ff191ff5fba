"""Why training can stay at one half: each candidate cause, ruled out."""

from __future__ import annotations

import io

import keras
import numpy as np
import pytest
import soundfile

from preprocess_service.features import inputs, mel, picture, waveform
from preprocess_service.features.audio import TELEPHONE_RATE_HZ, AudioFormat, decode, resample
from preprocess_service.model_spec import MODELS, PROBABILITY, VGG16, VGG16_LSTM, YAMNET
from tests.unit.recordings import speech_like
from training import models, yamnet
from training.recipes import RECIPES

RANDOM = np.random.default_rng(21)


def wav(samples, rate_hz, subtype):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="WAV", subtype=subtype)
    return buffer.getvalue()


def heard(file_bytes):
    return resample(decode(file_bytes, AudioFormat(), 60.0), TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)


def tone(frequency_hz, rate_hz, seconds=2.0):
    return 0.3 * np.sin(2 * np.pi * frequency_hz * np.arange(round(rate_hz * seconds)) / rate_hz)


@pytest.mark.parametrize("name", MODELS)
def test_the_last_layer_is_no_softmax_over_one_value(name):
    """Such a layer answers 1 to everything, and the accuracy is the share of a class."""
    network = RECIPES[name].build(902)

    taken = [RANDOM.uniform(0, 3, (4, *each.shape[1:])).astype(np.float32) for each in network.inputs]
    answers = np.asarray(network.predict_on_batch(taken if len(taken) > 1 else taken[0])[PROBABILITY.name])

    assert np.ptp(answers) > 0
    assert ((answers > 0) & (answers < 1)).all()


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT"])
def test_yamnet_hears_samples_within_one_whatever_the_bit_depth(subtype):
    samples = speech_like(3, 44_100)

    window = inputs.audio_feature(YAMNET, heard(wav(samples, 44_100, subtype)))

    assert 0.01 < np.abs(window).max() <= 1
    reference = inputs.audio_feature(YAMNET, heard(wav(samples, 44_100, "FLOAT")))
    np.testing.assert_allclose(window, reference, atol=1e-3)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
def test_yamnet_hears_sixteen_kilohertz_whatever_the_recordings_rate(rate_hz):
    window = inputs.audio_feature(YAMNET, heard(wav(tone(1000, rate_hz), rate_hz, "PCM_16")))

    spectrum = np.abs(np.fft.rfft(window[: 2 * waveform.SAMPLE_RATE_HZ]))
    assert np.argmax(spectrum) * waveform.SAMPLE_RATE_HZ / (2 * waveform.SAMPLE_RATE_HZ) == pytest.approx(1000, abs=2)


def test_yamnet_hears_the_same_level_from_every_line():
    loud, quiet = (
        inputs.audio_feature(YAMNET, heard(wav(gain * tone(500, 8000), 8000, "PCM_16"))) for gain in (1, 0.1)
    )

    np.testing.assert_allclose(loud, quiet, atol=2e-3)


def test_pictures_are_what_imagenet_networks_expect():
    drawn = inputs.audio_feature(VGG16, heard(wav(speech_like(3, 8000), 8000, "PCM_16")))

    as_pixels = np.clip((drawn + picture.IMAGENET_MEANS_BGR)[..., ::-1], 0, 255)
    np.testing.assert_allclose(keras.applications.vgg16.preprocess_input(as_pixels.copy()), drawn, atol=1e-3)
    assert drawn.max() > 50
    assert drawn.min() < -50


@pytest.mark.parametrize("spec", [VGG16, VGG16_LSTM, YAMNET], ids=lambda spec: spec.name)
def test_a_pretrained_base_is_never_unfrozen(spec):
    base = yamnet.yamnet_base(None) if spec is YAMNET else models.vgg16_base(None)
    head = RECIPES[spec.name].build(902)

    network = models.joined(base, head, spec)

    assert not base.trainable_weights
    assert len(network.trainable_weights) == len(head.trainable_weights) > 0


def test_yamnets_frames_are_pooled_to_one_answer_a_clip():
    """One label belongs to the clip, not to a frame: their order does not change the answer, and each counts."""
    head = models.yamnet_head()
    frames = RANDOM.uniform(0, 3, (1, *models.YAMNET_FEATURES)).astype(np.float32)
    louder = frames.copy()
    louder[0, 7] *= 5

    answers = [
        float(np.asarray(head.predict_on_batch(each)[PROBABILITY.name])[0, 0])
        for each in (frames, frames[:, ::-1], louder)
    ]

    assert answers[0] == pytest.approx(answers[1], abs=1e-6)
    assert answers[0] != pytest.approx(answers[2], abs=1e-6)


def test_the_lstm_behind_the_cnn_steps_through_time():
    network = models.cnn_lstm()
    steps = keras.Model(network.inputs, network.get_layer("steps").output)
    mel_window = RANDOM.uniform(-80, 0, (1, 128, 300, 1)).astype(np.float32)
    late = mel_window.copy()
    late[:, :, 280:] = 0  # the last 7 % of the time, every band

    before, after = steps.predict_on_batch(mel_window)[0], steps.predict_on_batch(late)[0]

    changed = np.abs(after - before).max(axis=1) > 0
    assert steps.output_shape == (None, 75, 256)
    assert changed[-5:].all()
    assert not changed[: len(changed) * 80 // 100].any()
