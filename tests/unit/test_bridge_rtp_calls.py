"""Calls over real UDP sockets."""

from __future__ import annotations

import asyncio
import ipaddress
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from client.bridges.calls import Audio, BridgedCall
from client.bridges.rtp import RtpOptions, open_bridge
from client.bridges.rtp.payloads import STATIC_PAYLOADS, Codec, Payload
from client.formats import AudioFormat
from tests.unit.rtp_sender import (
    Wire,
    datagram_of,
    goodbye,
    open_source,
    packets_of,
    send_call,
    send_packets,
)

PATIENT = RtpOptions(first_port=0, idle_s=30)
SPEED = 8.0
LOCALHOST = "127.0.0.1"


def sound(seconds, seed=1):
    """mu-law without its code word of silence."""
    return bytes(random.Random(seed).choices(range(255), k=round(seconds * 8000)))


@dataclass
class Heard:
    """A call with all that came of it."""

    call: BridgedCall
    pieces: list[Audio] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def data(self):
        return b"".join(piece.data for piece in self.pieces)

    @property
    def frames(self):
        return len(self.data) + sum(piece.lost_frames for piece in self.pieces)

    @property
    def counts(self):
        return self.call.counts

    async def until(self, frames):
        """Waits until so much has come; the test's own time limit ends a wait in vain."""
        while self.frames < frames:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


class Listener:
    """Takes every call of a bridge and all its audio."""

    def __init__(self, bridge):
        self.bridge = bridge
        self.calls: list[Heard] = []
        self._begun = asyncio.Condition()
        self._tasks = {asyncio.create_task(self._take_calls())}

    @property
    def port(self):
        return int(self.bridge.address.rpartition(":")[2].partition("-")[0])

    async def call(self, number=0):
        async with self._begun:
            await self._begun.wait_for(lambda: len(self.calls) > number)
        return self.calls[number]

    async def whole_call(self, number=0):
        heard = await self.call(number)
        await heard.ended.wait()
        return heard

    async def close(self):
        await self.bridge.close()
        await asyncio.gather(*self._tasks)

    async def _take_calls(self):
        async for call in self.bridge.calls():
            async with self._begun:
                self.calls.append(Heard(call))
                self._begun.notify_all()
            self._tasks.add(asyncio.create_task(self._take_audio(self.calls[-1])))

    async def _take_audio(self, heard):
        async for piece in heard.call.events():
            heard.pieces.append(piece)
        heard.ended.set()


@asynccontextmanager
async def listening(options=PATIENT):
    listener = Listener(await open_bridge(options))
    try:
        yield listener
    finally:
        await listener.close()


async def range_options(**changes):
    """Two even ports that are free now."""
    for first in range(random.Random().randrange(20000, 50000, 4), 60000, 4):
        options = replace(PATIENT, first_port=first, last_port=first + 2, **changes)
        try:
            await (await open_bridge(options)).close()
        except OSError:
            continue
        return options
    raise AssertionError("no free ports")


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
    async with listening() as listener:
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
    async with listening(replace(PATIENT, idle_s=0.2)) as listener:
        await send_call(sound(0.2), listener.port, say_goodbye=False)
        heard = await listener.whole_call()

    assert heard.frames == 1600


async def test_comfort_noise_holds_the_line():
    async with listening(replace(PATIENT, idle_s=0.05, pause_s=30)) as listener:
        packets = packets_of(sound(0.1))
        packets[-1] = replace(packets[-1], payload_type=13, payload=b"\x40")
        await send_packets(packets, listener.port, speed=SPEED)
        heard = await listener.call()
        await asyncio.sleep(0.3)
        assert not heard.ended.is_set()


async def test_a_network_that_doubles_everything_changes_nothing():
    audio = sound(0.4)
    async with listening() as listener:
        source = await open_source()
        before = packets_of(audio[:1600], ssrc=1)
        after = packets_of(audio[1600:], ssrc=2)
        await send_packets(interleaved(before + after, before + after), listener.port, source=source, speed=2)
        heard = await listener.call()
        await heard.until(3200)
        source.close()

    assert heard.data.replace(b"\xff", b"") == audio
    assert heard.counts["duplicate"] >= 18  # the last one's copy may be under way
    assert heard.counts["ssrc_changes"] == 1


async def test_the_same_stream_after_a_hang_up_is_another_call_with_another_name():
    async with listening(replace(PATIENT, idle_s=0.1)) as listener:
        source = await open_source()
        for number in (0, 1):
            await send_packets(packets_of(sound(0.1)), listener.port, source=source)
            await listener.whole_call(number)
        source.close()

    first, second = listener.calls
    assert second.call.call_id == first.call.call_id + "-2"


async def test_stragglers_behind_a_goodbye_begin_no_call():
    async with listening() as listener:
        source = await open_source()
        packets = packets_of(sound(0.4))
        await send_packets(packets[:10], listener.port, source=source)
        source.sendto(goodbye(packets[0].ssrc), (LOCALHOST, listener.port))  # RTCP may come on RTP's port, too
        await listener.whole_call()
        await send_packets(packets[10:], listener.port, source=source)
        await send_call(sound(0.1), listener.port, ssrc=99)
        await listener.whole_call(1)
        source.close()

    assert len(listener.calls) == 2
    assert listener.bridge.counts["stray"] == 10


