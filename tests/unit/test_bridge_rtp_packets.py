"""RTP and RTCP on the wire, payload types, options."""

from __future__ import annotations

import argparse
import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.bridges.rtp import RtpOptions, add_arguments, options_from
from client.bridges.rtp.packet import MalformedPacket, Packet, goodbyes, is_rtcp, parse
from client.bridges.rtp.payloads import STATIC_PAYLOADS, Codec, Payload, parse_mapping
from client.formats import AudioFormat
from loadtest.rtp_sender import datagram_of, goodbye

HEADER = struct.pack("!HII", 7, 160, 0xABCD)
PACKETS = st.builds(
    Packet,
    st.integers(0, 127),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.binary(max_size=400),
    st.booleans(),
)


@given(PACKETS)
def test_reads_what_was_written(packet):
    assert parse(datagram_of(packet)) == packet


@given(st.binary(max_size=80))
def test_whatever_comes_is_a_packet_or_malformed(datagram):
    for read in (parse, goodbyes):
        try:
            read(datagram)
        except MalformedPacket:
            continue


@given(st.binary(min_size=2, max_size=60), st.integers(0, 255))
def test_whatever_follows_a_right_version_is_a_packet_or_malformed(rest, first):
    datagram = bytes([0x80 | first & 0x3F]) + rest
    for read in (parse, goodbyes):
        try:
            read(datagram)
        except MalformedPacket:
            continue


def test_leaves_out_contributors_extension_and_padding():
    datagram = b"\xb2\x80" + HEADER + b"CSRCCSRC" + struct.pack("!HH", 0xBEDE, 1) + b"EXT!" + b"audio" + b"\x00\x00\x03"

    packet = parse(datagram)

    assert packet == Packet(0, 7, 160, 0xABCD, b"audio", marker=True)


@pytest.mark.parametrize(
    ("datagram", "rule"),
    [
        (b"", "12"),
        (b"\x80\x00" + HEADER[:-1], "12"),
        (b"\x40\x00" + HEADER, "version"),
        (b"\x8f\x00" + HEADER, "header ends"),
        (b"\x90\x00" + HEADER + b"\x00\x00", "extension"),
        (b"\x90\x00" + HEADER + b"\x00\x00\xff\xff", "header ends"),
        (b"\xa0\x00" + HEADER + b"audio\x00", "padding"),
        (b"\xa0\x00" + HEADER + b"\xff", "payload at"),
    ],
)
def test_says_which_rule_a_packet_breaks(datagram, rule):
    with pytest.raises(MalformedPacket, match=rule):
        parse(datagram)


def test_hears_a_goodbye_behind_a_report():
    assert is_rtcp(goodbye(0x1234))
    assert goodbyes(goodbye(0x1234)) == {0x1234}
    assert not is_rtcp(datagram_of(Packet(0, 1, 2, 3, b"")))


@pytest.mark.parametrize(
    "datagram", [goodbye(1)[:-2], goodbye(1) + b"\x80", b"\x81\xca\x00\x01abcd", b"\x9f\xcb\x00\x01abcd"]
)
def test_a_goodbye_that_breaks_the_rules_is_malformed(datagram):
    with pytest.raises(MalformedPacket):
        goodbyes(datagram)


@pytest.mark.parametrize(
    ("text", "payload_type", "payload"),
    [
        ("96=L16/16000/1", 96, Payload(Codec.L16, 16000)),
        ("97=pcmu", 97, Payload(Codec.PCMU)),
        ("98=L16/8000/2", 98, Payload(Codec.L16, 8000, 2)),
        ("101=telephone-event/48000", 101, Payload(Codec.TELEPHONE_EVENT, 48000)),
        ("99=G722/8000", 99, Payload(Codec.G722)),
    ],
)
def test_maps_dynamic_payload_types(text, payload_type, payload):
    assert parse_mapping(text) == (payload_type, payload)


@pytest.mark.parametrize(
    "text",
    ["", "96", "96=", "x=PCMU", "96=OPUS/48000", "128=PCMU", "72=PCMU", "96=L16", "96=L16/x", "96=PCMU/16000",
     "96=L16/4000", "96=L16/96000", "96=L16/8000/3", "96=G722/8000/2", "96=L16/8000/1/1"],
)  # fmt: skip
def test_refuses_a_mapping_that_means_nothing(text):
    with pytest.raises(ValueError, match="96|128|72|x=|NUMBER"):
        parse_mapping(text)


@pytest.mark.parametrize(
    ("payload_type", "audio_format", "ticks"),
    [
        (0, AudioFormat.mulaw(), 160),
        (8, AudioFormat.alaw(), 160),
        (9, AudioFormat.pcm16(16000), 160),
        (10, AudioFormat.pcm16(44100, 2), 40),
        (11, AudioFormat.pcm16(44100), 80),
    ],
)
def test_knows_the_static_payload_types(payload_type, audio_format, ticks):
    payload = STATIC_PAYLOADS[payload_type]

    assert payload.format == audio_format
    assert payload.ticks_of(bytes(160)) == ticks


@pytest.mark.parametrize(("payload", "data"), [(STATIC_PAYLOADS[10], bytes(6)), (STATIC_PAYLOADS[0], b"")])
def test_audio_comes_in_whole_frames(payload, data):
    with pytest.raises(ValueError, match="bytes of"):
        payload.ticks_of(data)


def parsed(*argv):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return options_from(parser.parse_args(argv))


def test_the_command_line_without_options_gives_the_defaults():
    assert parsed() == RtpOptions()


def test_reads_every_option():
    options = parsed(
        *("--listen", "[::1]:6000-6010", "--payload", "96=L16/16000", "--allow", "10.0.0.0/8", "--no-rtcp"),
        *("--reorder", "0.1", "--conceal", "0", "--idle", "9", "--pause", "90"),
        *("--call-id-format", "line-{local_port}"),
    )

    assert list(options.ports) == [6000, 6002, 6004, 6006, 6008, 6010]
    assert (options.host, options.rtcp) == ("::1", False)
    assert (options.reorder_s, options.conceal_s, options.idle_s, options.pause_s) == (0.1, 0, 9, 90)
    assert options.payloads[96] == Payload(Codec.L16, 16000)
    assert options.payloads[0] == Payload(Codec.PCMU)
    assert str(options.allow[0]) == "10.0.0.0/8"
    assert options.call_id == "line-{local_port}"


@pytest.mark.parametrize(
    "argv",
    [("--listen", "5004"), ("--listen", "h:x"), ("--listen", "h:5005-5010"), ("--listen", "h:70000"),
     ("--allow", "10.0.0/99"), ("--idle", "0"), ("--reorder", "nan"), ("--call-id-format", "{who}"),
     ("--call-id-format", "통화"), ("--call-id-format", "{"), ("--payload", "96=MP3")],
)  # fmt: skip
def test_refuses_options_that_make_no_sense(argv):
    with pytest.raises(ValueError, match=r".+"):
        parsed(*argv)


def test_options_are_read_without_loading_what_only_a_bridge_needs():
    code = "import sys, client.bridges.rtp; print(*({'numpy', 'av', 'websockets'} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
