"""Telnyx's dialect, over real WebSockets."""

import json
import random

import numpy as np
import pytest

from client.formats import AudioFormat
from tests.unit.bridge_callers import (
    CHUNK,
    bridge,
    code_words,
    dial,
    heard,
    joined,
    lost,
    next_call,
    send_all,
    telnyx_media,
    telnyx_start,
    telnyx_stop,
    update,
)

MULAW_SILENCE = 0xFF


def chunks(audio, size=CHUNK, track="inbound"):
    pieces = [audio[at : at + size] for at in range(0, len(audio), size)]
    return [telnyx_media(1 + n, 5 + 20 * n, piece, track) for n, piece in enumerate(pieces)]


async def listen_to(messages, path="/telnyx", **settings):
    async with bridge(**settings) as listening, dial(listening, path) as far_side:
        await send_all(far_side, messages)
        call = await next_call(listening)
        return call, await heard(call)


def shuffled(messages, reach=3, seed=5):
    """Each up to `reach` places from its own."""
    chance = random.Random(seed)
    places = {n: n + chance.uniform(0, reach) for n in range(len(messages))}
    return [messages[n] for n in sorted(places, key=places.__getitem__)]


@pytest.mark.parametrize("path", ["/telnyx", "/", "/telnyx?tracks=inbound"])
async def test_one_track_is_heard_in_its_order_whatever_the_order_of_arrival(path):
    audio = code_words(60 * CHUNK)
    call, events = await listen_to([*telnyx_start(), *shuffled(chunks(audio)), telnyx_stop()], path)
    assert joined(events) == audio
    assert lost(events) == 0
    assert call.format == AudioFormat.mulaw(1)
    assert call.call_id.startswith("v2:T02ll")
    assert not call.counts


async def test_both_tracks_are_two_channels():
    caller, agent = code_words(30 * CHUNK, seed=1), code_words(30 * CHUNK, seed=2)
    media = [m for pair in zip(chunks(caller), chunks(agent, track="outbound"), strict=True) for m in pair]
    call, events = await listen_to([*telnyx_start("PCMA"), *media, telnyx_stop()])
    channels = np.frombuffer(joined(events), dtype=np.uint8).reshape(-1, 2)
    assert (channels[:, 0].tobytes(), channels[:, 1].tobytes()) == (caller, agent)
    assert call.format == AudioFormat.alaw(2)


async def test_chunks_counted_over_both_tracks_are_in_order_too():
    caller, agent = code_words(30 * CHUNK, seed=1), code_words(30 * CHUNK, seed=2)
    media = [m for pair in zip(chunks(caller), chunks(agent, track="outbound"), strict=True) for m in pair]
    for number, message in enumerate(media, start=1):
        message["media"]["chunk"] = str(number)
    _, events = await listen_to([*telnyx_start(), *media, telnyx_stop()])
    channels = np.frombuffer(joined(events), dtype=np.uint8).reshape(-1, 2)
    assert (channels[:, 0].tobytes(), channels[:, 1].tobytes()) == (caller, agent)
    assert lost(events) == 0


async def test_the_address_may_say_that_both_tracks_come():
    audio = code_words(30 * CHUNK)
    _, events = await listen_to([*telnyx_start(), *chunks(audio), telnyx_stop()], "/telnyx?tracks=both")
    channels = np.frombuffer(joined(events), dtype=np.uint8).reshape(-1, 2)
    assert channels[:, 0].tobytes() == audio
    assert set(channels[:, 1]) == {MULAW_SILENCE}


@pytest.mark.parametrize("order", ["big", "little"])
async def test_l16_is_heard_in_either_byte_order(order):
    samples = np.random.default_rng(1).integers(-(2**15), 2**15, 30 * 320).astype(np.int16)
    sent = samples.astype(">i2" if order == "big" else "<i2").tobytes()
    messages = [*telnyx_start("L16", 16000), *chunks(sent, size=640), telnyx_stop()]
    call, events = await listen_to(messages, is_telnyx_l16_big_endian=order == "big")
    assert np.array_equal(np.frombuffer(joined(events), dtype="<i2"), samples)
    assert call.format == AudioFormat.pcm16(16000)


async def test_a_lost_chunk_is_a_loss_in_its_place():
    audio = code_words(40 * CHUNK)
    media = chunks(audio)
    del media[20]
    call, events = await listen_to([*telnyx_start(), *media, telnyx_stop()])
    before = 0
    for event in events:
        if event.lost_frames:
            break
        before += len(event.data)
    assert (before, lost(events)) == (20 * CHUNK, CHUNK)
    assert joined(events) == audio[: 20 * CHUNK] + audio[21 * CHUNK :]
    assert call.counts["lost_frames"] == CHUNK


async def test_a_chunk_that_comes_twice_is_heard_once():
    audio = code_words(30 * CHUNK)
    media = [m for m in chunks(audio) for _ in range(2)]
    call, events = await listen_to([*telnyx_start(), *media, telnyx_stop()])
    assert joined(events) == audio
    assert call.counts["late_messages"] > 0


async def test_chunks_that_are_counted_anew_are_heard():
    audio = code_words(100 * CHUNK)
    media = chunks(audio)
    for message in media[50:]:
        message["media"]["chunk"] = str(int(message["media"]["chunk"]) - 50)
    _, events = await listen_to([*telnyx_start(), *media, telnyx_stop()])
    assert joined(events).endswith(audio[80 * CHUNK :])


@pytest.mark.parametrize("messages", [1, 9])
async def test_a_call_shorter_than_it_takes_to_learn_its_tracks_is_a_call(messages):
    audio = code_words(messages * CHUNK)
    _, events = await listen_to([*telnyx_start(), *chunks(audio), telnyx_stop()])
    assert joined(events) == audio


async def test_a_short_call_that_ends_without_stop_is_a_call():
    audio = code_words(4 * CHUNK)
    async with bridge() as listening:
        async with dial(listening, "/telnyx") as far_side:
            await send_all(far_side, [*telnyx_start(), *chunks(audio)])
        assert joined(await heard(await next_call(listening))) == audio


@pytest.mark.parametrize("refused", [("G722", 8000), ("PCMU", 16000), ("L16", 96000), ("OPUS", 48000)])
async def test_an_encoding_that_nobody_reads_is_refused_by_name(refused):
    async with bridge() as listening, dial(listening, "/telnyx") as far_side:
        await send_all(far_side, telnyx_start(*refused))
        await far_side.wait_closed()
        assert far_side.close_code == 1008
        assert any(str(each) in str(far_side.close_reason) for each in refused)


async def test_an_alert_is_a_mark_where_asked_for():
    async with bridge(tell_by_mark=True) as listening, dial(listening, "/telnyx?tracks=inbound") as far_side:
        await send_all(far_side, telnyx_start())
        call = await next_call(listening)
        await call.tell(update("raised"))
        told = json.loads(await far_side.recv())
        assert (told["event"], told["mark"]["name"], "stream_id" in told) == ("mark", "wigeup:raised", True)
