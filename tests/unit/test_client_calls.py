"""The client library against a real server: what it sends, what it makes of answers. Sync and asyncio alike."""

import asyncio
import dataclasses
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import grpc
import pytest

from client import (
    MAX_SEND_BYTES,
    AsyncTriageClient,
    AudioFormat,
    Channel,
    DeadlineExceeded,
    Health,
    KindProbability,
    Priority,
    ServiceUnavailable,
    TriageClient,
    TriageError,
    Verdict,
    WindowScore,
)
from preprocess_service.proto.wigeup.v1 import triage_pb2
from tests.unit.stub_service import Service, StubTriage, nobody_listening, serving

AUDIO = b"\xff" * 8000


class Ask(Protocol):
    """Makes a client, calls one of its methods, closes it."""

    def __call__(self, address: str, method: str, *args: Any, settings: Any = None, **fields: Any) -> Any: ...


def ask_sync(address: str, method: str, *args: Any, settings: Any = None, **fields: Any) -> Any:
    with TriageClient(address, **(settings or {})) as client:
        return getattr(client, method)(*args, **fields)


def ask_aio(address: str, method: str, *args: Any, settings: Any = None, **fields: Any) -> Any:
    async def call() -> Any:
        async with AsyncTriageClient(address, **(settings or {})) as client:
            return await getattr(client, method)(*args, **fields)

    return asyncio.run(call())


@pytest.fixture(params=[ask_sync, ask_aio], ids=["sync", "aio"])
def ask(request: pytest.FixtureRequest) -> Ask:
    chosen: Ask = request.param
    return chosen


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as running:
        yield running


def test_sends_every_field(ask: Ask, service: Service) -> None:
    ask(
        service.address,
        "classify",
        AUDIO,
        format=AudioFormat.pcm16(16_000, 2),
        transcript="불이 났어요",
        model="vgg16",
        model_version="4",
        call_id="call-7",
        priority=Priority.URGENT,
        channel=Channel.SECOND,
    )

    assert service.triage.requests == [
        triage_pb2.ClassifyRequest(
            audio=AUDIO,
            format=triage_pb2.AudioFormat(
                encoding=triage_pb2.AUDIO_ENCODING_PCM16,
                sample_rate_hz=16_000,
                channels=2,
                channel=triage_pb2.CHANNEL_CHOICE_SECOND,
            ),
            transcript="불이 났어요",
            model="vgg16",
            model_version="4",
            call_id="call-7",
            priority=triage_pb2.PRIORITY_URGENT,
        )
    ]


@pytest.mark.parametrize(
    ("audio_format", "encoding", "sample_rate_hz", "channels"),
    [
        (None, triage_pb2.AUDIO_ENCODING_UNSPECIFIED, 0, 0),
        (AudioFormat.file(), triage_pb2.AUDIO_ENCODING_UNSPECIFIED, 0, 0),
        (AudioFormat.mulaw(), triage_pb2.AUDIO_ENCODING_MULAW, 8000, 1),
        (AudioFormat.alaw(channels=2), triage_pb2.AUDIO_ENCODING_ALAW, 8000, 2),
    ],
)
def test_formats_become_the_api_s_own(
    service: Service, audio_format: AudioFormat | None, encoding: int, sample_rate_hz: int, channels: int
) -> None:
    ask_sync(service.address, "classify", AUDIO, format=audio_format)

    sent = service.triage.requests[0].format
    assert (sent.encoding, sent.sample_rate_hz, sent.channels) == (encoding, sample_rate_hz, channels)


def test_converts_the_verdict(ask: Ask, service: Service) -> None:
    service.triage.windows = 2

    verdict = ask(service.address, "classify", AUDIO, call_id="call-7")

    assert isinstance(verdict, Verdict)
    assert verdict.timeline == (WindowScore(0.0, 7.0, 0.07), WindowScore(7.0, 14.0, 0.035))
    assert (verdict.probability, verdict.threshold, verdict.emergency) == (0.07, 0.5, False)
    assert (verdict.model, verdict.model_version, verdict.call_id) == ("multimodal", "1", "call-7")
    assert (verdict.audio_s, verdict.times.total_ms, verdict.times.inference_ms) == (14.0, 7.75, 4.0)
    assert verdict.warnings == ("no_transcript",)
    assert (verdict.decision, verdict.uncertain_from) == ("normal", 0.3)
    assert verdict.kinds == (
        KindProbability("화재", 0.6),
        KindProbability("가스사고", 0.3),
        KindProbability("갇힘", 0.2),
    )


def test_results_are_frozen_and_become_json(service: Service) -> None:
    verdict = ask_sync(service.address, "classify", AUDIO, transcript="불이야")

    with pytest.raises(dataclasses.FrozenInstanceError):
        verdict.probability = 0.0
    plain = json.loads(json.dumps(verdict.to_dict()))
    assert plain["probability"] == 0.93
    assert plain["timeline"] == [{"start_s": 0.0, "end_s": 7.0, "probability": 0.93}]
    assert plain["times"]["total_ms"] == 7.75


