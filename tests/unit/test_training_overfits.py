"""Each of the seven networks learns 32 clips by heart: what cannot do that has a fault, not too little data."""

from __future__ import annotations

from functools import cache

import keras
import numpy as np
import pytest

from preprocess_service.features import inputs, mel, text
from preprocess_service.features.audio import TELEPHONE_RATE_HZ, resample
from preprocess_service.model_spec import MODELS, PROBABILITY, TOKENS
from training import line, models, yamnet
from training.dataset import learn_text_settings, token_ids
from training.recipes import RECIPES
from training.synthetic.plan import plan_corpus
from training.synthetic.render import render

CLIPS = 32
MOST_EPOCHS = 80


@cache
def clips():
    planned = plan_corpus(CLIPS, seed=6)
    samples = [resample(line.heard(render(each)), TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ) for each in planned]
    labels = np.array([each.clip.label == "emergency" for each in planned])
    assert labels.sum() == CLIPS / 2
    return [each.clip for each in planned], samples, labels


@cache
def windows(audio_name):
    spec = next(each for each in MODELS.values() if each.audio.name == audio_name)
    _, samples, _ = clips()
    return np.stack([inputs.audio_feature(spec, each[: round(spec.window_s * mel.SAMPLE_RATE_HZ)]) for each in samples])


@cache
def tokens():
    corpus, _, _ = clips()
    settings = learn_text_settings(corpus)
    return np.stack([text.last_tokens(ids) for ids in token_ids(corpus, settings)])


@cache
def frozen_features(kind):
    if kind == "multimodal":
        return models.sound_half(models.cnn()).predict(windows("mel"), batch_size=8, verbose=0)
    if kind == "vgg16":
        return models.vgg16_base(None).predict(windows("picture"), batch_size=8, verbose=0)
    base = yamnet.yamnet_base(None)
    yamnet.settle(base, windows("waveform"))
    return base.predict(windows("waveform"), batch_size=8, verbose=0)


@pytest.mark.parametrize("name", MODELS)
def test_overfits_thirty_two_clips(name):
    spec, recipe = MODELS[name], RECIPES[name]
    keras.utils.set_random_seed(1)
    network = recipe.build(902)
    is_head = recipe.base or recipe.listener
    sound = frozen_features(name.partition("_")[0]) if is_head else windows(spec.audio.name)
    arrays = {models.FEATURES if is_head else spec.audio.name: sound}
    if spec.tokens:
        arrays[TOKENS.name] = tokens()
    _, _, labels = clips()
    learner = keras.Model(network.inputs, network.output[PROBABILITY.name])
    learner.compile(keras.optimizers.Adam(recipe.rate), "binary_crossentropy")

    for _ in range(0, MOST_EPOCHS, 10):
        learner.fit(arrays, labels.astype(np.float32), batch_size=16, epochs=10, verbose=0)
        accuracy = ((learner.predict(arrays, verbose=0)[:, 0] > 0.5) == labels).mean()
        if accuracy == 1:
            break

    assert accuracy == 1


@pytest.mark.parametrize("seed", range(3))
def test_the_reference_head_learns_from_any_first_weights(seed):
    """A head that saturates in the first steps stays at 0.5 for good."""
    keras.utils.set_random_seed(seed)
    network = models.multimodal(902, "reference", names_kind=False)
    _, _, labels = clips()
    arrays = {"mel": windows("mel"), TOKENS.name: tokens()}
    network.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy")

    for _ in range(3):
        network.fit(arrays, {PROBABILITY.name: labels.astype(np.float32)[:, None]}, batch_size=16, epochs=10, verbose=0)
        right = ((network.predict(arrays, verbose=0)[PROBABILITY.name][:, 0] > 0.5) == labels).all()
        if right:
            break

    assert right
