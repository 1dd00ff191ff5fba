"""What RTP's audio becomes: conversions, concealment, changes in mid-call."""

from __future__ import annotations

import av
import numpy as np
import pytest

from client.bridges.calls import Audio
from client.bridges.rtp.concealment import conceal
from client.bridges.rtp.conversion import Conversion, from_pcm, silence, to_pcm
from client.bridges.rtp.packet import Packet
from client.bridges.rtp.payloads import STATIC_PAYLOADS, Codec, Payload
from client.bridges.rtp.receiver import Patience, Pause, Receiver
from client.formats import AudioFormat

RATE_HZ = 8000
TICKS = 160
PAYLOADS = {**STATIC_PAYLOADS, 96: Payload(Codec.L16, 16000), 97: Payload(Codec.L16, RATE_HZ)}


def voice(seconds, rate_hz=RATE_HZ, pitch_hz=120.0):
    """A steady vowel of 20 harmonics (frames, 1)."""
    times_s = np.arange(round(seconds * rate_hz)) / rate_hz
    harmonics = np.arange(1, 21)[:, None]
    wave = (np.cos(2 * np.pi * pitch_hz * harmonics * times_s + harmonics**2) / harmonics).sum(axis=0)
    return np.rint(4000 * wave).astype(np.int16)[:, None]


def l16(samples):
    return samples.astype(">i2").tobytes()


