"""Live load against a real service on a loopback port: what calls send, what is read from the answers."""

import time
import wave
from itertools import pairwise

import grpc
import pytest

from loadtest.clips import load_clips
from loadtest.generators import GeneratorFailed as Failed
from loadtest.generators import Generators, Order, TapePlan, carry_out, start_generators
from loadtest.live import NO_SUMMARY, UNFINISHED, LiveTarget, hold_calls
from loadtest.live_result import Limits, summarise
from loadtest.pacing import starts_s
from loadtest.tapes import Message, Tape, make_tapes
from preprocess_service.proto.wigeup.v1 import triage_pb2
from tests.unit import loadtest_servers as servers
from tests.unit.stub_service import nobody_listening

SECONDS, HOP_S, MESSAGE_S = 1.0, 0.25, 0.05
HOPS = 4


@pytest.fixture
def clips(tmp_path):
    for name in ("a", "b", "c"):
        with wave.open(str(tmp_path / f"{name}.wav"), "wb") as clip:
            clip.setparams((1, 2, 8000, 0, "NONE", ""))
            clip.writeframes(bytes(range(1, 101)) * 32)  # 0.2 s
        (tmp_path / f"{name}.txt").write_text("여기 불이 났어요", encoding="utf-8")
    return tmp_path


@pytest.fixture
def service():
    with servers.live_service() as (address, triage):
        yield address, triage


async def hold(address, clips, *, calls=2, model="", drain_s=10.0, seconds=SECONDS):
    target = LiveTarget(address, hop_s=HOP_S, model=model, drain_s=drain_s)
    made = make_tapes(load_clips(clips), 2, seconds, MESSAGE_S, 0.5, seed=1)
    readings = await carry_out(Order(calls, time.monotonic() + 0.05), target, made)
    return summarise(readings, Limits()), readings


def spoken(tape):
    return [each for index, each in enumerate(tape.messages) if index not in tape.audio_messages]


def transcripts_of(tape):
    return [triage_pb2.StreamRequest.FromString(message.data).transcript for message in spoken(tape)]


async def test_every_hop_gets_its_update_and_every_call_its_summary(service, clips):
    result, readings = await hold(service[0], clips, calls=3)

    assert result.statuses == {"OK": 3}
    assert (result.updates, result.hops_judged, result.hops_expected) == (3 * HOPS, 3 * HOPS, 3 * HOPS)
    assert result.audio_s == 3 * SECONDS
    assert result.models == ["multimodal 1"]
    assert result.service_lag.p50_ms == servers.SERVICE_LAG_MS
    assert {reading.refused for reading in readings} == {False}


async def test_no_message_is_sent_before_its_time_and_no_lag_is_negative(service, clips):
    _, readings = await hold(service[0], clips)

    assert min(late for reading in readings for late in reading.lateness_s) >= 0
    assert min(update.lag_s for reading in readings for update in reading.updates) > 0
    assert all(update.lag_s >= update.lag_from_sending_s for reading in readings for update in reading.updates)


async def test_the_service_hears_the_whole_tape_in_order(service, clips):
    address, triage = service

    await hold(address, clips, seconds=3.0)

    calls = list(triage.streams.values())
    for requests in calls:
        numbers = [getattr(each, each.WhichOneof("request")).sequence for each in requests]
        assert numbers == list(range(1, len(requests) + 1))
        assert sum(len(each.audio.audio) for each in requests) == 3 * 8000
        assert {len(each.audio.audio) for each in requests if each.HasField("audio")} == {400}
    assert {any(each.HasField("transcript") for each in requests) for requests in calls} == {False, True}


@pytest.mark.parametrize(("share", "with_text"), [(0.0, 0), (0.3, 3), (0.5, 5), (1.0, 10)])
def test_a_share_of_the_callers_has_transcripts(clips, share, with_text):
    tapes = make_tapes(load_clips(clips), 10, 5.0, 0.2, share, seed=1)

    assert sum(any(each.is_final for each in transcripts_of(tape)) for tape in tapes) == with_text


def test_a_transcript_comes_after_what_it_says_was_spoken(clips):
    tape = make_tapes(load_clips(clips), 1, 10.0, 0.2, 1.0, seed=1)[0]

    said = transcripts_of(tape)
    assert {(each.text, each.is_final) for each in said} == {("여기", False), ("여기 불이 났어요", True)}
    assert all(message.at_s > transcript.end_s for message, transcript in zip(spoken(tape), said, strict=True))


async def test_skipped_hops_are_a_shortcoming_and_are_not_counted_as_missing(service, clips):
    result, _ = await hold(service[0], clips, model=servers.LATE)

    assert (result.skipped_hops, result.hops_judged) == (2, 2 * (HOPS - 1))
    assert result.statuses == {"OK": 2}
    assert "2 hops skipped" in result.shortcomings
    assert not any("without an update" in reason for reason in result.shortcomings)


