"""Live calls over real connections that break, stall and refuse."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest

from client import (
    AsyncTriageClient,
    AudioFormat,
    CallSummary,
    CallUpdate,
    InvalidRequest,
    LiveCall,
    LiveOptions,
    ModelNotFound,
    Overloaded,
    Priority,
    ServiceUnavailable,
    Transcript,
    TriageError,
)
from preprocess_service.proto.wigeup.v1 import triage_pb2
from tests.unit.live_stub import LiveService, live_service
from tests.unit.stub_service import nobody_listening

RATE_HZ = 8000
FRAME = 160
QUICK = LiveOptions(reconnect_s=10)


def random_mulaw(seconds: float, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, round(seconds * RATE_HZ), dtype=np.uint8).tobytes()


@pytest.fixture
async def service() -> AsyncIterator[LiveService]:
    async with live_service() as running:
        yield running


@pytest.fixture
async def client(service: LiveService) -> AsyncIterator[AsyncTriageClient]:
    async with AsyncTriageClient(service.address) as connected:
        yield connected


async def collect(call: LiveCall) -> list[CallUpdate]:
    return [update async for update in call]


async def play(call: LiveCall, audio: bytes, words: dict[int, Transcript] | None = None) -> None:
    """Telephone frames of 20 ms, a transcript before some of them."""
    for number, start in enumerate(range(0, len(audio), FRAME)):
        if words and number in words:
            call.send_transcript(words[number])
        await call.send_audio(audio[start : start + FRAME])


async def run_call(
    client: AsyncTriageClient,
    audio: bytes,
    words: dict[int, Transcript] | None = None,
    options: LiveOptions = QUICK,
) -> tuple[list[CallUpdate], CallSummary, LiveCall]:
    async with client.live_call(format=AudioFormat.mulaw(), call_id="c-1", options=options) as call:
        updates = asyncio.create_task(collect(call))
        await play(call, audio, words)
        summary = await call.finish()
        return await updates, summary, call


def scores(updates: list[CallUpdate]) -> list[tuple[int, float, float | None, float, str]]:
    return [(u.number, u.covered_s, u.caller.probability, u.smoothed, u.alert) for u in updates]


async def test_every_hop_has_an_update_and_the_end_a_summary(service: LiveService, client: AsyncTriageClient) -> None:
    audio = random_mulaw(3.5)

    updates, summary, _ = await run_call(client, audio, {30: Transcript("불이 났어요")})

    assert [(u.number, u.covered_s) for u in updates] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 3.5)]
    assert [u.raised for u in updates] == [True] * 4
    assert (summary.call_id, summary.audio_s, summary.updates, summary.alerted) == ("c-1", 3.5, 4, True)
    assert [w.end_s for w in summary.timeline] == [1.0, 2.0, 3.0, 3.5]
    assert bytes(service.triage.streams[0].heard) == audio


async def test_telephone_frames_are_gathered(service: LiveService, client: AsyncTriageClient) -> None:
    await run_call(client, random_mulaw(2.0))

    sizes = [len(message.audio.audio) for message in service.triage.messages]
    assert sizes == [800] * 20


async def test_the_configuration_reaches_the_service(service: LiveService, client: AsyncTriageClient) -> None:
    audio_format = AudioFormat.pcm16(16000, channels=2)
    async with client.live_call(
        format=audio_format, call_id="7", model="cnn", model_version="3", priority=Priority.URGENT, hop_s=0.5
    ) as call:
        await call.send_audio(bytes(4 * 8000))
        updates = asyncio.create_task(collect(call))
        await call.finish()

    assert service.triage.configs == [
        triage_pb2.StreamConfig(
            format=triage_pb2.AudioFormat(encoding=triage_pb2.AUDIO_ENCODING_PCM16, sample_rate_hz=16000, channels=2),
            model="cnn",
            model_version="3",
            call_id="7",
            priority=triage_pb2.PRIORITY_URGENT,
            hop_s=0.5,
        )
    ]
    assert [u.agent is not None for u in await updates] == [True]


async def test_a_call_over_broken_connections_ends_as_an_unbroken_one_does(
    service: LiveService, client: AsyncTriageClient
) -> None:
    audio = random_mulaw(40)
    words = {
        100: Transcript("저기요", is_final=False),
        150: Transcript("여보세요"),
        900: Transcript("불이 났어요"),
        1500: Transcript("여기", is_final=False),
    }
    unbroken, whole, _ = await run_call(client, audio, words)
    service.triage.breaks = [0, 5, 0, 12, 1, 30]

    broken, stitched, call = await run_call(client, audio, words)

    assert scores(broken) == scores(unbroken)
    assert stitched == whole
    assert call.reconnections == 6
    for stream in service.triage.streams[1:]:
        assert stream.heard == audio[stream.origin : stream.origin + len(stream.heard)]


async def test_goes_on_when_the_service_comes_back_on_its_port(service: LiveService, client: AsyncTriageClient) -> None:
    audio = random_mulaw(20)
    unbroken, _, _ = await run_call(client, audio)
    changes: list[bool] = []
    lost = asyncio.Event()

    def on_monitored(monitored: bool, _reason: str) -> None:
        changes.append(monitored)
        if not monitored:
            lost.set()

    async with client.live_call(format=AudioFormat.mulaw(), options=QUICK, on_monitored=on_monitored) as call:
        await play(call, audio[: 9 * RATE_HZ])
        updates = [await anext(call) for _ in range(9)]
        await service.kill()
        await play(call, audio[9 * RATE_HZ : 12 * RATE_HZ])
        await lost.wait()
        was_monitored = call.monitored
        await service.start()
        await play(call, audio[12 * RATE_HZ :])
        rest = asyncio.create_task(collect(call))
        await call.finish()
        updates += await rest

    assert scores(updates) == scores(unbroken)
    assert was_monitored is False
    assert changes == [True, False, True]


async def test_a_connection_that_falls_silent_is_left_for_a_new_one(
    service: LiveService, client: AsyncTriageClient
) -> None:
    audio = random_mulaw(12)
    service.triage.hangs = [4]
    reasons: list[str] = []
    options = LiveOptions(stale_s=1.0, stalled_s=2.0)

    async with client.live_call(
        format=AudioFormat.mulaw(), options=options, on_monitored=lambda _, reason: reasons.append(reason)
    ) as call:
        await play(call, audio)
        updates = asyncio.create_task(collect(call))
        await call.finish()

    assert [u.number for u in await updates] == list(range(1, 13))
    assert call.reconnections == 1
    assert reasons == ["a model answers", "no update for 1 s", "a model answers"]


async def test_a_loss_after_the_half_close_costs_nothing(service: LiveService, client: AsyncTriageClient) -> None:
    service.triage.breaks = [3]

    updates, summary, _ = await run_call(client, random_mulaw(3))

    assert [u.number for u in updates] == [1, 2, 3]
    assert summary.updates == 3
    assert [w.end_s for w in summary.timeline] == [1.0, 2.0, 3.0]


async def test_no_model_answering_is_not_monitored_and_no_probability(
    service: LiveService, client: AsyncTriageClient
) -> None:
    service.triage.unmonitored = {2}
    changes: list[tuple[bool, str]] = []

    async with client.live_call(
        format=AudioFormat.mulaw(), on_monitored=lambda *change: changes.append(change)
    ) as call:
        await play(call, random_mulaw(3))
        updates = asyncio.create_task(collect(call))
        summary = await call.finish()

    assert [u.caller.probability is None for u in await updates] == [False, True, False]
    assert changes == [
        (True, "a model answers"),
        (False, "no model answers"),
        (True, "a model answers"),
    ]
    assert "not_monitored" in summary.degradations


@pytest.mark.parametrize(("status", "error"), [("INVALID_ARGUMENT", InvalidRequest), ("NOT_FOUND", ModelNotFound)])
async def test_a_final_status_ends_the_call(client: AsyncTriageClient, status: str, error: type[TriageError]) -> None:
    async with client.live_call(format=AudioFormat.mulaw(), model=f"fail-{status}") as call:
        with pytest.raises(error, match=f"refused with {status}"):
            await anext(call)
        with pytest.raises(error):
            await call.send_audio(b"\xff")
        with pytest.raises(error):
            await call.finish()


async def test_a_full_service_is_asked_again_when_it_says(service: LiveService, client: AsyncTriageClient) -> None:
    service.triage.refusals = [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2

    updates, _, call = await run_call(client, random_mulaw(2))

    assert [u.number for u in updates] == [1, 2]
    assert call.reconnections == 2


async def test_a_service_that_stays_full_ends_the_call(client: AsyncTriageClient) -> None:
    options = LiveOptions(reconnect_s=0.2)
    async with client.live_call(format=AudioFormat.mulaw(), model="fail-RESOURCE_EXHAUSTED", options=options) as call:
        with pytest.raises(Overloaded):
            await call.finish()


async def test_nobody_there_ends_the_call_after_the_limit() -> None:
    options = LiveOptions(reconnect_s=0.3)
    with nobody_listening() as address:
        async with (
            AsyncTriageClient(address) as client,
            client.live_call(format=AudioFormat.mulaw(), options=options) as call,
        ):
            with pytest.raises(ServiceUnavailable):
                await anext(call)
            assert call.reconnections > 0


async def test_without_resume_a_lost_connection_ends_the_call(service: LiveService, client: AsyncTriageClient) -> None:
    service.triage.breaks = [1]
    async with client.live_call(format=AudioFormat.mulaw(), resume=False) as call:
        await play(call, random_mulaw(2))
        assert (await anext(call)).number == 1
        with pytest.raises(ServiceUnavailable, match="goes down"):
            await anext(call)


async def test_audio_without_room_is_dropped_and_told_as_lost(service: LiveService, client: AsyncTriageClient) -> None:
    await service.kill()
    async with client.live_call(format=AudioFormat.mulaw(), options=LiveOptions(buffer_s=2)) as call:
        taken = [call.offer_audio(random_mulaw(0.5, seed)) for seed in range(8)]
        await service.start()
        async for update in call:
            if update.number == 2:
                break
        taken.append(call.offer_audio(b"\xff" * FRAME))
        summary = await call.finish()

    assert taken == [True] * 5 + [False] * 3 + [True]
    assert call.dropped_frames == 12_000
    assert summary.audio_s == 4.02
    assert summary.lost_s == 1.5


async def test_sending_waits_for_room(service: LiveService, client: AsyncTriageClient) -> None:
    await service.kill()
    async with client.live_call(format=AudioFormat.mulaw(), options=LiveOptions(buffer_s=2)) as call:
        playing = asyncio.create_task(play(call, random_mulaw(30)))
        await asyncio.sleep(0.05)
        held = call.backlog_s
        await service.start()
        await playing
        summary = await call.finish()

    assert held <= 2.02
    assert summary.audio_s == 30


async def test_a_quiet_source_is_no_fault(service: LiveService, client: AsyncTriageClient) -> None:
    options = LiveOptions(stale_s=0.02, stalled_s=0.04)
    async with client.live_call(format=AudioFormat.mulaw(), options=options) as call:
        await play(call, random_mulaw(1.3))
        await anext(call)
        await asyncio.sleep(0.3)
        assert call.monitored
        assert call.reconnections == 0
        service_heard = len(service.triage.streams[0].heard)

    assert service_heard == 1.3 * RATE_HZ  # what was too little for a message has gone out all the same


async def test_the_service_hears_of_a_source_that_pauses(service: LiveService, client: AsyncTriageClient) -> None:
    options = LiveOptions(heartbeat_s=0.02)
    async with client.live_call(format=AudioFormat.mulaw(), options=options) as call:
        await play(call, random_mulaw(1.3))
        await anext(call)
        heard = service.triage.streams[0].sequence or 0
        while (service.triage.streams[0].sequence or 0) < heard + 5:  # noqa: ASYNC110 - the stub has no event for it
            await asyncio.sleep(0.01)
        await play(call, random_mulaw(1))
        summary = await call.finish()

    assert summary.audio_s == pytest.approx(2.3)
    assert call.reconnections == 0


async def test_closing_ends_the_iteration(client: AsyncTriageClient) -> None:
    async with client.live_call(format=AudioFormat.mulaw()) as call:
        reading = asyncio.create_task(collect(call))
        await call.send_audio(random_mulaw(0.5))

    assert await reading == []


async def test_a_closed_client_ends_its_calls(service: LiveService) -> None:
    async with AsyncTriageClient(service.address) as client:
        call = client.live_call(format=AudioFormat.mulaw())
        async with call:
            await play(call, random_mulaw(1))
            await anext(call)
            await client.close()
            with pytest.raises(TriageError, match="closed"):
                await anext(call)


@pytest.mark.parametrize(
    ("data", "lost", "concealed", "complaint"),
    [(b"\0" * 3, 0, 0, "a frame has 2"), (b"\0\0", -1, 0, "lost"), (b"\0\0", 0, 2, "concealed")],
)
async def test_audio_that_breaks_the_rules_is_refused_at_once(
    client: AsyncTriageClient, data: bytes, lost: int, concealed: int, complaint: str
) -> None:
    async with client.live_call(format=AudioFormat.pcm16(8000)) as call:
        with pytest.raises(InvalidRequest, match=complaint):
            await call.send_audio(data, lost, concealed)
        with pytest.raises(InvalidRequest, match=complaint):
            call.offer_audio(data, lost, concealed)


async def test_a_file_is_no_live_call(client: AsyncTriageClient) -> None:
    with pytest.raises(InvalidRequest, match="no header"):
        client.live_call(format=AudioFormat.file())


@pytest.mark.parametrize(
    ("transcript", "complaint"),
    [
        (Transcript("네", from_agent=True), "one channel"),
        (Transcript("네", start_s=2, end_s=1), "go forwards"),
        (Transcript("네", end_s=float("nan")), "go forwards"),
    ],
)
async def test_a_transcript_that_would_end_the_call_is_refused_at_once(
    client: AsyncTriageClient, transcript: Transcript, complaint: str
) -> None:
    async with client.live_call(format=AudioFormat.mulaw()) as call:
        with pytest.raises(InvalidRequest, match=complaint):
            call.send_transcript(transcript)


async def test_updates_that_nobody_reads_do_not_pile_up(client: AsyncTriageClient) -> None:
    options = LiveOptions(piece_s=2.0)
    async with client.live_call(format=AudioFormat.mulaw(), hop_s=0.25, options=options) as call:
        for _ in range(130):
            await call.send_audio(bytes(16_000))
        summary = await call.finish()
        updates = await collect(call)

    assert summary.updates == 1040
    assert call.unread_updates == 40
    assert [u.number for u in updates] == list(range(41, 1041))
