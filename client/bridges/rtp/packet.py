"""RTP packets and RTCP goodbyes as they stand on the wire (RFC 3550)."""

import struct
from dataclasses import dataclass

VERSION = 2
_HEADER = struct.Struct("!BBHII")
_EXTENSION = struct.Struct("!HH")
_RTCP_HEADER = struct.Struct("!BBH")
_PADDING, _EXTENDED, _CONTRIBUTORS = 0x20, 0x10, 0x0F
_MARKER, _PAYLOAD_TYPE = 0x80, 0x7F
_WORD_BYTES = 4
# What stands in the second byte of an RTCP packet; no RTP packet has it there (RFC 5761, 4).
_RTCP_TYPES = range(192, 224)
_SENDER_REPORT, _RECEIVER_REPORT, _BYE = 200, 201, 203


class MalformedPacket(ValueError):
    """A datagram that breaks the rules of RTP or RTCP; the text names the rule."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One RTP packet without what only its transport needs: padding, contributors and header extension."""

    payload_type: int
    sequence: int  # of 16 bits
    timestamp: int  # of 32 bits, in ticks of the payload's clock
    ssrc: int
    payload: bytes
    marker: bool = False


def is_rtcp(datagram: bytes) -> bool:
    """Whether it is RTCP, which may share RTP's port."""
    return len(datagram) > 1 and datagram[1] in _RTCP_TYPES


def parse(datagram: bytes) -> Packet:
    """Reads one RTP packet; raises MalformedPacket."""
    if len(datagram) < _HEADER.size:
        raise MalformedPacket(f"{len(datagram)} bytes; an RTP header has {_HEADER.size}")
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(datagram)
    if first >> 6 != VERSION:
        raise MalformedPacket(f"RTP version {first >> 6}; it is {VERSION}")
    start = _HEADER.size + (first & _CONTRIBUTORS) * _WORD_BYTES
    if first & _EXTENDED:
        if start + _EXTENSION.size > len(datagram):
            raise MalformedPacket(f"{len(datagram)} bytes; the header extension begins at {start}")
        _, words = _EXTENSION.unpack_from(datagram, start)
        start += _EXTENSION.size + words * _WORD_BYTES
    end = len(datagram) - (_padding_bytes(datagram) if first & _PADDING else 0)
    if start > end:
        raise MalformedPacket(f"the header ends at {start} and the payload at {end}")
    return Packet(second & _PAYLOAD_TYPE, sequence, timestamp, ssrc, datagram[start:end], bool(second & _MARKER))


def _padding_bytes(datagram: bytes) -> int:
    if not datagram[-1]:
        raise MalformedPacket("0 bytes of padding; its last byte counts itself")
    return datagram[-1]


def goodbyes(datagram: bytes) -> frozenset[int]:
    """The SSRCs that a compound RTCP packet says goodbye for; raises MalformedPacket."""
    leaving: set[int] = set()
    start = 0
    while start < len(datagram):
        if start + _RTCP_HEADER.size > len(datagram):
            raise MalformedPacket(f"{len(datagram)} bytes; an RTCP packet begins at {start}")
        first, kind, words = _RTCP_HEADER.unpack_from(datagram, start)
        end = start + (words + 1) * _WORD_BYTES
        if first >> 6 != VERSION or kind not in _RTCP_TYPES or end > len(datagram):
            raise MalformedPacket(f"version {first >> 6}, type {kind}, end {end} in {len(datagram)} bytes of RTCP")
        if start == 0 and kind not in (_SENDER_REPORT, _RECEIVER_REPORT, _BYE):
            raise MalformedPacket(f"type {kind} first; a compound RTCP packet begins with a report")
        if kind == _BYE:
            leaving.update(_sources(datagram[start + _RTCP_HEADER.size : end], first & 0x1F))
        start = end
    return frozenset(leaving)


def _sources(content: bytes, count: int) -> tuple[int, ...]:
    if count * _WORD_BYTES > len(content):
        raise MalformedPacket(f"{count} sources in {len(content)} bytes of RTCP BYE")
    return struct.unpack_from(f"!{count}I", content)
