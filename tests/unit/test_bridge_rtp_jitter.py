"""Order and time of RTP packets: the parts without clocks and sockets."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.bridges.calls import Audio
from client.bridges.rtp.jitter import MAX_DROPOUT, JitterBuffer, signed_difference
from client.bridges.rtp.packet import Packet
from client.bridges.rtp.payloads import STATIC_PAYLOADS, Codec, Payload
from client.bridges.rtp.receiver import COUNTS, Patience, Pause, Receiver
from client.bridges.rtp.timeline import Gap, Place, Timeline
from loadtest.rtp_sender import damaged, packets_of

DEPTH_S = 0.06
TICKS = 160
PACKET_S = 0.02
PAYLOADS = {**STATIC_PAYLOADS, 101: Payload(Codec.TELEPHONE_EVENT), 96: Payload(Codec.L16, 8000)}
NETWORKS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32),
        "loss": st.floats(0, 0.4),
        "reorder": st.floats(0, 0.4),
        "duplicate": st.floats(0, 0.3),
    }
)


def sound(packets, seed=1):
    """mu-law without its code word of silence."""
    return bytes(random.Random(seed).choices(range(255), k=packets * TICKS))


def receiver(first=0, **patience):
    return Receiver(PAYLOADS[first], PAYLOADS, Patience(**patience))


def received(packets, into=None, *, arrivals=None):
    """The pieces of packets that come every 20 ms, or at the given times, and the receiver."""
    into = into or receiver()
    pieces = []
    for number, packet in enumerate(packets):
        arrival_s = arrivals[number] if arrivals else number * PACKET_S
        pieces += into.expire(arrival_s) + into.receive(packet, arrival_s)
    return pieces + into.flush(), into


def frames_of(pieces, frame_bytes=1):
    """How much time they take."""
    return sum(
        piece.frames if isinstance(piece, Pause) else piece.lost_frames + len(piece.data) // frame_bytes
        for piece in pieces
    )


def sequence_numbers(ordered):
    return [each.packet.sequence for each in ordered]


@given(NETWORKS, st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.integers(5, 150))
def test_a_bad_network_changes_neither_order_nor_time(network, first_sequence, first_timestamp, count):
    audio = sound(count)
    sent = packets_of(audio, first_sequence=first_sequence, first_timestamp=first_timestamp)
    wire, lost = damaged(sent, **network)

    pieces, into = received(wire)

    assert frames_of(pieces) == count * TICKS
    assert into.counts["lost"] >= into.counts["late"]
    assert into.counts["packets"] == len(wire)
    at, heard = 0, 0
    for piece in pieces:
        at += piece.lost_frames
        if not piece.concealed_frames:
            assert piece.data == audio[at : at + TICKS]
            heard += 1
        at += len(piece.data)
    assert heard + into.counts["late"] == count - len(lost)
    assert into.counts["concealed_frames"] + into.counts["lost_frames"] == (count - heard) * TICKS


@given(
    NETWORKS,
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=5, max_size=100),
)
def test_pauses_and_losses_together_keep_the_time_of_the_timestamps(network, sequence, timestamp, talk):
    """Every packet comes after so many that were left out, and some are comfort noise."""
    sent, place = [], 0
    for number, (left_out, is_noise) in enumerate(talk):
        place += left_out
        is_edge = number in (0, 1, len(talk) - 1)
        payload_type, payload = (13, b"@") if is_noise and not is_edge else (0, bytes(TICKS))
        at = (timestamp + place * TICKS) % (1 << 32)
        sent.append(Packet(payload_type, (sequence + number) % (1 << 16), at, 1, payload))
        place += 1
    wire, _ = damaged(sent, **network)

    pieces, into = received(wire)

    assert frames_of(pieces) == (place - talk[0][0]) * TICKS
    assert into.counts["clock_restarts"] == 0


@given(NETWORKS, st.integers(0, 0xFFFF), st.integers(5, 150))
def test_the_buffer_gives_every_packet_once_and_in_order(network, first_sequence, count):
    wire, _ = damaged(packets_of(sound(count), first_sequence=first_sequence), **network)
    buffer = JitterBuffer(DEPTH_S)

    out = [ordered for number, packet in enumerate(wire) for ordered in buffer.put(packet, number * PACKET_S)]
    out += buffer.flush()

    places = [(each.packet.sequence - first_sequence) % (1 << 16) for each in out]
    assert places == sorted(set(places))
    assert sum(each.missing for each in out) == buffer.counts["lost"] == places[-1] + 1 - len(places)
    distinct = len({packet.sequence for packet in wire})
    assert len(out) + buffer.counts["late"] == distinct
    assert buffer.counts["duplicate"] == len(wire) - distinct


STRANGE_PACKETS = st.tuples(
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.sampled_from([0, 8, 9, 13, 96, 101, 77]),
    st.binary(max_size=7),
    st.floats(0, 0.1),
)


@given(st.lists(STRANGE_PACKETS, max_size=60))
def test_no_sequence_of_packets_is_too_strange(packets):
    into, now_s, pieces = receiver(), 0.0, []
    for sequence, timestamp, payload_type, payload, after_s in packets:
        now_s += after_s
        pieces += into.receive(Packet(payload_type, sequence, timestamp, 1, payload), now_s)
    pieces += into.flush()

    assert set(into.counts) == set(COUNTS)
    assert all(count >= 0 for count in into.counts.values())
    longest = 60 * 8000
    assert all(
        piece.frames <= longest if isinstance(piece, Pause) else piece.lost_frames <= longest for piece in pieces
    )


def test_a_packet_is_waited_for_no_longer_than_the_depth():
    first, second, third, fourth = packets_of(sound(4))
    buffer = JitterBuffer(DEPTH_S)

    assert sequence_numbers(buffer.put(first, 0.0)) == [0]
    assert buffer.deadline_s is None
    assert buffer.put(third, 0.04) == []
    assert buffer.deadline_s == pytest.approx(0.1)
    assert buffer.expire(0.0999) == []
    given_up = buffer.expire(0.1001)
    assert [(each.packet.sequence, each.missing) for each in given_up] == [(2, 1)]
    assert buffer.put(second, 0.11) == []
    assert sequence_numbers(buffer.put(fourth, 0.12)) == [3]
    assert buffer.counts["late"] == buffer.counts["lost"] == 1


def test_a_packet_in_time_is_put_in_its_place():
    first, second, third = packets_of(sound(3))
    buffer = JitterBuffer(DEPTH_S)

    out = buffer.put(first, 0.0) + buffer.put(third, 0.02) + buffer.put(second, 0.079)

    assert sequence_numbers(out) == [0, 1, 2]
    assert buffer.counts["reordered"] == 1
    assert buffer.counts["lost"] == 0


def test_a_packet_that_comes_late_but_before_it_is_given_up_is_in_time():
    first, second, third = packets_of(sound(3))
    buffer = JitterBuffer(DEPTH_S)

    out = buffer.put(first, 0.0) + buffer.put(third, 0.02) + buffer.put(second, 0.5)

    assert sequence_numbers(out) == [0, 1, 2]
    assert buffer.counts["lost"] == 0


def test_one_number_far_off_is_a_stray():
    packets = packets_of(sound(4))
    stray = Packet(0, 40000, 1, packets[0].ssrc, b"stray")
    buffer = JitterBuffer(DEPTH_S)

    out = [ordered for packet in [*packets[:2], stray, *packets[2:]] for ordered in buffer.put(packet, 0.0)]

    assert sequence_numbers(out) == [0, 1, 2, 3]
    assert buffer.counts["late"] == 1


def test_two_numbers_far_off_are_another_numbering_and_none_is_lost():
    before = packets_of(sound(3))
    after = packets_of(sound(3, seed=2), first_sequence=before[-1].sequence + MAX_DROPOUT + 5, first_timestamp=10**9)

    pieces, into = received(before + after)

    assert b"".join(piece.data for piece in pieces) == sound(3) + sound(3, seed=2)
    assert into.counts["clock_restarts"] == 1
    assert into.counts["lost"] == into.counts["lost_frames"] == 0


@pytest.mark.parametrize(("value", "base", "difference"), [(0, 65535, 1), (65535, 0, -1), (5, 5, 0), (32767, 0, 32767)])
def test_differences_wrap_around(value, base, difference):
    assert signed_difference(value, base, 16) == difference


def place(timestamp, missing=0, ticks=TICKS, arrival_s=0.0, **kind):
    return Place(timestamp, ticks, kind.get("clock_rate_hz", 8000), arrival_s, missing, kind.get("restarted", False))


@pytest.mark.parametrize(
    ("second", "gap", "restarts"),
    [
        (place(160), Gap(), 0),
        (place(160 + 160, missing=1), Gap(160), 0),
        (place(160 + 480), Gap(0, 480), 0),
        (place(160 + 800, missing=2), Gap(320, 480), 0),
        (place(160, missing=2), Gap(), 0),  # what was lost was no audio
        (place(160 + 80, missing=2), Gap(80), 0),
        (place(170), Gap(), 0),
        (place(150), Gap(), 0),
        (place(-(10**6)), Gap(), 1),
        (place(10**9, arrival_s=2.02), Gap(0, 16000), 1),
        (place(10**9, arrival_s=0.05), Gap(), 1),
        (place(160, clock_rate_hz=16000, arrival_s=1.02), Gap(0, 16000), 1),
        (place(160, restarted=True), Gap(), 1),
    ],
)
def test_tells_losses_from_pauses_and_from_other_clocks(second, gap, restarts):
    timeline = Timeline(longest_gap_s=60, jitter_s=0.06)
    timeline.follow(place(0))

    assert timeline.follow(second) == gap
    assert timeline.restarts == restarts


def test_a_lost_packet_may_have_been_as_long_as_any_of_them():
    timeline = Timeline(longest_gap_s=60, jitter_s=0.06)
    timeline.follow(place(0))
    timeline.follow(place(160, ticks=32))

    assert timeline.follow(place(192 + 160, missing=1, ticks=32)) == Gap(160)


@given(st.lists(st.integers(-70, 70), min_size=2, max_size=100))
def test_timestamps_that_waver_add_no_time(wavering):
    timeline = Timeline(longest_gap_s=60, jitter_s=0.06)

    gaps = [timeline.follow(place(number * TICKS + off)) for number, off in enumerate(wavering)]

    assert gaps == [Gap()] * len(wavering)
    assert timeline.restarts == 0


def test_a_pause_is_no_loss():
    packets = packets_of(sound(4))
    later = [Packet(0, p.sequence, p.timestamp + 8000, p.ssrc, p.payload) for p in packets[2:]]

    pieces, into = received(packets[:2] + later)

    assert [piece for piece in pieces if isinstance(piece, Pause)] == [Pause(8000)]
    assert into.counts["lost"] == into.counts["lost_frames"] == into.counts["concealed_frames"] == 0


def test_keys_and_comfort_noise_are_counted_and_not_heard():
    first, second = packets_of(sound(2))
    events = [Packet(101, 1, 160, first.ssrc, b"\x01\x0a\x00\xa0"), Packet(13, 2, 160, first.ssrc, b"\x40")]
    empty, unknown = Packet(0, 3, 160, first.ssrc, b""), Packet(77, 4, 160, first.ssrc, b"?")
    last = Packet(0, 5, 480, second.ssrc, second.payload)

    pieces, into = received([first, *events, empty, unknown, last])

    assert pieces == [Audio(first.payload), Pause(320), Audio(last.payload)]
    assert {name: into.counts[name] for name in ("telephone_event", "comfort_noise", "empty", "unknown_payload")} == {
        "telephone_event": 1, "comfort_noise": 1, "empty": 1, "unknown_payload": 1
    }  # fmt: skip
    assert into.counts["lost"] == 0


def test_short_losses_are_concealed_and_long_ones_reported():
    packets = packets_of(sound(20))
    wire = packets[:4] + packets[7:12] + packets[16:]

    pieces, into = received(wire)

    gaps = [(piece.lost_frames, piece.concealed_frames) for piece in pieces]
    assert [gap for gap in gaps if any(gap)] == [(0, 480), (640, 0)]
    assert (into.counts["concealed_frames"], into.counts["lost_frames"], into.counts["lost"]) == (480, 640, 7)
    assert frames_of(pieces) == 20 * TICKS


def test_half_a_frame_is_malformed_and_time_goes_on():
    l16 = [Packet(96, number, number * TICKS, 1, bytes(2 * TICKS)) for number in range(3)]
    l16[1] = Packet(96, 1, TICKS, 1, bytes(2 * TICKS - 1))

    pieces, into = received(l16, receiver(96))

    assert into.counts["malformed"] == 1
    assert frames_of(pieces, frame_bytes=2) == 3 * TICKS


def test_the_jitter_estimate_follows_rfc_3550():
    packets = packets_of(sound(400))
    arrivals = [number * PACKET_S + (0.008 if number % 2 else 0.0) for number in range(400)]

    _, into = received(packets, arrivals=arrivals)

    assert into.counts["jitter_us"] == pytest.approx(8000, rel=0.01)
