"""Telephone channels for training and for evaluation, by what they do to a sound."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from preprocess_service.features import g711
from tests.unit.small_corpus import speech_like
from training import augmentation, impairments
from training.augmentation import augmented, clip_rng, shifted_channel
from training.line import FRAME_SAMPLES, code_words, heard
from training.synthetic.backgrounds import CACHED_TAKES, MAKERS
from training.synthetic.telephone import active_rms

SPEECH = heard(code_words(speech_like(3.0, seed=1).astype(np.float32)))
RECIPES = {"augmented": augmented, "shifted": shifted_channel}


def power_db(samples, low_hz, high_hz):
    spectrum = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / 8000)
    return 10 * np.log10(spectrum[(hz >= low_hz) & (hz < high_hz)].mean() + 1e-12)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_variant_is_set_by_clip_number_and_seed(recipe):
    channel = RECIPES[recipe]

    def made(clip_id="a", variant=1, seed=1):
        return channel(SPEECH, clip_rng(clip_id, recipe, variant, seed)).tobytes()

    assert made() == made()
    assert len({made(), made(clip_id="b"), made(variant=2), made(seed=2)}) == 4


def digests():
    return [
        hashlib.sha256(channel(SPEECH, clip_rng("a", name, 1, 1)).tobytes()).hexdigest()
        for name, channel in RECIPES.items()
    ]


def test_a_variant_is_the_same_in_another_process():
    program = "from tests.unit.test_augmentation import digests; print(*digests())"

    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert other.split() == digests()


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("samples", [800, 801, 959, 24_000])
def test_length_stays_and_everything_is_a_level_of_mulaw(recipe, samples):
    for variant in range(12):
        sound = RECIPES[recipe](SPEECH[:samples], clip_rng("a", recipe, variant, 0))

        assert sound.shape == (samples,)
        assert sound.dtype == np.float32
        np.testing.assert_array_equal(heard(code_words(sound)), sound)


@pytest.mark.parametrize("recipe", RECIPES)
def test_silence_stays_silent(recipe):
    for variant in range(8):
        sound = RECIPES[recipe](np.zeros(8000, np.float32), clip_rng("a", recipe, variant, 0))

        assert np.abs(sound).max() < 0.01


def test_augmented_variants_differ_from_each_other_and_keep_the_speech():
    whole_power = [active_rms(augmented(SPEECH, clip_rng("a", "augmented", variant, 0))) for variant in range(24)]

    ratios_db = 20 * np.log10(np.array(whole_power) / active_rms(SPEECH))
    assert np.ptp(ratios_db) > 6
    assert np.abs(ratios_db).max() < 16


def test_shifted_channel_has_a_narrower_band_than_training_ever_hears():
    """With white noise in, the edges show; the loudest training variant at an edge is the one to compare with."""
    noise = (0.05 * np.random.default_rng(2).standard_normal(24_000)).astype(np.float32)

    def edge_db(recipe, variant):
        sound = RECIPES[recipe](noise, clip_rng("a", recipe, variant, 0))
        return power_db(sound, 2900, 3200) - power_db(sound, 1000, 2000)

    shifted = [edge_db("shifted", variant) for variant in range(6)]
    trained = [edge_db("augmented", variant) for variant in range(24)]
    assert max(shifted) < np.median(trained) - 6


def test_shifted_channel_never_sounds_like_training_by_its_makings():
    assert augmentation.SHIFTED_LOWER_EDGE_HZ[0] > augmentation.LOWER_EDGE_HZ[1]
    assert augmentation.SHIFTED_UPPER_EDGE_HZ[1] < augmentation.UPPER_EDGE_HZ[0]


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("burst_frames", [1.0, 3.0, 8.0])
def test_bursty_losses_have_their_rate_and_their_runs(rate, burst_frames):
    lost = impairments.bursty_losses(400_000, rate, burst_frames, np.random.default_rng(3))

    runs = np.sum(np.diff(np.concatenate([[0], lost.astype(np.int8)])) == 1)
    assert lost.mean() == pytest.approx(rate, rel=0.1)
    assert lost.sum() / runs == pytest.approx(burst_frames, rel=0.1)


def test_random_losses_have_their_rate():
    assert impairments.random_losses(100_000, 0.04, np.random.default_rng(4)).mean() == pytest.approx(0.04, rel=0.1)


@pytest.mark.parametrize(("rate", "burst_frames"), [(-0.1, 2.0), (1.0, 2.0), (0.1, 0.5)])
def test_refuses_losses_that_cannot_be(rate, burst_frames):
    with pytest.raises(ValueError, match="burst_frames"):
        impairments.bursty_losses(10, rate, burst_frames, np.random.default_rng(1))


def marks(*lost):
    frames = np.zeros(150, bool)
    frames[list(lost)] = True
    return frames


def test_silence_in_place_of_a_lost_frame():
    sound = impairments.with_losses(SPEECH, marks(40), "silence")

    gap = slice(40 * FRAME_SAMPLES, 41 * FRAME_SAMPLES)
    assert not sound[gap].any()
    np.testing.assert_array_equal(np.delete(sound, np.r_[gap]), np.delete(SPEECH, np.r_[gap]))


def test_repetition_conceals_a_lost_frame_of_a_steady_voice():
    seconds = np.arange(24_000) / 8000
    harmonics = [np.sin(2 * np.pi * 125 * n * seconds) / n for n in range(1, 20)]
    voice = np.sum(harmonics, axis=0).astype(np.float32)

    def error(concealment):
        lost = impairments.with_losses(voice, marks(40), concealment)[40 * FRAME_SAMPLES : 41 * FRAME_SAMPLES]
        return np.mean((lost - voice[40 * FRAME_SAMPLES : 41 * FRAME_SAMPLES]) ** 2)

    assert error("repetition") < 0.05 * error("silence")


def test_long_loss_fades_to_silence_and_speech_returns():
    sound = impairments.with_losses(SPEECH, marks(*range(40, 50)), "repetition")

    assert not sound[round(40.0 * FRAME_SAMPLES) + 480 : 50 * FRAME_SAMPLES].any()
    assert sound[40 * FRAME_SAMPLES : 40 * FRAME_SAMPLES + 160].any()
    np.testing.assert_array_equal(sound[51 * FRAME_SAMPLES :], SPEECH[51 * FRAME_SAMPLES :])
    np.testing.assert_array_equal(sound[: 40 * FRAME_SAMPLES], SPEECH[: 40 * FRAME_SAMPLES])


@pytest.mark.parametrize("lost", [range(150), [0], [149], [0, 1, 148, 149]])
@pytest.mark.parametrize("concealment", ["repetition", "silence"])
def test_losses_at_the_ends_are_survived(lost, concealment):
    sound = impairments.with_losses(SPEECH, marks(*lost), concealment)

    assert sound.shape == SPEECH.shape
    assert np.isfinite(sound).all()


def noise_to_signal_db(sound):
    return 10 * np.log10(np.sum((sound - SPEECH) ** 2) / np.sum(SPEECH**2))


def test_codecs_err_as_much_as_they_are_known_to():
    alaw = noise_to_signal_db(impairments.through_alaw(SPEECH))
    g721 = noise_to_signal_db(impairments.through_codec(SPEECH, impairments.G721_ADPCM))
    gsm = noise_to_signal_db(impairments.through_codec(SPEECH, impairments.GSM_FULL_RATE))

    assert -45 < alaw < -30
    assert alaw < g721 < -12
    assert g721 < gsm < 0


@pytest.mark.parametrize("codec", [impairments.GSM_FULL_RATE, impairments.G721_ADPCM])
@pytest.mark.parametrize("samples", [1, 159, 320, 1001])
def test_codecs_keep_every_length(codec, samples):
    assert impairments.through_codec(SPEECH[:samples], codec).shape == (samples,)


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 30.0])
def test_background_lies_below_the_speech_by_what_was_asked(snr_db):
    noisy = impairments.with_background(SPEECH, "rain", 1 << 40, snr_db, np.random.default_rng(5))

    level = np.sqrt(np.mean((noisy - SPEECH).astype(np.float64) ** 2))
    assert 20 * np.log10(active_rms(SPEECH) / level) == pytest.approx(snr_db, abs=2)


@pytest.mark.parametrize("factor", [0.92, 1.0, 1.08])
def test_speed_moves_the_pitch_and_keeps_the_length(factor):
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 8000).astype(np.float32)

    played = impairments.at_speed(tone, factor)

    assert played.shape == tone.shape
    spectrum = np.abs(np.fft.rfft(played[:14_000] * np.hanning(14_000)))
    assert np.argmax(spectrum) * 8000 / 14_000 == pytest.approx(1000 * factor, abs=1)


def test_a_room_adds_to_what_follows_a_sound():
    click = np.zeros(8000, np.float32)
    click[1000] = 0.5

    wet = impairments.in_room(click, 0.3, np.random.default_rng(6))

    assert wet.shape == click.shape
    assert not np.any(np.abs(wet[:1000]) > 1e-6)
    assert np.sum(wet[1001:] ** 2) > 0.01 * 0.25


def test_the_longest_take_cache_suffices_for_training():
    assert len(MAKERS) * augmentation.TAKES_PER_KIND <= CACHED_TAKES


def test_mulaw_levels_survive_their_own_round_trip():
    levels = g711.MULAW_LEVELS.astype(np.float32) / np.float32(32768)

    np.testing.assert_array_equal(heard(code_words(levels)), levels)