async def test_calls_without_a_models_answer_are_a_shortcoming(service, clips):
    result, _ = await hold(service[0], clips, model=servers.UNWATCHED)

    assert result.degradations == {"DEGRADATION_NOT_MONITORED": 2 * HOPS}
    assert f"{2 * HOPS} updates without a model's answer" in result.shortcomings


async def test_refused_calls_are_counted_by_status(service, clips):
    result, _ = await hold(service[0], clips, calls=20, model="fail-RESOURCE_EXHAUSTED")

    assert (result.refused, result.statuses, result.details) == (20, {"RESOURCE_EXHAUSTED": 20}, ["refused"])
    assert {"20 calls failed", f"{20 * HOPS} hops without an update"} <= set(result.shortcomings)


async def test_a_call_that_breaks_after_an_update_was_not_refused(service, clips):
    result, _ = await hold(service[0], clips, model=servers.BREAKING)

    assert (result.refused, result.statuses, result.updates) == (0, {"DATA_LOSS": 2}, 2)


@pytest.mark.parametrize(("model", "status"), [(servers.HANGING, UNFINISHED), (servers.CURT, NO_SUMMARY)])
async def test_a_call_without_a_summary_has_not_ended_well(service, clips, model, status):
    result, _ = await hold(service[0], clips, model=model, drain_s=0.3)

    assert result.statuses == {status: 2}
    assert "2 calls failed" in result.shortcomings


async def test_messages_that_the_service_does_not_take_are_held_up_and_come_in_order(service):
    address, triage = service
    audio = b"\xff" * 40_000  # so that what gRPC buffers is soon full
    requests = [triage_pb2.StreamAudio(sequence=number, audio=audio) for number in range(1, 21)]
    messages = [
        Message(0.01 * each.sequence, triage_pb2.StreamRequest(audio=each).SerializeToString()) for each in requests
    ]
    tape = Tape(tuple(messages), tuple(range(20)), tuple(5.0 * number for number in range(1, 21)))

    target = LiveTarget(address, model=servers.DEAF)
    recording = (await hold_calls(target, [("held", tape, time.monotonic())]))[0]

    assert recording.status == "OK"
    assert recording.held_up > 0
    assert [each.audio.sequence for each in triage.streams["held"]] == list(range(1, 21))
    assert len(recording.sent_at) == 20


async def test_a_service_that_is_not_there_fails_every_call(clips):
    with nobody_listening() as address:
        result, _ = await hold(address, clips)

    assert result.statuses == {grpc.StatusCode.UNAVAILABLE.name: 2}
    assert result.refused == 2


def test_the_same_seed_makes_the_same_tapes_and_another_makes_others(clips):
    listed = load_clips(clips)

    def tapes(seed):
        return [tape.messages for tape in make_tapes(listed, 3, SECONDS, 0.2, 0.5, seed)]

    assert tapes(1) == tapes(1) != tapes(2)


@pytest.mark.parametrize(("covered_s", "message"), [(0.25, 1), (0.2, 0), (0.4, 1), (0.401, 2), (0.999, 4), (7.0, 4)])
def test_audio_is_complete_with_the_message_that_holds_its_end(clips, covered_s, message):
    tape = make_tapes(load_clips(clips), 1, SECONDS, 0.2, 0.0, seed=1)[0]

    assert tape.completes(covered_s) == message


@pytest.mark.parametrize("calls", [1, 7, 240, 500])
def test_calls_begin_spread_evenly_over_the_hop(calls):
    phases = sorted(start_s % 1.0 for start_s in starts_s(calls, 1.0))

    assert [later - earlier for earlier, later in pairwise(phases)] == pytest.approx([1 / calls] * (calls - 1))


def test_no_more_than_about_a_hundred_calls_begin_within_a_second():
    starts = starts_s(500, 1.0)

    assert len([start_s for start_s in starts if 3 <= start_s < 4]) == 100
    assert max(starts) < 5


def plan(clips):
    return TapePlan(clips, 2, 0.5, MESSAGE_S)


def test_processes_share_the_calls(service, clips):
    address, triage = service

    with start_generators(LiveTarget(address, hop_s=HOP_S), plan(clips), processes=2) as generators:
        first, second = generators.hold(3), generators.hold(1)

    assert isinstance(generators, Generators)
    assert len(set(generators.pids)) == 2
    assert [reading.status for reading in (*first, *second)] == ["OK"] * 4
    assert set(triage.streams) == {"load-0", "load-1", "load-2"}


def test_recordings_that_cannot_be_used_end_the_generators_with_the_reason(service, tmp_path):
    with (
        pytest.raises(Failed, match="ValueError: no recordings in"),
        start_generators(LiveTarget(service[0]), plan(tmp_path), processes=1),
    ):
        pass
