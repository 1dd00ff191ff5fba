"""One path for all audio: what a recording was made with is not heard at the end of it."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
import soxr

from preprocess_service.errors import InvalidAudio
from preprocess_service.features import g711
from preprocess_service.features.audio import AudioFormat, Encoding, decode
from tests.unit.small_corpus import speech_like
from training import line
from training.synthetic.telephone import active_rms

WIDE_HZ = 44_100


def wav(samples, rate_hz=8000, subtype="PCM_16"):
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype=subtype)
    return file.getvalue()


def path_of(samples, **kwargs):
    return line.heard(line.line_code_words(wav(samples, **kwargs)))


def difference_db(one, other):
    """Power of the difference against the first, over the stretch that both have."""
    both = min(len(one), len(other))
    return 10 * np.log10((np.sum((one[:both] - other[:both]) ** 2) + 1e-12) / np.sum(one[:both] ** 2))


def test_wide_band_recording_and_telephone_recording_of_one_sound_come_out_alike():
    wide = speech_like(3.0, seed=1, rate_hz=WIDE_HZ)
    hiss = np.random.default_rng(1).standard_normal(wide.size)
    above = soxr.resample(soxr.resample(hiss, WIDE_HZ, 8000), 8000, WIDE_HZ)
    wide = wide + 0.05 * (hiss[: above.size] - above)[: wide.size]  # what only the wide band has
    narrow = soxr.resample(wide, WIDE_HZ, 8000)

    from_wide, from_narrow = path_of(wide, rate_hz=WIDE_HZ, subtype="PCM_32"), path_of(narrow)

    assert abs(len(from_wide) - len(from_narrow)) <= 1
    assert difference_db(from_wide, from_narrow) < -30  # G.711 itself errs by about -38 dB


def test_high_band_is_gone():
    sound = speech_like(2.0, seed=2, rate_hz=48_000)
    whistle = 0.3 * np.sin(2 * np.pi * 6000 * np.arange(sound.size) / 48_000)

    with_whistle = path_of(sound + whistle, rate_hz=48_000, subtype="PCM_32")

    assert difference_db(path_of(sound, rate_hz=48_000, subtype="PCM_32"), with_whistle) < -30


@pytest.mark.parametrize(("gain", "offset"), [(0.02, 0.0), (1.0, 0.1), (0.3, -0.2), (2.4, 0.0)])
def test_level_and_offset_do_not_matter(gain, offset):
    sound = speech_like(2.0, seed=3)

    assert difference_db(path_of(sound, subtype="PCM_24"), path_of(gain * sound + offset, subtype="PCM_24")) < -30


def test_speech_comes_out_at_one_level():
    quiet = np.concatenate([np.zeros(8000), 0.03 * speech_like(2.0, seed=4), np.zeros(4000)])

    assert 20 * np.log10(active_rms(path_of(quiet))) == pytest.approx(line.LEVEL_DBFS, abs=0.1)


def test_padding_is_cut_but_for_a_tenth_of_a_second():
    sound = speech_like(1.0, seed=5)
    floor = 1e-4 * np.random.default_rng(5).standard_normal(32_000)
    padded = floor.copy()
    padded[10_000:18_000] += sound

    kept = path_of(padded, subtype="PCM_24")

    assert len(kept) == pytest.approx(8000 + 2 * 800, abs=3 * line.FRAME_SAMPLES)


def test_pauses_within_the_speech_stay():
    sound = np.concatenate([speech_like(0.5, seed=6), np.zeros(16_000), speech_like(0.5, seed=7)])

    assert len(path_of(sound)) == pytest.approx(24_000, abs=2 * line.FRAME_SAMPLES)


@pytest.mark.parametrize("sound", [np.zeros(4000), np.full(4000, 0.25), np.eye(1, 4000, 3999)[0], np.eye(1, 900)[0]])
def test_something_is_left_of_every_sound(sound):
    kept = path_of(sound)

    assert len(kept) >= 800
    assert np.isfinite(kept).all()


def test_faint_noise_is_not_raised_to_speech():
    noise = 1e-5 * np.random.default_rng(8).standard_normal(8000)

    assert active_rms(path_of(noise, subtype="PCM_24")) < 10 ** (line.LEVEL_DBFS / 20) / 3


def test_a_clip_is_the_stretch_that_the_manifest_names():
    first, second = speech_like(1.0, seed=9), speech_like(1.5, seed=10)
    recording = wav(np.concatenate([first, second]))

    np.testing.assert_array_equal(line.line_code_words(recording, 1.0, 2.5), line.line_code_words(wav(second)))
    np.testing.assert_array_equal(line.line_code_words(recording, 1.0), line.line_code_words(wav(second)))


@pytest.mark.parametrize(("start_s", "end_s"), [(0.95, None), (0.5, 0.55), (3.0, 4.0)])
def test_refuses_a_stretch_without_sound(start_s, end_s):
    with pytest.raises(InvalidAudio, match=r"of a recording of 1 s; at least 0\.1 s"):
        line.line_code_words(wav(speech_like(1.0, seed=11)), start_s, end_s)


def test_the_service_decodes_exactly_what_training_hears():
    words = line.line_code_words(wav(speech_like(1.0, seed=12)))

    served = decode(words.tobytes(), AudioFormat(Encoding.MULAW, 8000), 10)

    np.testing.assert_array_equal(served, line.heard(words))
    np.testing.assert_array_equal(g711.decode_mulaw(line.code_words(served)), g711.decode_mulaw(words))
