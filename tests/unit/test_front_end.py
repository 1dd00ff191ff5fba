"""The front end's graph on ONNX Runtime's CPU provider; the features that the service computes are the reference.

Decibels are relative to the loudest of the window, 0 to -80. They may differ by a thousandth of that range, 0.08 dB,
and by a thousandth of a decibel in the mean. Bands 80 dB below a pure tone hold the rounding of either arithmetic.
"""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from preprocess_service import front_end
from preprocess_service.features import g711, inputs, mel
from preprocess_service.features.audio import PCM16_FULL_SCALE, TELEPHONE_RATE_HZ, AudioFormat, decode, resample
from preprocess_service.front_end import ENSEMBLES, FRONT_END, SPAN, TELEPHONE
from preprocess_service.model_spec import CNN, MEL, MULTIMODAL
from tests.unit.recordings import REAL_RECORDINGS, speech_like
from training.front_end import spectrum
from training.front_end.graph import build
from training.front_end.installation import install

LARGEST_DB = 1e-3 * mel.TOP_DB
MEAN_DB = 1e-3
WINDOW = round(mel.MULTIMODAL_WINDOW_S * TELEPHONE_RATE_HZ)
TIMES_S = np.arange(WINDOW) / TELEPHONE_RATE_HZ
RANDOM = np.random.default_rng(11)
IDS = list(range(2, 22))


def coded(samples):
    """What a mu-law line makes of samples, as int16."""
    pcm = np.clip(np.asarray(samples, np.float64) * PCM16_FULL_SCALE, -PCM16_FULL_SCALE, PCM16_FULL_SCALE - 1)
    return g711.decode_mulaw(g711.encode_mulaw(pcm.astype(np.int16)))


def as_heard(pcm):
    return pcm.astype(np.float32) / np.float32(PCM16_FULL_SCALE)


SOUNDS = {
    "speech": coded(speech_like(7, TELEPHONE_RATE_HZ)),
    "not coded": (speech_like(7, TELEPHONE_RATE_HZ) * 20_000).astype(np.int16),
    "noise": coded(RANDOM.standard_normal(WINDOW) * 0.1),
    "tone": coded(0.9 * np.sin(2 * np.pi * 440 * TIMES_S)),
    "tone at the edge of the band": coded(0.5 * np.sin(2 * np.pi * 3900 * TIMES_S)),
    "whisper": coded(3e-4 * np.sin(2 * np.pi * 440 * TIMES_S)),
    "loud from the first sample": coded(np.sign(np.sin(2 * np.pi * 300 * TIMES_S[:9000] + 1))),
    "cut off while loud": coded(np.sign(np.sin(2 * np.pi * 300 * TIMES_S[:8123]))),
    "click": np.where(np.arange(WINDOW) == 25_400, 20_000, 0).astype(np.int16),
    "click in the last frame": np.where(np.arange(WINDOW) == WINDOW - 1, 20_000, 0).astype(np.int16),
    "shortest": coded(speech_like(0.1, TELEPHONE_RATE_HZ)),
    "a sample short of the window": coded(speech_like(7, TELEPHONE_RATE_HZ))[:-1],
    "three windows and a bit": coded(speech_like(23.123, TELEPHONE_RATE_HZ)),
    "silence": np.zeros(WINDOW, np.int16),
    "full scale": np.full(WINDOW, -PCM16_FULL_SCALE, np.int16),
}
# Real recordings as a telephone carries them.
SOUNDS |= {path.stem: coded(decode(path.read_bytes(), AudioFormat(), 600)) for path in REAL_RECORDINGS}


@pytest.fixture(scope="module")
def run():
    session = onnxruntime.InferenceSession(build().SerializeToString(), providers=["CPUExecutionProvider"])

    def answers(arrays):
        return session.run([MEL.name], {each.name: arrays[each.name] for each in FRONT_END.inputs})[0]

    return answers


@pytest.mark.parametrize("pcm", [pytest.param(pcm, id=name) for name, pcm in SOUNDS.items()])
def test_equals_the_features_of_the_service(run, pcm):
    sound = resample(as_heard(pcm), TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)
    rows = inputs.rows(MULTIMODAL, len(sound), len(IDS))
    expected = inputs.batch(MULTIMODAL, sound, IDS, rows)

    arrays = front_end.batch(MULTIMODAL, pcm, IDS, rows)
    found = run(arrays)

    difference = np.abs(found - expected[MEL.name])
    assert found.shape == (len(rows), *MEL.shape)
    assert found.dtype == np.float32
    assert float(difference.max()) <= LARGEST_DB
    assert float(difference.mean()) <= MEAN_DB
    np.testing.assert_array_equal(arrays["tokens"], expected["tokens"])


