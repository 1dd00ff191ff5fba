from __future__ import annotations

import numpy as np
import pytest

from preprocess_service.features import audio as decoding
from preprocess_service.features import g711
from preprocess_service.features.live.activity import Evidence, evidence
from preprocess_service.features.live.audio import LiveAudio
from preprocess_service.model_spec import MULTIMODAL
from tests.unit.recordings import REAL_RECORDINGS
from training.synthetic.plan import plan_corpus
from training.synthetic.render import render
from training.synthetic.telephone import active_rms

SECONDS = 7
T = np.arange(SECONDS * 8000) / 8000
SPEECH_DB = -25  # of full scale
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


def keys(*frequencies_hz):
    """Two keys in turn, each pressed for 0.2 s."""
    row, column, other_row, other_column = frequencies_hz
    pressed = T % 0.4 < 0.2
    return np.where(T % 0.8 < 0.4, tone(row, column), tone(other_row, other_column)) * pressed


def moan(seed):
    """Somebody who moans at one pitch, over and over, with a little vibrato."""
    random = np.random.default_rng(seed)
    turns = np.cumsum(random.uniform(250, 500) * (1 + 0.01 * np.sin(2 * np.pi * 5 * T))) / 8000
    return (T % 2.5 < 2) * sum(np.sin(2 * np.pi * k * turns) / k**1.2 for k in range(1, 8)) * 0.05


def scream(seed):
    random = np.random.default_rng(seed)
    drift = np.cumsum(random.normal(0, 1, len(T))) / np.sqrt(len(T))
    turns = np.cumsum(random.uniform(500, 1400) * (1 + 0.03 * np.sin(2 * np.pi * 5.5 * T) + 0.05 * drift)) / 8000
    return (T % 2.2 < 1.7) * sum(np.sin(2 * np.pi * k * turns) / k for k in range(1, 4)) * 0.1


def two_tones(low_hz, high_hz):
    """A vehicle's horn of two tones in turn."""
    return 0.3 * np.sin(2 * np.pi * np.cumsum(np.where(T % 1 < 0.5, low_hz, high_hz)) / 8000)


@pytest.fixture(scope="module")
def callers():
    """What callers say, at SPEECH_DB, each over and over until the window is full."""
    said = [g711.decode_mulaw(render(planned)).astype(np.float32) / 32768 for planned in plan_corpus(16, seed=10)]
    return [np.resize(at_level(each, SPEECH_DB), len(T)) for each in said]


def at_level(samples, level_db):
    return samples / active_rms(np.asarray(samples, np.float32)) * 10 ** (level_db / 20)


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
        (keys(697, 1336, 770, 1209), Evidence.HOLD_MUSIC),
        *((chords(seed), Evidence.HOLD_MUSIC) for seed in (4, 5, 6, 8)),
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
        NOISE * 10 ** (-50 / 20) * (1 + 3 * ((T > 3) & (T < 3.2))),  # and for a moment only
        np.where((T > 3) & (T < 3.05), 0.5, 0.0) * NOISE,  # a bang in silence
        two_tones(440, 585),
        two_tones(660, 880),
        np.sign(np.sin(2 * np.pi * 520 * T)) * 0.2 * ((T % 4 < 3) & (T % 1 < 0.5)),
        sum(tone(420 * k, 500 * k) / k for k in range(1, 8)),
        *(moan(seed) for seed in range(4)),
        *(scream(seed) for seed in range(4)),
    ],
    ids=[
        *("smoke alarm", "siren", "loud noise", "noise after quiet", "noise between quiet", "bang"),
        *("two-tone siren", "another", "low smoke alarm", "stuck horn"),
        *(f"moan {seed}" for seed in range(4)),
        *(f"scream {seed}" for seed in range(4)),
    ],
)
def test_what_may_be_an_emergency_is_evidence(samples):
    assert found(samples) is Evidence.SOUND


def test_speech_is_evidence_whatever_is_behind_it():
    kinds = [found_on_the_line(render(planned)) for planned in plan_corpus(120, seed=9)]

    assert set(kinds) == {Evidence.SOUND}


@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
def test_a_tone_is_one_wherever_the_window_begins_and_ends(rate_hz):
    t = np.arange(12 * rate_hz) / rate_hz
    busy = 0.1 * (np.sin(2 * np.pi * 480 * t) + np.sin(2 * np.pi * 620 * t)) * (t % 1 < 0.5)
    heard, kinds = LiveAudio(rate_hz), []

    for start in range(0, len(busy), rate_hz):
        heard.feed(busy[start : start + rate_hz].astype(np.float32))
        kinds.append(evidence(heard, heard.span(MULTIMODAL)))

    assert set(kinds[1:]) == {Evidence.HOLD_MUSIC}


@pytest.mark.parametrize("louder_db", [0, 10])
@pytest.mark.parametrize(
    "behind",
    [tone(350, 440), tone(440, 480) * (T % 3 < 1), chords(4), chords(5)],
    ids=["dial tone", "ring-back", "chords", "other chords"],
)
def test_speech_over_tones_or_music_is_evidence(behind, louder_db, callers):
    behind = at_level(behind, SPEECH_DB + louder_db)

    assert found(behind) is Evidence.HOLD_MUSIC
    assert {found(caller + behind) for caller in callers} == {Evidence.SOUND}


def test_a_whisper_between_two_rings_is_evidence(callers):
    ringing = tone(440, 480) * (T % 3 < 1)

    assert {found(ringing + 0.06 * caller * (T % 3 > 1.2)) for caller in callers} == {Evidence.SOUND}


def test_one_word_in_comfort_noise_is_evidence(callers):
    silence = NOISE * 10 ** (-50 / 20)

    for at, caller in enumerate(callers):
        heard, loudest = silence.copy(), int(np.abs(caller).argmax())
        word = at_level(caller[max(0, loudest - 1000) : loudest + 1000], -42)
        heard[at * 3000 : at * 3000 + len(word)] += word
        assert found(heard) is Evidence.SOUND, at


@pytest.mark.skipif(not REAL_RECORDINGS, reason="the real recordings are not here")
def test_real_sounds_are_evidence():
    for path in REAL_RECORDINGS:
        samples = decoding.decode(path.read_bytes(), decoding.AudioFormat(), 60)
        for level_db in (0, -12):
            assert found(samples * 10 ** (level_db / 20)) is Evidence.SOUND, (path.name, level_db)