def g722(samples):
    """As libavcodec encodes it: 16 kHz (frames, 1) to bytes."""
    encoder = av.CodecContext.create("g722", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 16000, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = 16000
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def packets(payload, payload_type, size, *, sequence=0, timestamp=0, ssrc=1, ticks=TICKS):
    return [
        Packet(payload_type, sequence + number, timestamp + number * ticks, ssrc, payload[start : start + size])
        for number, start in enumerate(range(0, len(payload), size))
    ]


def received(sent, first, skip=()):
    into = Receiver(PAYLOADS[first], PAYLOADS, Patience())
    pieces = [
        piece
        for number, packet in enumerate(sent)
        if number not in skip
        for piece in into.receive(packet, number * 0.02)
    ]
    return pieces + into.flush(), into


def snr_db(signal, other):
    error = signal.astype(np.float64) - other
    return 10 * np.log10((signal.astype(np.float64) ** 2).mean() / (error**2).mean())


@pytest.mark.parametrize(
    "audio_format", [AudioFormat.mulaw(), AudioFormat.alaw(2), AudioFormat.pcm16(RATE_HZ, 2)]
)  # fmt: skip
def test_samples_become_bytes_and_come_back(audio_format):
    samples = to_pcm(from_pcm(np.repeat(voice(0.1), audio_format.channels, axis=1), audio_format), audio_format)

    again = to_pcm(from_pcm(samples, audio_format), audio_format)

    np.testing.assert_array_equal(again, samples)
    assert (
        not to_pcm(silence(7, audio_format), audio_format)[:7].astype(bool).sum()
        or audio_format.encoding.name == "ALAW"
    )


def test_g711_goes_through_untouched():
    payload = bytes(range(256))

    assert Conversion(STATIC_PAYLOADS[0], AudioFormat.mulaw()).convert(payload) == payload
    assert Conversion(STATIC_PAYLOADS[8], AudioFormat.alaw()).convert(payload) == payload


def test_l16_is_big_endian_on_the_wire_and_little_endian_in_the_call():
    conversion = Conversion(PAYLOADS[10], AudioFormat.pcm16(44100, 2))

    assert conversion.convert(b"\x01\x02\x03\x04") == b"\x02\x01\x04\x03"


def test_g722_becomes_16_khz_and_twice_as_many_frames_as_ticks():
    spoken = voice(1.0, 16000)
    wire = g722(spoken)

    pieces, into = received(packets(wire, 9, TICKS), first=9)

    heard = to_pcm(b"".join(piece.data for piece in pieces), into.format)
    assert into.format == AudioFormat.pcm16(16000)
    assert len(heard) == len(spoken)
    delay = 22  # of the two filter banks
    assert np.corrcoef(spoken[:-delay, 0], heard[delay:, 0])[0, 1] > 0.99


@pytest.mark.parametrize(("lost", "least_db"), [(1, 9), (2, 5), (3, 3)])
@pytest.mark.parametrize("pitch_hz", [90.0, 120.0, 210.0])
def test_a_gap_in_a_vowel_is_filled_with_the_vowel(lost, least_db, pitch_hz):
    spoken = voice(0.3, pitch_hz=pitch_hz)
    start, frames = 800, lost * TICKS

    filled = conceal(spoken[start - 280 : start], spoken[start + frames :][:160], frames, RATE_HZ)

    assert filled.shape == (frames, 1)
    assert snr_db(spoken[start : start + frames], filled) > least_db


def test_concealment_joins_both_sides_without_a_step():
    spoken = voice(0.3, pitch_hz=133.0)

    filled = conceal(spoken[520:800], spoken[960:1240], 160, RATE_HZ)

    steps = np.abs(np.diff(np.concatenate([spoken[520:800], filled, spoken[960:1240]]).astype(int), axis=0))
    assert steps[279:440].max() <= 1.5 * np.abs(np.diff(spoken.astype(int), axis=0)).max()


def test_concealment_without_a_future_fades_and_without_a_past_is_silent():
    spoken = voice(0.3)
    nothing = spoken[:0]

    alone = conceal(spoken[520:800], nothing, 640, RATE_HZ)

    assert np.abs(alone[:80]).max() > 1000
    assert not alone[480:].any()
    assert not conceal(nothing, nothing, 160, RATE_HZ).any()


def test_concealment_keeps_channels_apart():
    caller = voice(0.3)
    spoken = np.concatenate([caller, np.zeros_like(caller)], axis=1)

    filled = conceal(spoken[520:800], spoken[960:1240], 160, RATE_HZ)

    assert filled[:, 0].any()
    assert not filled[:, 1].any()


def test_what_arrived_is_not_altered_by_what_is_made_up():
    wire = l16(voice(0.4))
    sent = packets(wire, 97, 2 * TICKS)

    pieces, into = received(sent, 97, skip={5, 11, 12})

    arrived = b"".join(piece.data for piece in pieces if not piece.concealed_frames)
    expected = b"".join(packet.payload for number, packet in enumerate(sent) if number not in {5, 11, 12})
    assert arrived == np.frombuffer(expected, ">i2").astype("<i2").tobytes()
    assert into.counts["concealed_frames"] == 3 * TICKS


def test_a_change_between_the_laws_keeps_the_call_and_its_format():
    spoken = voice(0.4)
    mulaw = packets(from_pcm(spoken[:1600], AudioFormat.mulaw()), 0, TICKS)
    alaw = packets(from_pcm(spoken[1600:], AudioFormat.alaw()), 8, TICKS, sequence=10, timestamp=1600)

    pieces, into = received(mulaw + alaw, first=0)

    heard = to_pcm(b"".join(piece.data for piece in pieces), into.format)
    assert into.format == AudioFormat.mulaw()
    assert into.counts["payload_changes"] == 1
    assert len(heard) == len(spoken)
    assert snr_db(spoken, heard) > 30


@pytest.mark.parametrize("first", [0, 9])
def test_a_change_between_g711_and_g722_keeps_time(first):
    spoken = voice(1.0, 16000)
    wire = {0: from_pcm(spoken[::2], AudioFormat.mulaw()), 9: g722(spoken)}
    before = packets(wire[first], first, TICKS)
    after = packets(wire[9 - first], 9 - first, TICKS, sequence=50, timestamp=8000)

    pieces, into = received(before + after, first)

    heard = to_pcm(b"".join(piece.data for piece in pieces), into.format)
    assert len(heard) == 2 * into.format.sample_rate_hz
    assert into.counts["payload_changes"] == 1
    assert into.counts["lost_frames"] == into.counts["concealed_frames"] == into.counts["clock_restarts"] == 0
    second = heard[len(heard) // 2 :, 0][800:-800].astype(float)
    expected = spoken[:: 16000 // into.format.sample_rate_hz, 0].astype(float)
    assert max(np.corrcoef(second, expected[800 - shift :][: len(second)])[0, 1] for shift in range(60)) > 0.95


def test_a_change_of_the_clock_keeps_the_time_of_arrival():
    first = packets(l16(voice(0.2)), 97, 2 * TICKS)
    second = packets(l16(voice(0.2, 16000)), 96, 640, sequence=10, timestamp=77, ticks=320)

    pieces, into = received(first + second, first=97)

    frames = sum(len(piece.data) // 2 for piece in pieces if not isinstance(piece, Pause))
    assert frames == 3200
    assert into.counts["clock_restarts"] == 1


def test_stereo_of_another_type_is_mixed_into_a_call_of_one_channel():
    stereo = Payload(Codec.L16, RATE_HZ, 2)

    mixed = Conversion(stereo, AudioFormat.pcm16(RATE_HZ)).convert(l16(np.array([[100, 300], [-2, -4]])))
    doubled = Conversion(PAYLOADS[97], AudioFormat.pcm16(RATE_HZ, 2)).convert(l16(np.array([[7], [9]])))

    assert np.frombuffer(mixed, "<i2").tolist() == [200, -3]
    assert np.frombuffer(doubled, "<i2").tolist() == [7, 7, 9, 9]


def test_another_stream_goes_on_in_the_same_call():
    into = Receiver(PAYLOADS[0], PAYLOADS, Patience())
    old = packets(bytes([1]) * 480, 0, TICKS)
    new = packets(bytes([2]) * 480, 0, TICKS, sequence=999, timestamp=5, ssrc=2)

    pieces = [piece for number, packet in enumerate(old) for piece in into.receive(packet, number * 0.02)]
    pieces += into.change_stream()
    pieces += [piece for number, packet in enumerate(new) for piece in into.receive(packet, 1.04 + number * 0.02)]

    assert pieces == [Audio(bytes([1]) * TICKS)] * 3 + [Pause(7840)] + [Audio(bytes([2]) * TICKS)] * 3
    assert into.counts["ssrc_changes"] == into.counts["clock_restarts"] == 1