async def test_a_goodbye_for_somebody_else_ends_nothing():
    async with listening() as listener:
        source = await open_source()
        packets = packets_of(sound(0.4))
        await send_packets(packets[:10], listener.port, source=source)
        source.sendto(goodbye(4711), (LOCALHOST, listener.port + 1))
        await send_packets(packets[10:], listener.port, source=source)
        heard = await listener.call()
        await heard.until(3200)
        source.close()
        assert not heard.ended.is_set()


async def test_a_new_ssrc_of_the_source_goes_on_with_the_call():
    audio = sound(0.4)
    async with listening() as listener:
        source = await open_source()
        before = packets_of(audio[:1600], ssrc=1)
        after = packets_of(audio[1600:], ssrc=2, first_sequence=999, first_timestamp=10**6)
        await send_packets(before + after, listener.port, source=source)
        heard = await listener.call()
        await heard.until(3200)
        source.close()

    assert heard.data.replace(b"\xff", b"") == audio  # where the change took long, a pause says so
    assert len(listener.calls) == 1
    assert heard.counts["ssrc_changes"] == 1


def interleaved(*streams):
    return [packet for together in zip(*streams, strict=True) for packet in together]


async def test_two_streams_of_a_source_are_two_calls_on_a_shared_port():
    first, second = sound(0.5, seed=1), sound(0.5, seed=2)
    async with listening() as listener:
        source = await open_source()
        both = interleaved(packets_of(first, ssrc=1), packets_of(second, ssrc=2))
        await send_packets(both, listener.port, source=source, speed=2)
        for number in (0, 1):
            await (await listener.call(number)).until(4000)
        source.close()

    assert sorted(heard.data for heard in listener.calls) == sorted([first, second])


async def test_a_port_of_a_range_takes_one_stream_of_one_source():
    audio = sound(0.5)
    async with listening(await range_options()) as listener:
        ours, theirs = await open_source(), await open_source()
        packets = packets_of(audio, ssrc=1)
        for packet in packets[:2]:
            ours.sendto(datagram_of(packet), (LOCALHOST, listener.port))
        heard = await listener.call()
        for number, packet in enumerate(packets[2:]):
            ours.sendto(datagram_of(packet), (LOCALHOST, listener.port))
            ours.sendto(datagram_of(replace(packet, ssrc=2)), (LOCALHOST, listener.port))
            theirs.sendto(datagram_of(packet), (LOCALHOST, listener.port))
            theirs.sendto(b"noise" * (number + 1), (LOCALHOST, listener.port))
            await asyncio.sleep(0.005)
        await heard.until(4000)
        for source in (ours, theirs):
            source.close()

    assert heard.data == audio
    assert len(listener.calls) == 1
    assert (heard.counts["foreign"], heard.counts["stray"] >= 20, heard.counts["malformed"]) == (23, True, 23)


async def test_every_port_of_a_range_has_a_call_of_its_own():
    options = await range_options(call_id="line-{local_port}-{number}")
    async with listening(options) as listener:
        await asyncio.gather(*(send_call(sound(0.2, seed=port), port) for port in options.ports))
        for number in (0, 1):
            await listener.whole_call(number)
        address = listener.bridge.address

    first = options.first_port
    assert address == f"{LOCALHOST}:{first}-{first + 2}"
    assert {heard.call.call_id.rpartition("-")[0]: heard.data for heard in listener.calls} == {
        f"line-{port}": sound(0.2, seed=port) for port in options.ports
    }


async def test_a_port_is_free_for_the_next_source_after_a_call():
    async with listening(await range_options()) as listener:
        for number in (0, 1):
            await send_call(sound(0.1, seed=number), listener.port, ssrc=number)
            heard = await listener.whole_call(number)
            assert heard.data == sound(0.1, seed=number)


async def test_hears_only_the_networks_that_are_allowed():
    nobody = (ipaddress.ip_network("192.0.2.0/24"),)
    async with listening(replace(PATIENT, allow=nobody)) as listener:
        await send_call(sound(0.2), listener.port, speed=SPEED)
        while listener.bridge.counts["foreign"] < 10:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)

    assert listener.calls == []


async def test_one_datagram_or_noise_begins_no_call():
    async with listening() as listener:
        source = await open_source()
        chance = random.Random(5)
        for _ in range(200):
            source.sendto(chance.randbytes(chance.randrange(60)), (LOCALHOST, listener.port))
        source.sendto(datagram_of(packets_of(sound(0.02))[0]), (LOCALHOST, listener.port))
        await send_call(sound(0.1), listener.port)
        heard = await listener.whole_call()
        source.close()

    assert heard.data == sound(0.1)
    assert len(listener.calls) == 1


async def test_more_calls_than_allowed_are_refused():
    async with listening(replace(PATIENT, most_calls=1)) as listener:
        source = await open_source()
        await send_packets(packets_of(sound(0.1)), listener.port, source=source)
        first = await listener.call()
        await send_call(sound(0.1), listener.port, ssrc=2)
        while not listener.bridge.counts["refused"]:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
        source.close()

    assert listener.calls == [first]


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


async def test_a_port_that_is_taken_is_an_error_with_no_socket_left_open():
    async with listening() as listener:
        with pytest.raises(OSError, match="in use"):
            await open_bridge(replace(PATIENT, first_port=listener.port))


async def test_listens_on_ipv6():
    async with listening(replace(PATIENT, host="::1")) as listener:
        sent = await send_call(sound(0.1), listener.port, host="::1")
        heard = await listener.whole_call()

    assert heard.call.call_id == f"rtp-1234abcd-[::1]:{sent.source[1]}"
    assert listener.bridge.address.startswith("[::1]:")
