from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from client import AudioFormat, Channel
from preprocess_service.features import audio as decoding
from preprocess_service.features import g711
from tests.e2e.conftest import DATA
from tests.unit.recordings import REAL_RECORDINGS, file_bytes, speech_like
from training.manifest import EMERGENCY_KINDS

# Most that the probability of one call may move between codings: what a second companding, by A-law, explains. About
# twice what `python -m training evaluate` measures; the frozen convolutions of `vgg16` are the more sensitive.
G711_TOLERANCE = {"multimodal": 0.01, "vgg16": 0.15}


@pytest.fixture(scope="module")
def call(corpus):
    """A call for help that no model was trained on: (bytes of a WAV, transcript)."""
    clip = next(each for each in corpus.clips if each.split == "test" and each.label == "emergency")
    return (DATA / clip.path).read_bytes(), clip.text


def samples_of(wav):
    return decoding.decode(wav, decoding.AudioFormat(), 60)


def test_a_verdict_says_what_it_is_made_of(client, call):
    audio, transcript = call

    verdict = client.classify(audio, transcript=transcript, call_id="call-1")

    assert verdict.call_id == "call-1"
    assert verdict.model == "multimodal"
    assert verdict.model_version == next(each.version for each in client.list_models() if each.is_default)
    assert 0 <= verdict.probability <= 1
    assert 0 < verdict.threshold < 1
    assert verdict.emergency == (verdict.probability >= verdict.threshold)
    assert 0 < verdict.uncertain_from <= verdict.threshold
    assert len(verdict.kinds) == 3
    assert {each.name for each in verdict.kinds} < set(EMERGENCY_KINDS)
    assert verdict.audio_s == pytest.approx(len(samples_of(audio)) / 8000)
    assert verdict.warnings == ()
    times = verdict.times
    assert min(times.decode_ms, times.audio_ms, times.text_ms, times.inference_ms) > 0
    assert times.total_ms >= times.inference_ms


def test_the_transcript_counts(client, corpus):
    """Over several calls: what was said moves the verdict the way it should."""
    clips = [clip for clip in corpus.clips if clip.split == "test"][:40]

    def mean(label, transcript_of):
        chosen = [clip for clip in clips if clip.label == label]
        return np.mean(
            [
                client.classify((DATA / clip.path).read_bytes(), transcript=transcript_of(clip)).probability
                for clip in chosen
            ]
        )

    assert mean("emergency", lambda clip: clip.text) > mean("normal", lambda clip: clip.text) + 0.5


def test_decomposed_hangul_is_the_same_transcript(client, call):
    audio, transcript = call
    decomposed = unicodedata.normalize("NFD", transcript)

    assert decomposed != transcript
    verdicts = [client.classify(audio, transcript=text) for text in (transcript, decomposed)]
    assert verdicts[0].probability == pytest.approx(verdicts[1].probability, abs=1e-6)


@pytest.mark.parametrize("model", ["multimodal", "vgg16"])
@pytest.mark.parametrize("coding", ["wav", "flac", "mulaw", "alaw", "pcm16", "stereo wav"])
def test_the_coding_hardly_moves_the_verdict(client, corpus, model, coding):
    for clip in [each for each in corpus.clips if each.split == "test"][:10]:
        samples = samples_of((DATA / clip.path).read_bytes())
        pcm = np.round(samples * 32768).astype(np.int16)
        both = np.stack([samples, np.zeros_like(samples)], axis=1)
        bytes_and_format = {
            "wav": (file_bytes(samples, 8000, "WAV", "FLOAT"), AudioFormat()),
            "flac": (file_bytes(samples, 8000, "FLAC", "PCM_16"), AudioFormat()),
            "mulaw": (g711.encode_mulaw(pcm).tobytes(), AudioFormat.mulaw()),
            "alaw": (g711.encode_alaw(pcm).tobytes(), AudioFormat.alaw()),
            "pcm16": (pcm.astype("<i2").tobytes(), AudioFormat.pcm16(8000)),
            "stereo wav": (file_bytes(both, 8000, "WAV", "FLOAT"), AudioFormat()),
        }[coding]

        channel = Channel.FIRST if coding == "stereo wav" else Channel.MIX
        answer = client.classify(
            bytes_and_format[0], format=bytes_and_format[1], channel=channel, transcript=clip.text, model=model
        )
        reference = client.classify((DATA / clip.path).read_bytes(), transcript=clip.text, model=model)

        tolerance = G711_TOLERANCE[model] if coding == "alaw" else 1e-5  # the others lose nothing of a mu-law clip
        assert answer.probability == pytest.approx(reference.probability, abs=tolerance)


