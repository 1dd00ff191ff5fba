"""Twilio's dialect, over real WebSockets."""

import json

import numpy as np
import pytest

from client.formats import AudioFormat
from tests.unit.bridge_callers import (
    CALL_SID,
    CHUNK,
    STREAM_SID,
    bridge,
    code_words,
    dial,
    heard,
    joined,
    lost,
    next_call,
    send_all,
    twilio_chunks,
    twilio_media,
    twilio_start,
    twilio_stop,
    update,
)

MULAW_SILENCE = 0xFF


async def listen_to(messages, path="/twilio"):
    """What the bridge makes of a connection on which these messages come."""
    async with bridge() as listening, dial(listening, path) as far_side:
        await send_all(far_side, messages)
        call = await next_call(listening)
        return call, await heard(call)


@pytest.mark.parametrize("path", ["/twilio", "/twilio/", "/"])
async def test_one_track_is_heard_byte_for_byte(path):
    audio = code_words(20 * CHUNK)
    call, events = await listen_to([*twilio_start(), *twilio_chunks(audio), twilio_stop(22)], path)
    assert joined(events) == audio
    assert lost(events) == 0
    assert (call.call_id, call.format) == (CALL_SID, AudioFormat.mulaw(1))


async def test_both_tracks_are_two_channels_with_the_caller_first():
    caller, agent = code_words(20 * CHUNK, seed=1), code_words(20 * CHUNK, seed=2)
    inbound = twilio_chunks(caller, track="inbound")
    outbound = twilio_chunks(agent, track="outbound")
    media = [message for pair in zip(outbound, inbound, strict=True) for message in pair]
    for number, message in enumerate(media, start=2):
        message["sequenceNumber"] = str(number)
    call, events = await listen_to([*twilio_start(["inbound", "outbound"]), *media, twilio_stop(42)])
    channels = np.frombuffer(joined(events), dtype=np.uint8).reshape(-1, 2)
    assert (channels[:, 0].tobytes(), channels[:, 1].tobytes()) == (caller, agent)
    assert call.format == AudioFormat.mulaw(2)
    assert "lost_frames" not in call.counts


async def test_an_agent_who_speaks_later_is_heard_at_the_right_time():
    caller, agent = code_words(50 * CHUNK, seed=1), code_words(10 * CHUNK, seed=2)
    inbound = twilio_chunks(caller)
    outbound = twilio_chunks(agent, start_ms=5 + 30 * 20, track="outbound")
    media = inbound[:30] + [m for pair in zip(inbound[30:40], outbound, strict=True) for m in pair] + inbound[40:]
    for number, message in enumerate(media, start=2):
        message["sequenceNumber"] = str(number)
    _, events = await listen_to([*twilio_start(["inbound", "outbound"]), *media, twilio_stop(62)])
    channels = np.frombuffer(joined(events), dtype=np.uint8).reshape(-1, 2)
    assert channels[:, 0].tobytes() == caller
    assert channels[30 * CHUNK : 40 * CHUNK, 1].tobytes() == agent
    assert set(channels[: 30 * CHUNK, 1]) == {MULAW_SILENCE}
    assert lost(events) == 0
    assert sum(event.concealed_frames for event in events) == 0


async def test_a_missing_number_is_a_loss_in_its_place():
    audio = code_words(20 * CHUNK)
    media = twilio_chunks(audio)
    del media[7:9]
    call, events = await listen_to([*twilio_start(), *media, twilio_stop(22)])
    assert [(len(event.data), event.lost_frames) for event in events if event.lost_frames] == [(CHUNK, 2 * CHUNK)]
    assert joined(events) == audio[: 7 * CHUNK] + audio[9 * CHUNK :]
    assert call.counts["lost_messages"] == 2
    assert call.counts["lost_frames"] == 2 * CHUNK


async def test_a_clock_that_jitters_loses_nothing():
    audio = code_words(100 * CHUNK)
    media = twilio_chunks(audio)
    jitter = np.random.default_rng(3).integers(-15, 16, len(media))
    for message, late in zip(media, jitter, strict=True):
        message["media"]["timestamp"] = str(max(0, int(message["media"]["timestamp"]) + int(late)))
    call, events = await listen_to([*twilio_start(), *media, twilio_stop(102)])
    assert joined(events) == audio
    assert lost(events) == 0
    assert not call.counts


async def test_a_clock_that_stands_still_does_not_swallow_the_call():
    audio = code_words(200 * CHUNK)
    media = twilio_chunks(audio)
    for message in media:
        message["media"]["timestamp"] = "0"
    call, events = await listen_to([*twilio_start(), *media, twilio_stop(202)])
    assert joined(events).endswith(audio[-150 * CHUNK :])
    assert call.counts["untrusted_clocks"] == 1


async def test_a_clock_that_leaps_adds_no_hours():
    audio = code_words(4 * CHUNK)
    media = twilio_chunks(audio)
    for message in media[2:]:
        message["media"]["timestamp"] = str(int(message["media"]["timestamp"]) + 10**12)
    call, events = await listen_to([*twilio_start(), *media, twilio_stop(6)])
    assert (joined(events), lost(events)) == (audio, 0)
    assert call.counts["clock_leaps"] == 1


async def test_numbers_may_be_numbers():
    media = twilio_media(2, 5, code_words(CHUNK))
    media["sequenceNumber"], media["media"]["timestamp"] = 2, 5
    _, events = await listen_to([*twilio_start(), media, twilio_stop(3)])
    assert len(joined(events)) == CHUNK


async def test_what_is_not_audio_is_counted():
    digit = {"event": "dtmf", "sequenceNumber": "2", "dtmf": {"track": "inbound_track", "digit": "1"}}
    mark = {"event": "mark", "sequenceNumber": "3", "mark": {"name": "x"}}
    news = {"event": "novelty", "sequenceNumber": "4"}
    call, events = await listen_to([*twilio_start(), digit, mark, news, twilio_stop(5)])
    assert events == []
    assert call.counts == {"dtmf_events": 1, "mark_events": 1, "unknown_events": 1}


async def test_a_hang_up_without_stop_ends_the_call():
    audio = code_words(3 * CHUNK)
    async with bridge() as listening:
        async with dial(listening, "/twilio") as far_side:
            await send_all(far_side, [*twilio_start(), *twilio_chunks(audio)])
            call = await next_call(listening)
        assert joined(await heard(call)) == audio


async def test_twilio_hears_of_alerts_only_where_asked_to():
    async with bridge() as listening, dial(listening, "/twilio") as far_side:
        await send_all(far_side, twilio_start())
        call = await next_call(listening)
        await call.tell(update("raised"))
        await send_all(far_side, [twilio_stop(2)])
        assert [message async for message in far_side] == []


async def test_an_alert_is_a_mark():
    async with bridge(tell_by_mark=True) as listening, dial(listening, "/twilio") as far_side:
        await send_all(far_side, twilio_start())
        call = await next_call(listening)
        for each in (update("clear"), update("clear", number=2), update("raised", number=3)):
            await call.tell(each)
        told = [json.loads(await far_side.recv()) for _ in range(2)]
        assert [message.pop("mark") for message in told] == [{"name": "wigeup:clear"}, {"name": "wigeup:raised"}]
        assert told == [{"event": "mark", "streamSid": STREAM_SID}] * 2
