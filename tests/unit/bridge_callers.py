"""Far sides of the WebSocket bridge: real connections that speak the providers' dialects."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from client.bridges.calls import Audio, Bridge, BridgedCall
from client.bridges.websocket import WebSocketOptions, open_bridge
from client.results import CallState, CallUpdate, PartyScore, StageTimes

Message = dict[str, Any]

SHORT_S = 10.0  # longer than any test waits
CHUNK = 160  # bytes of G.711 in 20 ms
STREAM_SID, CALL_SID = "MZ" + "1" * 32, "CA" + "2" * 32


@asynccontextmanager
async def bridge(**settings: Any) -> AsyncIterator[Bridge]:
    """A bridge on a free loopback port."""
    opened = await open_bridge(WebSocketOptions(port=0, **settings))
    try:
        yield opened
    finally:
        await opened.close()


def dial(listening: Bridge, path: str = "/", **settings: Any) -> connect:
    return connect(f"ws://{listening.address}{path}", **settings)


async def next_call(listening: Bridge) -> BridgedCall:
    async with asyncio.timeout(SHORT_S):
        return await anext(aiter(listening.calls()))


async def heard(call: BridgedCall) -> list[Audio]:
    """All of a call, to its hang-up."""
    async with asyncio.timeout(SHORT_S):
        return [event async for event in call.events() if isinstance(event, Audio)]


def joined(events: Sequence[Audio]) -> bytes:
    return b"".join(event.data for event in events)


def lost(events: Sequence[Audio]) -> int:
    return sum(event.lost_frames for event in events)


def code_words(frames: int, seed: int = 1) -> bytes:
    """As many bytes of G.711, all of them different sounds."""
    return np.random.default_rng(seed).integers(0, 256, frames, dtype=np.uint8).tobytes()


async def send_all(connection: ClientConnection, messages: Sequence[Message | str | bytes]) -> None:
    for message in messages:
        await connection.send(json.dumps(message) if isinstance(message, dict) else message)


def twilio_start(tracks: Sequence[str] = ("inbound",), **start: object) -> list[Message]:
    """`connected` and `start`, as Twilio documents them."""
    return [
        {"event": "connected", "protocol": "Call", "version": "1.0.0"},
        {
            "event": "start",
            "sequenceNumber": "1",
            "start": {
                "accountSid": "AC" + "3" * 32,
                "streamSid": STREAM_SID,
                "callSid": CALL_SID,
                "tracks": list(tracks),
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": {},
                **start,
            },
            "streamSid": STREAM_SID,
        },
    ]


def twilio_media(number: int, at_ms: int, data: bytes, track: str = "inbound") -> Message:
    return {
        "event": "media",
        "sequenceNumber": str(number),
        "media": {
            "track": track,
            "chunk": str(number - 1),
            "timestamp": str(at_ms),
            "payload": base64.b64encode(data).decode(),
        },
        "streamSid": STREAM_SID,
    }


def twilio_chunks(audio: bytes, first: int = 2, start_ms: int = 5, track: str = "inbound") -> list[Message]:
    """A track in chunks of 20 ms, numbered from `first`."""
    pieces = [audio[at : at + CHUNK] for at in range(0, len(audio), CHUNK)]
    return [twilio_media(first + n, start_ms + 20 * n, piece, track) for n, piece in enumerate(pieces)]


def twilio_stop(number: int) -> Message:
    stop = {"accountSid": "AC" + "3" * 32, "callSid": CALL_SID}
    return {"event": "stop", "sequenceNumber": str(number), "stop": stop, "streamSid": STREAM_SID}


def telnyx_start(encoding: str = "PCMU", rate_hz: int = 8000, **start: object) -> list[Message]:
    """`connected` and `start`, as Telnyx documents them."""
    return [
        {"event": "connected", "version": "1.0.0"},
        {
            "event": "start",
            "sequence_number": "1",
            "stream_id": "32DE0DEA-53CB-4B21-89A4-9E1819C043BC",
            "start": {
                "user_id": "3E6F995F-85F7-4705-9741-53B116D28237",
                "call_control_id": "v2:T02llQxIyaRkhfRKxgAP8nY511EhFLizdvdUKJiSw8d6A9BborherQ",
                "media_format": {"encoding": encoding, "sample_rate": rate_hz, "channels": 1},
                **start,
            },
        },
    ]


def telnyx_media(chunk: int, at_ms: int, data: bytes, track: str = "inbound") -> Message:
    return {
        "event": "media",
        "sequence_number": str(chunk + 1),
        "media": {
            "track": track,
            "chunk": str(chunk),
            "timestamp": str(at_ms),
            "payload": base64.b64encode(data).decode(),
        },
        "stream_id": "32DE0DEA-53CB-4B21-89A4-9E1819C043BC",
    }


def telnyx_stop() -> Message:
    return {"event": "stop", "sequence_number": "999", "stop": {"call_control_id": "v2:T02"}}


def update(alert: str = "clear", *, monitored: bool = True, number: int = 1) -> CallUpdate:
    """What the service has found."""
    degradations = () if monitored else ("not_monitored",)
    return CallUpdate(
        number=number,
        covered_s=7.0,
        acknowledged_sequence=70,
        caller=PartyScore(0.9 if monitored else None, degradations, monitored, ()),
        agent=None,
        smoothed=0.8,
        alert=alert,
        alert_changed_at_s=6.0,
        model="multimodal",
        model_version="1",
        skipped_hops=0,
        lag_ms=12.0,
        times=StageTimes(0, 0, 0, 0, 0, 0, 0),
        state=CallState(number, 56000, 0.8, alert == "raised", 6.0, -1.0, 1, 0.9, 7.0, 0, 0),
    )
