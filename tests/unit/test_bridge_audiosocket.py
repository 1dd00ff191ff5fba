"""The AudioSocket bridge, over real TCP connections that speak Asterisk's side."""

import argparse
import asyncio
import random
import socket
import struct
import uuid
from contextlib import asynccontextmanager

import numpy as np
import pytest

from client.bridges.audiosocket import AudioSocketOptions, add_arguments, open_bridge, options_from
from client.bridges.audiosocket.server import AudioSocketCall
from client.formats import AudioFormat
from tests.unit.bridge_callers import SHORT_S, heard, joined, next_call

CALL_ID = uuid.UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
RATES_HZ = {0x10: 8000, 0x11: 12000, 0x12: 16000, 0x13: 24000, 0x14: 32000, 0x15: 44100, 0x16: 48000}
HANG_UP = b"\0\0\0"


@asynccontextmanager
async def bridge(**settings):
    opened = await open_bridge(AudioSocketOptions(port=0, **settings))
    try:
        yield opened
    finally:
        await opened.close()


@asynccontextmanager
async def asterisk(listening, *messages):
    """A connection on which these messages have been sent."""
    host, _, port = listening.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(b"".join(messages))
        yield reader, writer
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


def message(kind, payload=b""):
    return struct.pack(">BH", kind, len(payload)) + payload


def name():
    return message(0x01, CALL_ID.bytes)


def slin(samples, seed=1):
    return np.random.default_rng(seed).integers(-(2**15), 2**15, samples).astype("<i2").tobytes()


def tone(rate_hz, seconds, hz=440.0):
    return (8000 * np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz)).astype("<i2").tobytes()


async def rest_of(reader):
    async with asyncio.timeout(SHORT_S):
        return await reader.read()


async def listen_to(*messages, **settings):
    """What the bridge makes of a connection on which these messages come."""
    async with bridge(**settings) as listening, asterisk(listening, *messages):
        call = await next_call(listening)
        return call, await heard(call)


@pytest.mark.parametrize("kind", RATES_HZ)
async def test_each_type_of_audio_has_its_rate(kind):
    audio = slin(800)
    call, events = await listen_to(name(), message(kind, audio[:1000]), message(kind, audio[1000:]), HANG_UP)
    assert joined(events) == audio
    assert (call.call_id, call.format) == (str(CALL_ID), AudioFormat.pcm16(RATES_HZ[kind]))
    assert not call.counts


