"""Calls over real UDP sockets: their audio, their time, their end."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from client.bridges.calls import Audio
from client.bridges.rtp import open_bridge
from client.bridges.rtp.payloads import STATIC_PAYLOADS, Codec, Payload
from client.formats import AudioFormat
from loadtest.rtp_sender import Wire, open_source, packets_of, send_call, send_packets
from tests.unit.rtp_listener import LOCALHOST, PATIENT, SPEED, listening, sound


async def test_a_call_arrives_whole_and_ends_with_its_goodbye():
    audio = sound(1.0)
    async with listening() as listener:
        sent = await send_call(audio, listener.port, speed=SPEED)
        heard = await listener.whole_call()

    assert heard.data == audio
    assert heard.call.format == AudioFormat.mulaw()
    assert heard.call.call_id == f"rtp-1234abcd-{LOCALHOST}:{sent.source[1]}"
    assert heard.counts["packets"] == 50
    assert not any(heard.counts[name] for name in ("lost", "late", "foreign", "malformed", "dropped_frames"))


@pytest.mark.parametrize(
    ("payload_type", "payload", "wire", "audio_format"),
    [
        (8, None, None, AudioFormat.alaw()),
        (96, Payload(Codec.L16, 16000), Wire(32000, 16000), AudioFormat.pcm16(16000)),
        (97, Payload(Codec.L16, 8000, 2), Wire(32000, 8000), AudioFormat.pcm16(8000, 2)),
        (98, Payload(Codec.PCMU), Wire(8000, 8000), AudioFormat.mulaw()),
    ],
)
async def test_the_first_packet_tells_the_format(payload_type, payload, wire, audio_format):
    audio = sound(4.0)[:16000]
    known = {**STATIC_PAYLOADS, payload_type: payload or STATIC_PAYLOADS[payload_type]}
    async with listening(replace(PATIENT, payloads=known)) as listener:
        await send_call(audio, listener.port, payload_type, wire=wire, speed=SPEED)
        heard = await listener.whole_call()

    swapped = payload is not None and payload.codec is Codec.L16
    assert heard.call.format == audio_format
    assert heard.data == (
        b"".join(audio[i + 1 : i - 1 if i else None : -1] for i in range(0, len(audio), 2)) if swapped else audio
    )


async def test_a_bad_network_costs_audio_and_no_time():
    audio = sound(4.0)
    # However slow this machine is: what changes places must not be given up.
    async with listening(replace(PATIENT, reorder_s=1)) as listener:
        sent = await send_call(
            audio, listener.port, loss=0.1, reorder=0.1, duplicate=0.05, seed=3, speed=SPEED,
            first_sequence=65500, first_timestamp=2**32 - 9999,
        )  # fmt: skip
        heard = await listener.whole_call()

    assert heard.frames == len(audio)
    assert heard.counts["lost"] == len(sent.lost)
    assert heard.counts["lost_frames"] + heard.counts["concealed_frames"] == 160 * len(sent.lost)
    assert heard.counts["duplicate"] == len(sent.wire) - 200 + len(sent.lost)
    assert heard.counts["reordered"] > 0


async def test_a_line_that_falls_silent_is_hung_up():
    async with listening(replace(PATIENT, idle_s=1)) as listener:
        await send_call(sound(0.2), listener.port, speed=SPEED, say_goodbye=False)
        heard = await listener.whole_call()

    assert heard.frames == 1600


async def test_comfort_noise_holds_the_line():
    async with listening(replace(PATIENT, idle_s=0.5, pause_s=30)) as listener:
        packets = packets_of(sound(0.1))
        packets[-1] = replace(packets[-1], payload_type=13, payload=b"\x40")
        await send_packets(packets, listener.port, speed=SPEED)
        heard = await listener.call()
        await asyncio.sleep(1)
        assert not heard.ended.is_set()


async def test_the_same_stream_after_a_hang_up_is_another_call_with_another_name():
    async with listening(replace(PATIENT, idle_s=0.5)) as listener:
        source = await open_source()
        for number in (0, 1):
            await send_packets(packets_of(sound(0.1)), listener.port, source=source)
            await listener.whole_call(number)
        source.close()

    first, second = listener.calls
    assert second.call.call_id == first.call.call_id + "-2"


async def test_audio_that_nobody_takes_is_dropped_and_its_time_is_kept():
    audio = sound(1.0)
    bridge = await open_bridge(replace(PATIENT, queue_s=0.3))
    try:
        await send_call(audio, int(bridge.address.rpartition(":")[2]), speed=SPEED)
        call = await anext(bridge.calls())
        while call.counts["packets"] < 50:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # the goodbye's wait
        pieces = [piece async for piece in call.events() if isinstance(piece, Audio)]
    finally:
        await bridge.close()

    assert b"".join(piece.data for piece in pieces) == audio[:2400]
    assert sum(piece.lost_frames for piece in pieces) == call.counts["dropped_frames"] == 8000 - 2400


async def test_a_long_pause_becomes_silence_in_pieces_of_a_second():
    async with listening() as listener:
        source = await open_source()
        before, after = packets_of(sound(0.2)), packets_of(sound(0.2), first_sequence=10, first_timestamp=1600 + 28000)
        await send_packets(before + after, listener.port, source=source, speed=SPEED)
        heard = await listener.call()
        await heard.until(3200 + 28000)
        source.close()

    assert heard.data == sound(0.2) + b"\xff" * 28000 + sound(0.2)
    assert max(len(piece.data) for piece in heard.pieces) == 8000


async def test_closing_ends_the_calls_and_gives_the_ports_back():
    async with listening() as listener:
        source = await open_source()
        await send_packets(packets_of(sound(0.2)), listener.port, source=source)
        heard = await listener.call()
        await heard.until(1600)
        await listener.bridge.close()
        await heard.ended.wait()
        source.close()
        again = await open_bridge(replace(PATIENT, first_port=listener.port))
        await again.close()
