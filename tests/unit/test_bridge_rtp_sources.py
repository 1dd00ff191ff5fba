"""Which packets are a call's: sources, streams, ports."""

from __future__ import annotations

import asyncio
import ipaddress
import random
from dataclasses import replace

import pytest

from client.bridges.rtp import open_bridge
from loadtest.rtp_sender import datagram_of, goodbye, open_source, packets_of, send_call, send_packets
from tests.unit.rtp_listener import LOCALHOST, PATIENT, SPEED, listening, range_options, sound


def interleaved(*streams):
    return [packet for together in zip(*streams, strict=True) for packet in together]


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


async def test_an_ipv6_socket_knows_a_sender_of_ipv4_by_its_network():
    ours = (ipaddress.ip_network("127.0.0.0/8"),)
    async with listening(replace(PATIENT, host="::ffff:127.0.0.1", allow=ours)) as listener:
        await send_call(sound(0.1), listener.port)
        heard = await listener.whole_call()

    assert heard.data == sound(0.1)


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
