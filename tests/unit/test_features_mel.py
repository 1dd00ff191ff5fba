"""librosa is the reference."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import soundfile

from preprocess_service.features import mel
from preprocess_service.features.audio import TELEPHONE_RATE_HZ, resample
from tests.unit.recordings import REAL_RECORDINGS, speech_like

RELATIVE = 1e-4
RATE_HZ = mel.SAMPLE_RATE_HZ
WINDOW = round(7 * TELEPHONE_RATE_HZ)
TIMES_S = np.arange(WINDOW) / TELEPHONE_RATE_HZ
RANDOM = np.random.default_rng(7)


def as_heard(telephone):
    """Telephone samples as the features get them."""
    return resample(np.asarray(telephone, np.float32), TELEPHONE_RATE_HZ, RATE_HZ)


GENERATED = {
    "speech": as_heard(speech_like(7, TELEPHONE_RATE_HZ)),
    "noise": as_heard(RANDOM.standard_normal(WINDOW) * 0.1),
    "sweep": as_heard(np.sin(2 * np.pi * (100 + 270 * TIMES_S) * TIMES_S)),
    "tone at the edge of the band": as_heard(np.sin(2 * np.pi * 3900 * TIMES_S)),
    "click": as_heard(np.where(np.arange(WINDOW) == 25_400, 1, 0)),
    "full scale": as_heard(np.sign(np.sin(2 * np.pi * 440 * TIMES_S))),
    "random signs": as_heard(np.sign(RANDOM.standard_normal(WINDOW))),
    "begins and ends loud": as_heard(np.cos(2 * np.pi * 440 * TIMES_S)),
    "cut out of a loud call": as_heard(np.sign(np.sin(2 * np.pi * 440 * TIMES_S)))[5001:-5000],
    "whisper": as_heard(speech_like(7, TELEPHONE_RATE_HZ, 3) * np.float32(1e-4)),
    "short": as_heard(speech_like(0.1, TELEPHONE_RATE_HZ)),
    "longer than the window": as_heard(speech_like(9, TELEPHONE_RATE_HZ)),
    "silence": np.zeros(mel.MULTIMODAL_SAMPLES, np.float32),
}


def reference_power(samples):
    return librosa.feature.melspectrogram(y=samples, sr=RATE_HZ, n_fft=2048, hop_length=512, n_mels=128)


def reference_multimodal(samples):
    window = librosa.util.fix_length(samples, size=7 * RATE_HZ)
    return librosa.power_to_db(reference_power(window), ref=np.max)[:, :300]


def load(path):
    samples, rate_hz = soundfile.read(path, dtype="float32")
    return as_heard(resample(samples, rate_hz, TELEPHONE_RATE_HZ))


ALL_SOUNDS = [pytest.param(samples, id=name) for name, samples in GENERATED.items()] + [
    pytest.param(load(path), id=path.stem) for path in REAL_RECORDINGS
]


def test_filters_are_librosas():
    reference = librosa.filters.mel(  # type: ignore[attr-defined]
        sr=RATE_HZ, n_fft=2048, n_mels=128
    )

    np.testing.assert_allclose(mel.mel_filters(), reference, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("samples", ALL_SOUNDS)
def test_power_is_librosas(samples):
    reference = reference_power(samples)

    power = mel.centred_power(samples, mel.frame_count(len(samples)))

    assert power.shape == reference.shape
    # Bands 70 dB below the loudest carry float32 rounding of the transform, in librosa's result too.
    np.testing.assert_allclose(power, reference, rtol=RELATIVE, atol=1e-7 * max(float(reference.max()), 1e-12))


@pytest.mark.parametrize("samples", ALL_SOUNDS)
def test_multimodal_mel_is_librosas(samples):
    feature = mel.multimodal_mel(samples)

    assert feature.shape == (128, 300)
    assert feature.dtype == np.float32
    np.testing.assert_allclose(feature, reference_multimodal(samples), rtol=RELATIVE, atol=RELATIVE * mel.TOP_DB)


def test_results_do_not_share_memory_between_calls():
    first = mel.multimodal_mel(GENERATED["speech"])
    kept = first.copy()

    mel.multimodal_mel(GENERATED["noise"])

    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("n_samples", [1, 511, 512, 1024, 22050, 100_000, mel.MULTIMODAL_SAMPLES - 1])
def test_silence_after_the_end_is_that_of_a_whole_window(n_samples):
    samples = GENERATED["speech"][:n_samples]
    window = np.zeros(mel.MULTIMODAL_SAMPLES, np.float32)
    window[:n_samples] = samples

    feature = mel.multimodal_mel(samples)

    every_sample = mel.power_to_db(mel.edge_power(window, range(mel.frame_count(len(window)))))
    np.testing.assert_allclose(feature, every_sample[:, : mel.MULTIMODAL_FRAMES], atol=RELATIVE * mel.TOP_DB)


@pytest.mark.parametrize("samples", ALL_SOUNDS)
def test_power_of_a_frame_is_the_same_from_all_of_its_samples(samples):
    """Half the samples of a frame within a call are enough, since a telephone's sound ends at 4 kHz."""
    whole = mel.whole_frames(len(samples), mel.frame_count(len(samples)))
    if whole:
        every_sample = mel.edge_power(samples, whole)

        power = mel.inner_power(samples[: (whole.stop - 1) * mel.HOP + mel.FFT_SIZE // 2])

        np.testing.assert_allclose(power, every_sample, rtol=RELATIVE, atol=1e-7 * max(float(power.max()), 1e-12))


@pytest.mark.parametrize("frames", [1, mel.BLOCK - 1, mel.BLOCK, mel.BLOCK + 1, 3 * mel.BLOCK + 5])
def test_a_frame_is_the_same_in_whatever_block(frames):
    samples = RANDOM.standard_normal((frames - 1) * mel.HOP + mel.FFT_SIZE).astype(np.float32)

    power = mel.inner_power(samples)

    alone = [mel.inner_power(samples[start : start + mel.FFT_SIZE]) for start in range(0, frames * mel.HOP, mel.HOP)]
    np.testing.assert_allclose(power, np.concatenate(alone, axis=1), rtol=1e-5)


def test_of_no_samples_there_is_no_sound():
    assert not mel.multimodal_mel(np.zeros(0, np.float32)).any()