def test_rows_of_a_batch_do_not_touch_each_other(run):
    rows = [(name, pcm[:WINDOW]) for name, pcm in SOUNDS.items() if len(pcm) >= WINDOW]
    spans = np.array([[0, mel.MULTIMODAL_SAMPLES, 1]] * len(rows), np.int32)
    telephone = np.stack([np.pad(pcm, (front_end.PERIOD, 2 * front_end.PERIOD)) for _, pcm in rows])

    together = run({TELEPHONE.name: telephone, SPAN.name: spans})

    for index in range(len(rows)):
        alone = run({TELEPHONE.name: telephone[index : index + 1], SPAN.name: spans[:1]})
        np.testing.assert_allclose(together[index : index + 1], alone, atol=1e-4)


def test_sound_beside_the_window_is_not_heard_in_it_but_by_the_filter(run):
    """A row holds a period more at either side: what lies further out than the filter reaches changes nothing."""
    pcm = SOUNDS["three windows and a bit"]
    sound = resample(as_heard(pcm), TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)
    rows = inputs.rows(MULTIMODAL, len(sound), 0)[1:2]
    arrays = front_end.batch(MULTIMODAL, pcm, [], rows)
    loud = {name: array.copy() for name, array in arrays.items()}
    loud[TELEPHONE.name][:, :8] = loud[TELEPHONE.name][:, -8:] = 30_000

    np.testing.assert_allclose(run(loud), run(arrays), atol=1e-2)


def test_transform_is_the_fourier_transform():
    frame = RANDOM.standard_normal(mel.FFT_SIZE)
    rows = frame.reshape(spectrum.COARSE, spectrum.FINE)
    inner = np.einsum("bja,ab->bj", spectrum.first_product(), rows).reshape(2 * spectrum.FINE, spectrum.PHASES)
    outer = (spectrum.second_product() @ inner).reshape(2, -1)

    power = spectrum.mel_product() @ np.square(outer).sum(axis=0)

    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(mel.FFT_SIZE) / mel.FFT_SIZE)
    expected = mel.mel_filters() @ np.square(np.abs(np.fft.rfft(frame * hann)))
    np.testing.assert_allclose(power, expected, rtol=1e-9)


@pytest.mark.parametrize("n_samples", [800, 801, 880, 4_240, 55_999, 56_000, 183_280, 183_281])
def test_length_of_a_recording_is_known_before_it_is_resampled(n_samples):
    sound = resample(np.zeros(n_samples, np.float32), TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)

    assert front_end.resampled_length(n_samples) == len(sound)


@pytest.mark.parametrize("decode_words", [g711.decode_mulaw, g711.decode_alaw])
def test_telephone_codes_are_int16_exactly(decode_words):
    levels = decode_words(np.arange(256, dtype=np.uint8))

    found = front_end.pcm16(as_heard(levels))

    assert found is not None
    np.testing.assert_array_equal(found, levels)


@pytest.mark.parametrize("value", [1.0, 0.3, -1.5, 1e-6, np.nan])
def test_what_is_no_int16_is_not_made_one(value):
    assert front_end.pcm16(np.array([0.5, value], np.float32)) is None


def test_int16_at_its_limits_is_taken():
    found = front_end.pcm16(np.array([-1.0, 32767 / 32768], np.float32))

    assert found is not None
    assert found.tolist() == [-32768, 32767]


def test_a_model_without_transcript_gets_audio_only():
    rows = inputs.rows(CNN, mel.MULTIMODAL_SAMPLES, 0)

    arrays = front_end.batch(CNN, SOUNDS["speech"], [], rows)

    assert set(arrays) == {each.name for each in ENSEMBLES["cnn"].inputs} == {"telephone", "span"}


def test_installs_the_graph_and_a_version_of_every_ensemble_for_every_version_of_its_model(tmp_path):
    for version in ("1", "3"):
        (tmp_path / "multimodal" / version).mkdir(parents=True)

    first, again = install(tmp_path), install(tmp_path)

    graph = tmp_path / "front_end" / "1" / "model.onnx"
    versions = [tmp_path / "multimodal_from_audio" / version for version in ("1", "3")]
    assert first == [graph, *versions]
    assert again == [graph]
    assert all(folder.is_dir() for folder in versions)
    assert not list(tmp_path.glob("**/.*"))