@pytest.mark.parametrize(("model", "window_s"), [("multimodal", 7), ("vgg16", 5)])
def test_a_long_recording_gets_a_timeline(client, model, window_s):
    audio = file_bytes(speech_like(33, 8000), 8000, "WAV")

    verdict = client.classify(audio, model=model)

    assert verdict.audio_s == pytest.approx(33)
    assert verdict.timeline[0].start_s == 0
    assert verdict.timeline[-1].end_s == pytest.approx(33, abs=1e-3)
    assert all(each.end_s - each.start_s == pytest.approx(window_s, abs=1e-3) for each in verdict.timeline)
    assert verdict.probability == pytest.approx(max(each.probability for each in verdict.timeline))


def test_an_emergency_late_in_a_long_call_is_heard(client, corpus):
    normal = [clip for clip in corpus.clips if clip.split == "test" and clip.label == "normal"][:8]
    emergencies = [clip for clip in corpus.clips if clip.split == "test" and clip.label == "emergency"][:20]

    def alone(clip):
        return client.classify((DATA / clip.path).read_bytes(), transcript=clip.text).probability

    emergency = max(emergencies, key=alone)  # the demo model does not know every one
    calm = np.concatenate([samples_of((DATA / clip.path).read_bytes()) for clip in normal])
    urgent = samples_of((DATA / emergency.path).read_bytes())
    said = " ".join(clip.text for clip in normal)

    verdict = client.classify(
        file_bytes(np.concatenate([calm, urgent]), 8000, "WAV"), transcript=f"{said} {emergency.text}"
    )

    assert verdict.emergency
    assert max(verdict.timeline, key=lambda each: each.probability).end_s > len(calm) / 8000


def test_a_long_recording_says_that_it_is_long(client):
    verdict = client.classify(file_bytes(speech_like(22, 8000), 8000, "WAV"))

    assert "long_recording" in verdict.warnings


def test_half_an_hour_is_taken(client):
    audio = g711.encode_mulaw(np.tile((speech_like(60, 8000) * 32767).astype(np.int16), 30)).tobytes()

    verdict = client.classify(audio, format=AudioFormat.mulaw(), deadline_s=120)

    assert verdict.audio_s == 1800
    assert len(verdict.timeline) == 514


@pytest.mark.parametrize(
    ("samples", "model", "transcript", "warnings"),
    [
        (speech_like(3, 8000), "multimodal", "", {"no_transcript"}),
        (np.zeros(24000, np.float32), "multimodal", "", {"no_transcript", "silent"}),
        (speech_like(0.5, 8000), "multimodal", "도와주세요", {"too_short"}),
        (np.clip(speech_like(3, 8000) * 100, -1, 1), "multimodal", "도와주세요", {"clipped"}),
        (speech_like(3, 8000), "vgg16", "도와주세요", {"transcript_unused"}),
    ],
)
def test_a_verdict_says_why_to_doubt_it(client, samples, model, transcript, warnings):
    verdict = client.classify(file_bytes(samples, 8000, "WAV"), model=model, transcript=transcript)

    assert set(verdict.warnings) - {"untrained_base"} == warnings


@pytest.mark.parametrize("path", REAL_RECORDINGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("model", ["multimodal", "vgg16"])
def test_real_sounds_get_a_verdict(client, path, model):
    verdict = client.classify(path.read_bytes(), model=model)

    assert 0 <= verdict.probability <= 1


def test_lists_its_models(client):
    models = {model.name: model for model in client.list_models()}

    assert {"multimodal", "vgg16"} <= set(models)
    assert models["multimodal"].loaded
    assert models["multimodal"].precision in ("fp32", "fp16", "int8")
    assert models["multimodal"].is_default
    assert [(each.name, each.datatype, tuple(each.shape)) for each in models["multimodal"].inputs] == [
        ("mel", "FP32", (128, 300, 1)),
        ("tokens", "INT32", (12,)),
    ]
    assert models["multimodal"].figures["test_accuracy"] > 0.5
