"""Messages of AudioSocket: type, length (big-endian), payload; docs.asterisk.org/Configuration/Channel-Drivers."""

import asyncio
import struct
import uuid
from dataclasses import dataclass
from typing import Final

HANG_UP, UUID, DTMF, ERROR = 0x00, 0x01, 0x03, 0xFF
# Signed linear 16-bit little-endian mono, one type a rate.
RATES_HZ: Final = {
    0x10: 8000,
    0x11: 12000,
    0x12: 16000,
    0x13: 24000,
    0x14: 32000,
    0x15: 44100,
    0x16: 48000,
    0x17: 96000,
    0x18: 192000,
}
HEADER: Final = struct.Struct(">BH")
UUID_BYTES: Final = 16


class BrokenProtocol(Exception):
    """A message breaks the protocol's rules; says which."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `kind` is its type."""

    kind: int
    payload: bytes = b""

    def __bytes__(self) -> bytes:
        return HEADER.pack(self.kind, len(self.payload)) + self.payload


async def read_message(reader: asyncio.StreamReader) -> Message | None:
    """The next message, None after the last; raises BrokenProtocol for a connection that ends within one."""
    try:
        kind, length = HEADER.unpack(await reader.readexactly(HEADER.size))
        return Message(kind, await reader.readexactly(length))
    except asyncio.IncompleteReadError as error:
        if error.partial or error.expected != HEADER.size:
            raise BrokenProtocol("the connection ended within a message") from None
        return None


def name_of(message: Message) -> str:
    """The call's name in the first message; raises BrokenProtocol for another one."""
    if message.kind != UUID:
        raise BrokenProtocol(f"type 0x{message.kind:02x} before the UUID")
    if len(message.payload) != UUID_BYTES:
        raise BrokenProtocol(f"a UUID of {len(message.payload)} bytes; it has 16")
    return str(uuid.UUID(bytes=message.payload))
