"""Far sides of the bridges: what an exchange or a provider would send, in real time."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final

FRAME_S: Final = 0.02
HANGING_UP_S: Final = 30.0
FFMPEG_LIMIT_S: Final = 60.0  # beyond the recording's length
PCM_BYTES_PER_S, G711_BYTES_PER_S = 16000, 8000
RTP_HEADER_BYTES: Final = 12
# AudioSocket: type and length of a message, big-endian.
AUDIOSOCKET_HEADER: Final = struct.Struct(">BH")
HANG_UP, UUID, PCM_8_KHZ = 0x00, 0x01, 0x10


async def in_real_time(pieces: Sequence[bytes], bytes_per_s: int) -> AsyncIterator[bytes]:
    """Every piece at the moment at which its last sample has been spoken."""
    loop = asyncio.get_running_loop()
    started_s, sent = loop.time(), 0
    for piece in pieces:
        sent += len(piece)
        await asyncio.sleep(started_s + sent / bytes_per_s - loop.time())
        yield piece


def frames_of(data: bytes, bytes_per_s: int) -> list[bytes]:
    """Frames of 20 ms; the last may be shorter."""
    size = round(bytes_per_s * FRAME_S)
    return [data[at : at + size] for at in range(0, len(data), size)]


async def send_twilio(address: str, call_sid: str, code_words: bytes) -> None:
    """A call as Twilio's Media Streams send it: JSON, mu-law in base64, numbers as strings. Raises OSError."""
    from websockets.asyncio.client import connect  # only for those who send over it

    stream_sid = "MZ" + uuid.uuid4().hex
    async with connect(f"ws://{address}/twilio", proxy=None) as connection:
        for message in _twilio_start(stream_sid, call_sid):
            await connection.send(json.dumps(message))
        frames = frames_of(code_words, G711_BYTES_PER_S)
        number = 0
        async for frame in in_real_time(frames, G711_BYTES_PER_S):
            number += 1
            await connection.send(json.dumps(_twilio_media(stream_sid, number, frame)))
        stop = {"accountSid": "AC" + "0" * 32, "callSid": call_sid}
        ending = {"event": "stop", "sequenceNumber": str(number + 2), "streamSid": stream_sid, "stop": stop}
        await connection.send(json.dumps(ending))
        async with asyncio.timeout(HANGING_UP_S):
            await connection.wait_closed()


def _twilio_start(stream_sid: str, call_sid: str) -> list[Mapping[str, object]]:
    start = {
        "streamSid": stream_sid,
        "accountSid": "AC" + "0" * 32,
        "callSid": call_sid,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {},
    }
    return [
        {"event": "connected", "protocol": "Call", "version": "1.0.0"},
        {"event": "start", "sequenceNumber": "1", "start": start, "streamSid": stream_sid},
    ]


def _twilio_media(stream_sid: str, number: int, frame: bytes) -> Mapping[str, object]:
    media = {
        "track": "inbound",
        "chunk": str(number),
        "timestamp": str(round((number - 1) * FRAME_S * 1000)),
        "payload": base64.b64encode(frame).decode("ascii"),
    }
    return {"event": "media", "sequenceNumber": str(number + 1), "media": media, "streamSid": stream_sid}


async def send_audiosocket(address: str, call_id: uuid.UUID, pcm16: bytes) -> None:
    """A call as Asterisk's AudioSocket sends it: 16-bit PCM at 8 kHz, little-endian. Raises OSError."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(AUDIOSOCKET_HEADER.pack(UUID, 16) + call_id.bytes)
        async for frame in in_real_time(frames_of(pcm16, PCM_BYTES_PER_S), PCM_BYTES_PER_S):
            writer.write(AUDIOSOCKET_HEADER.pack(PCM_8_KHZ, len(frame)) + frame)
            await writer.drain()
        writer.write(AUDIOSOCKET_HEADER.pack(HANG_UP, 0))
        async with asyncio.timeout(HANGING_UP_S):
            await reader.read(-1)
    finally:
        writer.close()


async def send_by_ffmpeg(address: str, ssrc: int, wav: Path, codec: str, seconds: float) -> None:
    """A recording as ffmpeg sends it by RTP, with a BYE at its end: an implementation that is not ours.

    `codec` is pcm_mulaw or pcm_alaw. Raises OSError where ffmpeg fails or takes too long.
    """
    import imageio_ffmpeg  # type: ignore[import-untyped]  # only for those who send by it

    packet = RTP_HEADER_BYTES + round(G711_BYTES_PER_S * FRAME_S)
    process = await asyncio.create_subprocess_exec(
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-re", "-i", str(wav), "-ar", "8000", "-ac", "1"),
        *("-c:a", codec, "-ssrc", str(ssrc), "-rtpflags", "send_bye"),
        *("-f", "rtp", f"rtp://{address}?pkt_size={packet}"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds + FFMPEG_LIMIT_S):
            _, words = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise OSError(f"ffmpeg ended with {process.returncode}: {words.decode(errors='replace').strip()}")
