"""A sender of RTP that paces its packets, and loses, doubles and reorders them by a seed."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from client.bridges.rtp.packet import Packet

PACKET_S = 0.02
VERSION = 0x80
MARKER = 0x80


@dataclass(frozen=True, slots=True)
class Wire:
    """How a payload type is cut: bytes and ticks of a second on the RTP clock."""

    bytes_per_s: int
    clock_rate_hz: int


WIRES = {0: Wire(8000, 8000), 8: Wire(8000, 8000), 9: Wire(8000, 8000), 11: Wire(2 * 44100, 44100)}


@dataclass(slots=True)
class Sent:
    """What became of a call's packets."""

    packets: list[Packet]  # all, as if none had been lost
    wire: list[Packet]  # as they went out
    lost: set[int] = field(default_factory=set)  # indexes in `packets`
    source: tuple[str, int] = ("", 0)


def datagram_of(packet: Packet) -> bytes:
    """The packet as it goes over the wire."""
    second = packet.payload_type | (MARKER if packet.marker else 0)
    return struct.pack("!BBHII", VERSION, second, packet.sequence, packet.timestamp, packet.ssrc) + packet.payload


def goodbye(ssrc: int) -> bytes:
    """A compound RTCP packet: an empty receiver report and a BYE."""
    return struct.pack("!BBHI", 0x80, 201, 1, ssrc) + struct.pack("!BBHI", 0x81, 203, 1, ssrc)


def packets_of(
    payload: bytes,
    payload_type: int = 0,
    *,
    wire: Wire | None = None,
    ssrc: int = 0x1234ABCD,
    first_sequence: int = 0,
    first_timestamp: int = 0,
    packet_s: float = PACKET_S,
) -> list[Packet]:
    """Cuts encoded audio, as it stands in payloads, into packets; both counters wrap around."""
    cut = wire or WIRES[payload_type]
    size, ticks = round(cut.bytes_per_s * packet_s), round(cut.clock_rate_hz * packet_s)
    return [
        Packet(
            payload_type,
            (first_sequence + number) % (1 << 16),
            (first_timestamp + number * ticks) % (1 << 32),
            ssrc,
            payload[start : start + size],
            marker=number == 0,
        )
        for number, start in enumerate(range(0, len(payload), size))
    ]


def damaged(
    packets: list[Packet],
    *,
    seed: int,
    loss: float = 0.0,
    burst_packets: float = 0.0,
    reorder: float = 0.0,
    duplicate: float = 0.0,
) -> tuple[list[Packet], set[int]]:
    """The packets as a bad network delivers them, and the indexes of those lost; the first two and the last arrive.

    Each is lost by itself, or with `burst_packets` in bursts of so many on average (1 or more) whose length is
    geometrically distributed, as Gilbert's model has it; the part that is lost is the same. `reorder` is the part of
    packets that change places with their neighbour.
    """
    chance = random.Random(seed)
    exposed = range(2, len(packets) - 1)
    if burst_packets:
        lost = set(_in_bursts(exposed, loss, burst_packets, chance))
    else:
        lost = {index for index in exposed if chance.random() < loss}
    wire = [packet for index, packet in enumerate(packets) if index not in lost]
    for index in range(2, len(wire) - 1):
        if chance.random() < reorder:
            wire[index - 1], wire[index] = wire[index], wire[index - 1]
    return [copy for packet in wire for copy in [packet] * (1 + (chance.random() < duplicate))], lost


def _in_bursts(indexes: range, loss: float, burst_packets: float, chance: random.Random) -> Iterator[int]:
    ends = 1 / burst_packets
    begins = ends * loss / (1 - loss)  # so that the part of time within bursts is `loss`
    is_lost = chance.random() < loss
    for index in indexes:
        if is_lost:
            yield index
        is_lost = chance.random() < (1 - ends if is_lost else begins)


async def send_packets(
    packets: Iterator[Packet] | list[Packet],
    port: int,
    *,
    host: str = "127.0.0.1",
    packet_s: float = PACKET_S,
    speed: float = 1.0,
    source: asyncio.DatagramTransport | None = None,
) -> tuple[str, int]:
    """Sends a packet every `packet_s / speed` seconds, from `source` or a port of its own; returns where from."""
    loop = asyncio.get_running_loop()
    transport = source or await open_source(host)
    started_s = loop.time()
    for number, packet in enumerate(packets):
        await asyncio.sleep(started_s + number * packet_s / speed - loop.time())
        transport.sendto(datagram_of(packet), (host, port))
    address: tuple[str, int] = transport.get_extra_info("sockname")[:2]
    if source is None:
        transport.close()
        await asyncio.sleep(0)
    return address


async def open_source(host: str = "127.0.0.1") -> asyncio.DatagramTransport:
    """A socket to send from; close it."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=(host, 0))
    return transport


async def send_call(
    payload: bytes,
    port: int,
    payload_type: int = 0,
    *,
    wire: Wire | None = None,
    host: str = "127.0.0.1",
    ssrc: int = 0x1234ABCD,
    first_sequence: int = 0,
    first_timestamp: int = 0,
    packet_s: float = PACKET_S,
    loss: float = 0.0,
    burst_packets: float = 0.0,
    reorder: float = 0.0,
    duplicate: float = 0.0,
    seed: int = 0,
    speed: float = 1.0,
    say_goodbye: bool = True,
) -> Sent:
    """Sends a whole call of encoded audio, as it stands in payloads, and says goodbye on the port above.

    `wire` is needed for dynamic payload types. A `speed` above 1 sends faster than the call was spoken.
    """
    cut = packets_of(
        payload,
        payload_type,
        wire=wire,
        ssrc=ssrc,
        first_sequence=first_sequence,
        first_timestamp=first_timestamp,
        packet_s=packet_s,
    )
    on_the_wire, lost = damaged(
        cut, seed=seed, loss=loss, burst_packets=burst_packets, reorder=reorder, duplicate=duplicate
    )
    transport = await open_source(host)
    try:
        source = await send_packets(on_the_wire, port, host=host, packet_s=packet_s, speed=speed, source=transport)
        if say_goodbye:
            transport.sendto(goodbye(ssrc), (host, port + 1))
    finally:
        transport.close()
        await asyncio.sleep(0)
    return Sent(cut, on_the_wire, lost, source)