@pytest.mark.parametrize(("kind", "rate_hz"), [(0x17, 96000), (0x18, 192000)])
async def test_rates_that_the_service_does_not_take_are_heard_at_48_khz(kind, rate_hz):
    pieces = [message(kind, tone(rate_hz, 0.02)) for _ in range(50)]
    call, events = await listen_to(name(), *pieces, HANG_UP)
    assert call.format == AudioFormat.pcm16(48000)
    assert abs(len(joined(events)) // 2 - 48000) < 480


async def test_the_bytes_may_come_one_at_a_time():
    audio = slin(40)
    async with bridge() as listening, asterisk(listening) as (_, writer):
        for byte in name() + message(0x10, audio) + HANG_UP:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        call = await next_call(listening)
        assert joined(await heard(call)) == audio


async def test_a_rate_that_changes_keeps_the_calls_own():
    """Half a second at 8 kHz, at 16 kHz, and at 8 kHz again: a second and a half at 8 kHz, with the tone unbroken."""
    pieces = [message(0x10, tone(8000, 0.5)), message(0x12, tone(16000, 0.5)), message(0x10, tone(8000, 0.5))]
    call, events = await listen_to(name(), *pieces, HANG_UP)
    samples = np.frombuffer(joined(events), dtype="<i2").astype(np.float64)
    assert call.format == AudioFormat.pcm16(8000)
    assert call.counts["rate_changes"] == 2
    assert abs(len(samples) - 12000) < 80
    spectrum = np.abs(np.fft.rfft(samples[4100:7900] * np.hanning(3800)))
    assert abs(np.argmax(spectrum) * 8000 / 3800 - 440) < 5


async def test_digits_errors_and_unknown_types_are_counted():
    odd = [message(0x03, b"5"), message(0xFF, b"\x02"), message(0x77, b"news"), message(0x77), name()]
    call, events = await listen_to(name(), message(0x10, slin(10)), *odd, message(0x10, slin(10)), HANG_UP)
    assert joined(events) == slin(10) * 2
    assert call.counts == {"dtmf_events": 1, "error_messages": 1, "unknown_messages": 2, "repeated_uuids": 1}


async def test_half_a_sample_does_not_swap_the_bytes_of_the_rest():
    call, events = await listen_to(name(), message(0x10, slin(10) + b"\x7f"), message(0x10, slin(10)), HANG_UP)
    assert joined(events) == slin(10) * 2
    assert call.counts == {"incomplete_samples": 1}


async def test_too_many_odd_messages_break_the_protocol():
    odd = [message(0x77)] * 101
    async with bridge() as listening, asterisk(listening, name(), message(0x10, slin(10)), *odd) as (reader, _):
        with pytest.raises(ConnectionError, match="more than 100"):
            await heard(await next_call(listening))
        assert await rest_of(reader) == HANG_UP


async def test_a_closed_connection_is_a_hang_up():
    async with bridge() as listening:
        async with asterisk(listening, name(), message(0x10, slin(10))):
            call = await next_call(listening)
        assert joined(await heard(call)) == slin(10)


async def test_a_connection_that_is_reset_is_counted():
    async with bridge() as listening, asterisk(listening, name(), message(0x10, slin(10))) as (_, writer):
        call = await next_call(listening)
        linger = struct.pack("ii", 1, 0)  # on, for no time: close with a reset
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
        await heard(call)
        assert call.counts["broken_connections"] == 1


@pytest.mark.parametrize("half", [b"\x10", b"\x10\x01", message(0x10, slin(10))[:-1]])
async def test_a_connection_that_ends_within_a_message_broke_the_protocol(half):
    async with bridge() as listening:
        async with asterisk(listening, name(), message(0x10, slin(10)), half):
            call = await next_call(listening)
        with pytest.raises(ConnectionError, match="within a message"):
            await heard(call)


@pytest.mark.parametrize(
    "first",
    [
        message(0x10, slin(10)),
        message(0x01, b"short"),
        message(0x01, bytes(17)),
        message(0x03, b"1"),
        b"GET / HTTP/1.1\r\n\r\n" + bytes(20000),
    ],
)
async def test_whatever_does_not_begin_with_a_uuid_is_no_call(first):
    async with bridge() as listening, asterisk(listening, first) as (reader, _):
        assert await _closed(reader)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(aiter(listening.calls()))


async def _closed(reader):
    """Whether the bridge closes; with a reset where it had not read all."""
    try:
        return await rest_of(reader) in (HANG_UP, b"")
    except ConnectionResetError:
        return True


async def test_a_connection_that_says_too_little_is_closed():
    async with bridge(first_message_s=0.1) as listening, asterisk(listening, name()[:5]) as (reader, _):
        assert await rest_of(reader) == HANG_UP


async def test_a_name_without_audio_is_closed():
    async with bridge(first_message_s=0.1) as listening, asterisk(listening, name()) as (reader, _):
        assert await rest_of(reader) == HANG_UP


async def test_silence_on_the_connection_is_a_hang_up():
    async with (
        bridge(idle_s=0.2) as listening,
        asterisk(listening, name(), message(0x10, slin(10)), b"\x10\xff\xff") as (reader, _),
    ):
        call = await next_call(listening)
        assert joined(await heard(call)) == slin(10)
        assert call.counts["idle_hangups"] == 1
        assert await rest_of(reader) == HANG_UP


async def test_either_side_can_hang_up():
    async with bridge() as listening, asterisk(listening, name(), message(0x10, slin(10))) as (reader, _):
        call = await next_call(listening)
        assert isinstance(call, AudioSocketCall)
        await call.close()
        assert await rest_of(reader) == HANG_UP
        assert joined(await heard(call)) == slin(10)


async def test_closing_the_bridge_ends_its_calls():
    async with bridge() as listening, asterisk(listening, name(), message(0x10, slin(10))) as (reader, _):
        call = await next_call(listening)
        await listening.close()
        assert joined(await heard(call)) == slin(10)
        assert [each async for each in listening.calls()] == []
        assert await rest_of(reader) == HANG_UP


async def test_a_bridge_closes_while_a_far_side_neither_reads_nor_ends():
    async with bridge() as listening, asterisk(listening, name(), message(0x10, slin(10))):
        await next_call(listening)
        async with asyncio.timeout(SHORT_S):
            await listening.close()


async def test_one_connection_too_many_is_refused_until_another_ends():
    audio = message(0x10, slin(10))
    async with bridge(max_connections=1) as listening:
        async with asterisk(listening, name(), audio):
            call = await next_call(listening)
            async with asterisk(listening, name(), audio) as (reader, _):
                assert await _closed(reader)
        await heard(call)
        while True:  # the place is free once the first connection's task has ended
            async with asterisk(listening, name(), audio) as (reader, _):
                taken = asyncio.create_task(next_call(listening))
                refused = asyncio.create_task(_closed(reader))
                await asyncio.wait({taken, refused}, return_when=asyncio.FIRST_COMPLETED)
                refused.cancel()
                if taken.done():
                    break
                taken.cancel()


async def test_a_host_that_is_not_allowed_is_refused():
    elsewhere = parsed("--allow", "192.0.2.0/24", "--allow", "198.51.100.7").allowed
    async with (
        bridge(allowed=elsewhere) as listening,
        asterisk(listening, name(), message(0x10, slin(10))) as (reader, _),
    ):
        assert await _closed(reader)


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("192.0.2.200", True),
        ("::ffff:192.0.2.200", True),
        ("198.51.100.7", True),
        ("198.51.100.8", False),
        ("127.0.0.1", False),
        ("2001:db8::1", False),
    ],
)
def test_networks_allow_their_hosts(host, is_allowed):
    options = parsed("--allow", "192.0.2.0/24", "--allow", "198.51.100.7", "--listen", "[::]:9000")
    assert options.allows(host) is is_allowed


