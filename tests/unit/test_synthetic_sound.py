"""Speech, backgrounds and the telephone path, by what can be measured of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from preprocess_service.features.g711 import decode_mulaw, encode_mulaw
from training.manifest import SPLITS
from training.synthetic.backgrounds import LINE_RATE_HZ, MAKERS, TAKE_SAMPLES, take
from training.synthetic.casting import VARIANTS, expected_speech_s
from training.synthetic.speech import SPEECH_RATE_HZ, SpeechError, Voice, speak, variants
from training.synthetic.telephone import (
    active_rms,
    echoed,
    impulse_response,
    overdriven,
    telephone,
    tilted,
    to_line_rate,
    write_mulaw,
)

TEXT = "여기 부엌에서 불이 났어요, 빨리 와 주세요."
VOICE = Voice("f2", 175, 50, 50)
ALL_VARIANTS = [variant for split in SPLITS for variant in VARIANTS[split]]


def tone(frequency_hz: float, duration_s: float = 1.0) -> np.ndarray:
    seconds = np.arange(round(LINE_RATE_HZ * duration_s)) / LINE_RATE_HZ
    return (0.3 * np.sin(2 * np.pi * frequency_hz * seconds)).astype(np.float32)


def test_speech_does_not_depend_on_what_was_said_before() -> None:
    first = speak(TEXT, VOICE)
    speak("다른 말을 먼저 합니다.", Voice("m1", 220, 20, 80))

    np.testing.assert_array_equal(speak(TEXT, VOICE), first)


def test_speech_is_float_audio_without_silent_ends() -> None:
    samples = speak(TEXT, VOICE)

    assert samples.dtype == np.float32
    assert 0.2 < np.abs(samples).max() <= 1.0
    assert abs(samples[0]) > 0.001
    assert abs(samples[-1]) > 0.001


def test_speech_is_as_long_as_its_words() -> None:
    short, long = speak("불이 났어요.", VOICE), speak(f"{TEXT} {TEXT}", VOICE)

    assert long.size / SPEECH_RATE_HZ == pytest.approx(expected_speech_s(f"{TEXT} {TEXT}", 175), rel=0.15)
    assert long.size > 4 * short.size


def test_every_voice_variant_sounds_different() -> None:
    assert len({speak(TEXT, Voice(variant, 175, 50, 50)).tobytes() for variant in ALL_VARIANTS}) == len(ALL_VARIANTS)


def test_no_variant_serves_two_splits() -> None:
    assert len(set(ALL_VARIANTS)) == len(ALL_VARIANTS)
    assert set(ALL_VARIANTS) <= variants()


@pytest.mark.parametrize("changed", [Voice("f2", 220, 50, 50), Voice("f2", 175, 70, 50), Voice("f2", 175, 50, 90)])
def test_speed_pitch_and_range_change_the_sound(changed: Voice) -> None:
    assert speak(TEXT, changed).tobytes() != speak(TEXT, VOICE).tobytes()


def test_faster_speech_is_shorter() -> None:
    assert speak(TEXT, Voice("f2", 220, 50, 50)).size < 0.9 * speak(TEXT, VOICE).size


@pytest.mark.parametrize(
    ("voice", "named"),
    [
        (Voice("nobody", 175, 50, 50), "'nobody'"),
        (Voice("f2", 20, 50, 50), "rate 20"),
        (Voice("f2", 175, 100, 50), "pitch 100"),
        (Voice("f2", 175, 50, -1), "pitch_range -1"),
    ],
)
def test_refuses_a_voice_that_does_not_exist(voice: Voice, named: str) -> None:
    with pytest.raises(SpeechError, match=named):
        speak(TEXT, voice)


def test_refuses_a_text_without_sound() -> None:
    with pytest.raises(SpeechError, match="no sound"):
        speak(" ", VOICE)


@pytest.mark.parametrize("kind", MAKERS)
def test_background_take_is_set_by_its_seed(kind: str) -> None:
    first = take(kind, 1).copy()
    take.cache_clear()

    np.testing.assert_array_equal(take(kind, 1), first)
    assert not np.array_equal(take(kind, 2), first)
    assert first.shape == (TAKE_SAMPLES,)
    assert np.mean(first**2) == pytest.approx(1, rel=1e-3)


def test_background_kinds_differ_in_spectrum() -> None:
    def centroid_hz(kind: str) -> float:
        power = np.abs(np.fft.rfft(take(kind, 1))) ** 2
        return float(np.sum(power * np.fft.rfftfreq(TAKE_SAMPLES, 1 / LINE_RATE_HZ)) / power.sum())

    assert centroid_hz("room") < centroid_hz("siren") < centroid_hz("alarm")


def test_level_is_measured_where_someone_speaks() -> None:
    half_silent = np.concatenate([tone(440), np.zeros(LINE_RATE_HZ, np.float32)])

    assert active_rms(half_silent) == pytest.approx(0.3 / np.sqrt(2), rel=0.02)
    assert active_rms(np.zeros(800, np.float32)) == 0.0


def test_echo_adds_a_tail() -> None:
    rng = np.random.default_rng(1)

    wet = echoed(tone(440), 0.3, rng)

    assert wet.size == LINE_RATE_HZ + round(0.3 * LINE_RATE_HZ) - 1
    assert np.abs(wet[LINE_RATE_HZ : LINE_RATE_HZ + 400]).max() > 0.001


@pytest.mark.parametrize("rt60_s", [0.0, -1.0, 5.0])
def test_refuses_an_impossible_room(rt60_s: float) -> None:
    with pytest.raises(ValueError, match="rt60_s"):
        impulse_response(rt60_s, np.random.default_rng(1))


def test_overdrive_cuts_peaks() -> None:
    assert np.abs(overdriven(tone(440), 6.0)).max() == pytest.approx(0.3 * 10 ** (-6 / 20), rel=0.01)


def test_telephone_band_passes_speech_and_stops_hum() -> None:
    def passed(frequency_hz: float) -> float:
        heard = decode_mulaw(telephone(tone(frequency_hz), band_limited=True)) / 32768
        return float(np.std(heard[800:]) / np.std(tone(frequency_hz)))

    assert passed(1000) == pytest.approx(1, rel=0.05)
    assert passed(60) < 0.05


def test_telephone_is_g711_and_clips_at_full_scale() -> None:
    loud = telephone(tone(440) * 10, band_limited=False)

    np.testing.assert_array_equal(encode_mulaw(decode_mulaw(loud)), loud)
    assert np.abs(decode_mulaw(loud).astype(int)).max() == 32124


def test_line_rate_keeps_the_duration() -> None:
    assert to_line_rate(np.zeros(SPEECH_RATE_HZ, np.float32), SPEECH_RATE_HZ).size == LINE_RATE_HZ


@pytest.mark.parametrize("samples", [800, 801])
def test_written_file_is_a_mulaw_wav(tmp_path: Path, samples: int) -> None:
    code_words = telephone(tone(440)[:samples] if samples <= 800 else tone(440)[:801], band_limited=False)

    write_mulaw(tmp_path / "a.wav", code_words)

    info = soundfile.info(tmp_path / "a.wav")
    read, _ = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (8000, 1, "ULAW", samples)
    np.testing.assert_array_equal(read, decode_mulaw(code_words))


@pytest.mark.parametrize("tilt_db", [-3.0, 0.0, 9.0])
def test_a_tilt_is_the_gain_from_the_lowest_to_the_highest_frequency(tilt_db: float) -> None:
    impulse = np.zeros(256, np.float32)
    impulse[0] = 1

    gain_db = 20 * np.log10(np.abs(np.fft.rfft(tilted(impulse, tilt_db))))

    assert gain_db[-1] - gain_db[0] == pytest.approx(tilt_db, abs=1e-3)
    assert (np.diff(gain_db) * np.sign(tilt_db) >= -1e-6).all()
