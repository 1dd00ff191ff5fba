from __future__ import annotations

import numpy as np
import pytest

from preprocess_service.features import audio as decoding
from preprocess_service.features import g711
from preprocess_service.features.activity import Evidence, evidence
from preprocess_service.features.live import LiveAudio
from preprocess_service.model_spec import MULTIMODAL
from tests.unit.recordings import REAL_RECORDINGS
from training.synthetic.plan import plan_corpus
from training.synthetic.render import render

SECONDS = 7
T = np.arange(SECONDS * 8000) / 8000
NOISE = np.random.default_rng(1).normal(0, 1, len(T))


def on_the_line(samples):
    return g711.encode_mulaw((np.clip(samples, -1, 1) * 32767).astype(np.int16))


def found(samples):
    return found_on_the_line(on_the_line(samples))


def found_on_the_line(code_words):
    heard = LiveAudio(8000)
    heard.feed(g711.decode_mulaw(code_words).astype(np.float32) / np.float32(32768))
    heard.finish()
    return evidence(heard, heard.span(MULTIMODAL))


def tone(*frequencies_hz):
    return 0.1 * sum(np.sin(2 * np.pi * each * T) for each in frequencies_hz)


def chords(seed):
    """A tune of decaying chords, a new one every 0.25 to 0.8 s."""
    random, tune = np.random.default_rng(seed), np.zeros(len(T))
    each = round(random.choice([0.25, 0.35, 0.5, 0.8]) * 8000)
    for start in range(0, len(T) - each, each):
        t = T[:each]
        for step in random.choice([0, 2, 4, 5, 7, 9, 11, 12, 16, 19], random.integers(1, 4), replace=False):
            for harmonic in range(1, 5):
                pitch_hz = 220 * 2 ** (step / 12) * harmonic
                tune[start : start + each] += np.sin(2 * np.pi * pitch_hz * t) / harmonic * np.exp(-t)
    return 0.3 * tune / np.abs(tune).max()


@pytest.mark.parametrize(
    ("samples", "what"),
    [
        (np.zeros(len(T)), Evidence.SILENCE),
        (NOISE * 10 ** (-78 / 20), Evidence.SILENCE),
        (NOISE * 10 ** (-50 / 20), Evidence.COMFORT_NOISE),
        (NOISE * 10 ** (-44 / 20), Evidence.COMFORT_NOISE),
        (tone(440), Evidence.HOLD_MUSIC),
        (tone(440, 480) * (T % 3 < 1), Evidence.HOLD_MUSIC),
        (tone(480, 620) * (T % 1 < 0.5), Evidence.HOLD_MUSIC),
        *((chords(seed), Evidence.HOLD_MUSIC) for seed in range(4)),
    ],
)
def test_what_a_line_does_without_a_caller_is_no_evidence(samples, what):
    assert found(samples) is what


@pytest.mark.parametrize(
    "samples",
    [
        0.3 * np.sin(2 * np.pi * 3150 * T) * (T % 1 < 0.5),  # a smoke alarm
        0.3 * np.sin(2 * np.pi * np.cumsum(900 + 400 * np.sin(2 * np.pi * 0.3 * T)) / 8000),  # a wailing siren
        NOISE * 10 ** (-20 / 20),  # rain, or a leak of gas
        NOISE * 10 ** (-50 / 20) * (1 + 9 * (T > 6)),  # something happens at the end of a quiet line
        np.where((T > 3) & (T < 3.05), 0.5, 0.0) * NOISE,  # a bang in silence
    ],
    ids=["smoke alarm", "siren", "loud noise", "noise after quiet", "bang"],
)
def test_what_may_be_an_emergency_is_evidence(samples):
    assert found(samples) is Evidence.SOUND


def test_speech_is_evidence_whatever_is_behind_it():
    kinds = [found_on_the_line(render(planned)) for planned in plan_corpus(120, seed=9)]

    assert set(kinds) == {Evidence.SOUND}


@pytest.mark.skipif(not REAL_RECORDINGS, reason="the real recordings are not here")
def test_real_sounds_are_evidence():
    kinds = {
        path.name: found(decoding.decode(path.read_bytes(), decoding.AudioFormat(), 60)) for path in REAL_RECORDINGS
    }

    assert {name for name, kind in kinds.items() if kind is not Evidence.SOUND} == set()