def test_lists_models(ask: Ask, service: Service) -> None:
    model, unloaded = ask(service.address, "list_models")

    assert model.name == "multimodal"
    assert model.is_default
    assert model.reads_transcript
    assert model.inputs[0].shape == (128, 300, 1)
    assert model.threshold_without_transcript == 0.4
    assert model.to_dict()["figures"] == {"recall": 0.98}
    assert model.corpus == "합성 말뭉치"
    assert model.uncertain_from_without_transcript == 0.2
    assert model.kinds == ("화재", "가스사고", "갇힘")
    assert (model.loaded, model.precision, model.provider) == (True, "int8", "OpenVINOExecutionProvider")
    assert (unloaded.name, unloaded.loaded, unloaded.precision) == ("cnn", False, "")


def test_preprocess_carries_the_largest_messages_both_ways(ask: Ask, service: Service) -> None:
    audio = bytes(MAX_SEND_BYTES - 1024)

    answer = ask(service.address, "preprocess", audio, model_version="2")

    assert answer.model_version == "2"
    assert answer.inputs[0].raw_contents == audio
    assert answer.inputs[0].shape == (1, 128, 300, 1)
    assert (answer.rows[0].start_s, answer.rows[0].end_s) == (0.0, 7.0)


def test_health_follows_the_service(ask: Ask, service: Service) -> None:
    assert ask(service.address, "health").serving

    service.set_serving(False)

    assert ask(service.address, "health") == Health("NOT_SERVING")
    assert ask(service.address, "health", "no.such.Service") == Health("SERVICE_UNKNOWN")


@pytest.mark.parametrize(
    ("settings", "fields", "deadline_s"),
    [({}, {}, 10.0), ({"deadline_s": 100.0}, {}, 100.0), ({"deadline_s": 100.0}, {"deadline_s": 1000.0}, 1000.0)],
    ids=["default", "of the client", "of the call"],
)
def test_every_call_carries_a_deadline(
    ask: Ask, service: Service, settings: dict[str, float], fields: dict[str, float], deadline_s: float
) -> None:
    ask(service.address, "classify", AUDIO, settings=settings, **fields)

    # What is left when the server sees it; on the wire gRPC rounds up by as much as 1 %.
    assert deadline_s / 2 < service.triage.time_remaining_s[0] < deadline_s * 1.02


def test_one_connection_serves_all_calls_of_a_client() -> None:
    peers: set[str] = set()

    class NotesPeers(StubTriage):
        def Classify(self, request: triage_pb2.ClassifyRequest, context: grpc.ServicerContext) -> triage_pb2.Verdict:
            peers.add(context.peer())
            return super().Classify(request, context)

    with serving(NotesPeers()) as service, TriageClient(service.address, own_connection=True) as client:
        for _ in range(3):
            client.classify(AUDIO)
        assert len(peers) == 1
        with TriageClient(service.address, own_connection=True) as another:
            another.classify(AUDIO)
    assert len(peers) == 2


def test_threads_share_a_client(service: Service) -> None:
    with TriageClient(service.address) as client:
        threads = [threading.Thread(target=client.classify, args=(AUDIO,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(service.triage.requests) == 8


async def test_asyncio_calls_overlap_on_one_client(service: Service) -> None:
    async with AsyncTriageClient(service.address) as client:
        verdicts = await asyncio.gather(*(client.classify(AUDIO, call_id=str(n)) for n in range(8)))

    assert [verdict.call_id for verdict in verdicts] == [str(n) for n in range(8)]


def test_waits_for_a_connection_only_when_asked(ask: Ask) -> None:
    with nobody_listening() as address:
        with pytest.raises(ServiceUnavailable, match="Connection refused"):
            ask(address, "classify", AUDIO)
        with pytest.raises(DeadlineExceeded):
            ask(address, "classify", AUDIO, settings={"wait_for_ready": True}, deadline_s=0.3)


def test_a_refused_call_is_not_sent_again(ask: Ask, service: Service) -> None:
    for status in ("UNAVAILABLE", "RESOURCE_EXHAUSTED"):
        with pytest.raises(TriageError):
            ask(service.address, "classify", AUDIO, model=f"fail-{status}")

    assert len(service.triage.requests) == 2


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command to make a certificate")
def test_speaks_tls_with_given_roots(ask: Ask, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    names = ("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate))
    subprocess.run(["openssl", *request.split(), *names], check=True, capture_output=True)
    pair = (key.read_bytes(), certificate.read_bytes())

    with serving(credentials=grpc.ssl_server_credentials([pair])) as service:
        verdict = ask(service.address, "classify", AUDIO, settings={"root_certificates": pair[1]})
        assert verdict.model == "multimodal"
        with pytest.raises(ServiceUnavailable):
            ask(service.address, "classify", AUDIO)
