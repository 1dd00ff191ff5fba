from __future__ import annotations

import io
import unicodedata

import numpy as np
import pytest
import soundfile

from client import AudioFormat, Channel
from preprocess_service.features import audio as decoding
from preprocess_service.features import g711
from tests.e2e.conftest import DATA
from tests.unit.recordings import REAL_RECORDINGS, file_bytes, speech_like
from training.manifest import EMERGENCY_KINDS, LABELS

# Most that the probability of a call, by the median, moves by a second companding, by A-law. About twice what
# `python -m training evaluate` measures; the frozen convolutions of `vgg16` are the more sensitive.
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


@pytest.fixture(scope="module", params=["multimodal", "vgg16"])
def ten_calls(request, client, corpus):
    """A model, ten test clips with their samples, and what the model makes of each."""
    clips = [clip for clip in corpus.clips if clip.split == "test"][:10]
    wavs = [(DATA / clip.path).read_bytes() for clip in clips]
    verdicts = [
        client.classify(wav, transcript=clip.text, model=request.param) for wav, clip in zip(wavs, clips, strict=True)
    ]
    calls = [(samples_of(wav), clip.text) for wav, clip in zip(wavs, clips, strict=True)]
    return request.param, calls, [verdict.probability for verdict in verdicts]


def probabilities(client, model, calls, coded, **options):
    return [
        client.classify(coded(samples), transcript=text, model=model, **options).probability for samples, text in calls
    ]


def pcm(samples):
    return np.round(samples * 32768).astype(np.int16)


@pytest.mark.parametrize(
    ("coded", "options"),
    [
        (lambda samples: file_bytes(samples, 8000, "WAV", "FLOAT"), {}),
        (lambda samples: file_bytes(samples, 8000, "FLAC", "PCM_16"), {}),
        (lambda samples: g711.encode_mulaw(pcm(samples)).tobytes(), {"format": AudioFormat.mulaw()}),
        (lambda samples: pcm(samples).astype("<i2").tobytes(), {"format": AudioFormat.pcm16(8000)}),
        (
            lambda samples: file_bytes(np.stack([samples, np.zeros_like(samples)], axis=1), 8000, "WAV", "FLOAT"),
            {"channel": Channel.FIRST},
        ),
    ],
    ids=["wav", "flac", "mulaw", "pcm16", "stereo wav"],
)
def test_a_coding_that_loses_nothing_of_a_mulaw_clip_leaves_the_verdict(client, ten_calls, coded, options):
    model, calls, expected = ten_calls

    assert probabilities(client, model, calls, coded, **options) == pytest.approx(expected, abs=1e-5)


def alaw(samples):
    return g711.encode_alaw(pcm(samples)).tobytes()


def decoded(code_words):
    """By libsndfile, not by this project."""
    samples, _ = soundfile.read(
        io.BytesIO(code_words), samplerate=8000, channels=1, format="RAW", subtype="ALAW", dtype="float32"
    )
    return samples


def test_alaw_is_heard_as_what_it_decodes_to_and_hardly_moves_the_verdict(client, ten_calls):
    model, calls, of_mulaw = ten_calls

    heard = probabilities(client, model, calls, alaw, format=AudioFormat.alaw())

    assert heard == pytest.approx(
        probabilities(client, model, calls, lambda samples: file_bytes(decoded(alaw(samples)), 8000, "WAV", "FLOAT")),
        abs=1e-5,
    )
    assert np.median(np.abs(np.subtract(heard, of_mulaw))) <= G711_TOLERANCE[model]


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
    test = [clip for clip in corpus.clips if clip.split == "test"]
    of_label = {label: [clip for clip in test if clip.label == label][:20] for label in LABELS}

    def alone(clip):
        return client.classify((DATA / clip.path).read_bytes(), transcript=clip.text).probability

    # The demo model does not know every one.
    emergency = max(of_label["emergency"], key=alone)
    normal = sorted(of_label["normal"], key=alone)[:8]
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