def test_nobody_but_this_machine_is_allowed_unless_said():
    options = parsed("--listen", "0.0.0.0:9000")
    assert [options.allows(host) for host in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1")] == [True] * 3 + [
        False
    ]


@pytest.mark.parametrize(
    "wrong", [("--allow", "10.0.0.1/8"), ("--allow", "x"), ("--listen", "9000"), ("--idle-s", "0")]
)
def test_a_wrong_argument_is_refused(wrong, capsys):
    with pytest.raises(SystemExit):
        parsed(*wrong)
    assert wrong[0] in capsys.readouterr().err


def parsed(*argv):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return options_from(parser.parse_args(argv))


async def test_what_nobody_takes_is_bounded():
    seconds = 15
    pieces = [message(0x10, bytes(16000))] * seconds
    async with bridge() as listening, asterisk(listening, name(), *pieces, HANG_UP) as (reader, _):
        call = await next_call(listening)
        assert await rest_of(reader) == HANG_UP
        events = await heard(call)
        assert len(joined(events)) == 10 * 16000
        assert sum(event.lost_frames for event in events) == 5 * 8000
        assert call.counts["dropped_frames"] == 5 * 8000


@pytest.mark.parametrize("seed", range(10))
async def test_noise_does_no_harm(seed):
    """Random bytes, some after a proper beginning; a proper call still comes through beside them."""
    chance = random.Random(seed)
    async with bridge(first_message_s=2.0, idle_s=2.0) as listening:
        for start in (b"", name(), name() + message(0x10, slin(10))):
            async with asterisk(listening, start, chance.randbytes(chance.randrange(1, 5000))):
                pass
        good = uuid.UUID(int=seed)
        async with asterisk(listening, message(0x01, good.bytes), message(0x12, slin(10)), HANG_UP):
            async for call in listening.calls():
                if call.call_id == str(good):
                    assert joined(await heard(call)) == slin(10)
                    break
