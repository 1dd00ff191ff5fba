"""jambonz' and mod_audio_fork's dialect, over real WebSockets."""

import json

import numpy as np
import pytest

from client.formats import AudioFormat
from tests.unit.bridge_callers import bridge, dial, heard, joined, next_call, send_all, update

METADATA = {"callSid": "call-1", "sampleRate": 8000, "mixType": "mono", "from": "119", "direction": "inbound"}


def pcm(samples, seed=1):
    return np.random.default_rng(seed).integers(-(2**15), 2**15, samples).astype("<i2").tobytes()


async def listen_to(messages, path="/jambonz", **settings):
    async with bridge(**settings) as listening:
        async with dial(listening, path) as far_side:
            await send_all(far_side, messages)
            call = await next_call(listening)
        return call, await heard(call)


@pytest.mark.parametrize("path", ["/jambonz", "/"])
async def test_binary_messages_are_the_audio(path):
    audio = pcm(1600)
    call, events = await listen_to([METADATA, audio[:1000], audio[1000:]], path)
    assert joined(events) == audio
    assert (call.call_id, call.format) == ("call-1", AudioFormat.pcm16(8000))


async def test_stereo_has_the_caller_first():
    audio = pcm(3200)
    call, events = await listen_to([{**METADATA, "mixType": "stereo", "sampleRate": 16000}, audio])
    assert (joined(events), call.format) == (audio, AudioFormat.pcm16(16000, channels=2))


@pytest.mark.parametrize("path", ["/audio_fork", "/"])
async def test_a_fork_without_metadata_goes_by_address_and_settings(path):
    audio = pcm(800)
    call, events = await listen_to([audio], f"{path}?rate=8k&mix=stereo&call_id=abc")
    assert (joined(events), call.call_id, call.format) == (audio, "abc", AudioFormat.pcm16(8000, channels=2))
    call, events = await listen_to([audio], path, rate_hz=12000)
    assert (joined(events), call.format) == (audio, AudioFormat.pcm16(12000))
    assert call.call_id.startswith("fork-")


async def test_a_fork_may_have_any_metadata():
    for metadata in ("caller 119", "[1, 2]", json.dumps({"callid": "전화 1"})):
        _, events = await listen_to([metadata, pcm(80)], "/audio_fork")
        assert joined(events) == pcm(80)


async def test_a_call_id_is_printable_ascii():
    call, _ = await listen_to([{**METADATA, "callSid": "전화\n" + "x" * 300}])
    assert call.call_id == "???" + "x" * 125


async def test_half_a_sample_does_not_swap_the_bytes_of_the_rest():
    first, second = pcm(100, seed=1), pcm(100, seed=2)
    call, events = await listen_to([METADATA, first + b"\x7f", second])
    assert joined(events) == first + second
    assert call.counts == {"incomplete_samples": 1}


async def test_texts_in_mid_call_are_no_audio():
    call, events = await listen_to([METADATA, pcm(10), {"event": "dtmf", "dtmf": "1", "duration": "160"}, pcm(10)])
    assert joined(events) == pcm(10) * 2
    assert call.counts == {"text_messages": 1}


@pytest.mark.parametrize(
    "first",
    [b"\0\0", "no JSON", "[]", {**METADATA, "sampleRate": 64000}, {**METADATA, "mixType": "quad"}, {"sampleRate": -1}],
)
async def test_jambonz_must_begin_with_its_metadata(first):
    async with bridge() as listening, dial(listening, "/jambonz") as far_side:
        await send_all(far_side, [first])
        await far_side.wait_closed()
        assert far_side.close_code in (1007, 1008)
        assert far_side.close_reason


@pytest.mark.parametrize("name", ["audio.drachtio.org", "audio.jambonz.org"])
async def test_a_known_subprotocol_is_echoed(name):
    async with bridge() as listening, dial(listening, "/jambonz", subprotocols=["other", name]) as far_side:
        assert far_side.subprotocol == name


async def test_an_unknown_subprotocol_is_not():
    async with bridge() as listening, dial(listening, "/jambonz", subprotocols=["other"]) as far_side:
        assert far_side.subprotocol is None


async def test_the_far_side_hears_when_the_alert_or_its_watch_changes():
    async with bridge() as listening, dial(listening, "/jambonz") as far_side:
        await send_all(far_side, [METADATA])
        call = await next_call(listening)
        for each in (
            update(),
            update(number=2),
            update("raised", number=3),
            update("raised", number=4, monitored=False),
        ):
            await call.tell(each)
        told = [json.loads(await far_side.recv()) for _ in range(3)]
        assert [(m["alert"], m["monitored"], m["update"]) for m in told] == [
            ("clear", True, 1),
            ("raised", True, 3),
            ("raised", False, 4),
        ]
        assert {(m["type"], m["event"]) for m in told} == {("json", "wigeup")}


async def test_telling_a_far_side_that_has_gone_is_counted():
    async with bridge() as listening:
        async with dial(listening, "/jambonz") as far_side:
            await send_all(far_side, [METADATA])
            call = await next_call(listening)
        await heard(call)
        await call.tell(update("raised"))
        assert call.counts["untold_updates"] == 1
