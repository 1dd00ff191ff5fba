"""Bad input: a clear status with value and rule, and the service goes on."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest

from client import AudioFormat, Encoding, InvalidRequest, ModelNotFound, TriageError
from preprocess_service.proto.wigeup.v1 import triage_pb2 as pb
from preprocess_service.proto.wigeup.v1 import triage_pb2_grpc
from tests.unit.recordings import file_bytes, speech_like, wav_header

GOOD = file_bytes(speech_like(2, 8000), 8000, "WAV")
WITH_NAN = speech_like(2, 8000)
WITH_NAN[5000] = np.nan
NOISE = np.random.default_rng(2).integers(0, 256, 3_000_000, dtype=np.uint8).tobytes()
MULAW = AudioFormat.mulaw()


@pytest.fixture(autouse=True)
def _goes_on(client):
    yield
    assert client.classify(GOOD).audio_s == 2


@pytest.mark.parametrize(
    ("audio", "audio_format", "message"),
    [
        (b"", AudioFormat(), "0 bytes of audio"),
        (GOOD[:30], AudioFormat(), "WAV"),
        (GOOD[:-1000], AudioFormat(), "promises 32000 bytes of samples and 31000 are there"),
        (wav_header(data_bytes=2**31) + bytes(1000), AudioFormat(), "promises 2147483648 bytes"),
        (wav_header(rate_hz=0, data_bytes=16000) + bytes(16000), AudioFormat(), "0 Hz"),
        (file_bytes(WITH_NAN, 8000, "WAV", "FLOAT"), AudioFormat(), "sample 5000 is nan"),
        (NOISE, AudioFormat(), "no WAV, FLAC, Ogg or MP3"),
        (b"ID3\x04\x00\x00\x00\x00\x00\x00" + NOISE, AudioFormat(), "no WAV, FLAC, Ogg or MP3"),
        (bytes(40 * 60 * 8000), MULAW, "2400.0 s of audio; at most 1800 s"),
        (bytes(16000), AudioFormat(encoding=Encoding.PCM16, sample_rate_hz=0), "0 Hz"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_audio_is_refused(client, audio, audio_format, message):
    with pytest.raises(InvalidRequest, match=message):
        client.classify(audio, format=audio_format)


def test_a_transcript_of_a_megabyte_is_refused(client):
    with pytest.raises(InvalidRequest, match="333333 characters of transcript; at most 10000"):
        client.classify(GOOD, transcript="불" * 333_333)


def test_the_longest_transcript_is_read(client):
    client.classify(GOOD, transcript="불이 났어요 " * 1400, deadline_s=120)


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(ModelNotFound, match="model 'resnet' is unknown; there are multimodal, "):
        client.classify(GOOD, model="resnet")


@pytest.mark.parametrize("name", ["x" * 20_000, "여기 불이 났어요"])
def test_a_model_name_that_is_none_is_not_repeated(client, service, name):
    with pytest.raises(ModelNotFound, match=f"of {len(name)} characters"):
        client.classify(GOOD, model=name)

    assert name not in service.log_text()


def test_calls_given_up_do_not_hold_up_the_next(client):
    for _ in range(6):
        with pytest.raises(TriageError) as failure:
            client.classify(GOOD, transcript="가" * 10_000, deadline_s=0.001)
        assert failure.value.status is grpc.StatusCode.DEADLINE_EXCEEDED

    assert client.classify(GOOD).audio_s == 2


def test_too_many_tensors_are_refused_before_they_are_made(client):
    with pytest.raises(TriageError, match="bytes of tensors; at most 33554432 are answered"):
        client.preprocess(bytes(1800 * 8000), format=MULAW, model="vgg16", deadline_s=60)


@pytest.mark.parametrize("megabytes", [33, 47])
def test_too_many_bytes_are_refused(client, megabytes):
    with pytest.raises(TriageError) as refusal:
        client.classify(bytes(megabytes * 2**20), format=MULAW, deadline_s=60)

    assert refusal.value.status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "at most 33554432" in str(refusal.value)


@pytest.mark.parametrize("call_id", ["x" * 129, "통화", "a\nb"])
def test_a_call_id_that_would_spoil_the_log_is_refused(client, call_id):
    with pytest.raises(InvalidRequest, match="at most 128 printable ASCII characters"):
        client.classify(GOOD, call_id=call_id)


UNKNOWN: Any = 99


@pytest.mark.parametrize(
    ("request_message", "message"),
    [
        (pb.ClassifyRequest(audio=GOOD, format=pb.AudioFormat(encoding=UNKNOWN)), "encoding 99 is unknown"),
        (pb.ClassifyRequest(audio=GOOD, format=pb.AudioFormat(channel=UNKNOWN)), "channel 99 is unknown"),
        (pb.ClassifyRequest(audio=GOOD, priority=UNKNOWN), "priority 99 is unknown"),
        (pb.ClassifyRequest(), "0 bytes of audio"),
    ],
)
def test_values_that_the_api_does_not_know_are_refused(service, request_message, message):
    with grpc.insecure_channel(service.address) as channel, pytest.raises(grpc.RpcError) as refusal:
        triage_pb2_grpc.TriageStub(channel).Classify(request_message, timeout=10)

    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in str(refusal.value.details())


def test_bytes_that_are_no_message_are_refused(service):
    with grpc.insecure_channel(service.address) as channel:
        call: Any = channel.unary_unary("/wigeup.v1.Triage/Classify")
        with pytest.raises(grpc.RpcError) as refusal:
            call(b"\xff\xff\xff\xff", timeout=10)

    assert "Error parsing message" in str(refusal.value.details())
