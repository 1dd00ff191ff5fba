"""Calls over WebSockets and AudioSocket, through the runner, to a service that holds live calls, and back."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from client import AsyncTriageClient
from client.bridges.audiosocket import AudioSocketOptions
from client.bridges.audiosocket import open_bridge as open_audiosocket
from client.bridges.calls import Bridge
from client.bridges.runner import Runner, RunnerSettings
from tests.unit.bridge_callers import (
    CALL_SID,
    CHUNK,
    SHORT_S,
    bridge,
    code_words,
    dial,
    send_all,
    twilio_chunks,
    twilio_start,
    twilio_stop,
)
from tests.unit.live_stub import live_service

Line = Mapping[str, Any]


@contextlib.asynccontextmanager
async def running(opened: Bridge) -> AsyncIterator[asyncio.Queue[Line]]:
    """Lines of a runner between the bridge and a service."""
    lines: asyncio.Queue[Line] = asyncio.Queue()
    stop = asyncio.Event()
    async with live_service() as service, AsyncTriageClient(service.address) as client:
        task = asyncio.create_task(Runner(client, RunnerSettings(), lines.put_nowait).run(opened, stop))
        try:
            yield lines
        finally:
            stop.set()
            await task


async def until(lines: asyncio.Queue[Line], event: str) -> Line:
    async with asyncio.timeout(SHORT_S):
        while (line := await lines.get())["event"] != event:
            pass
        return line


async def test_both_tracks_of_a_call_are_judged_with_their_losses() -> None:
    inbound, outbound = twilio_chunks(code_words(150 * CHUNK)), twilio_chunks(code_words(150 * CHUNK), track="outbound")
    media = [message for pair in zip(inbound, outbound, strict=True) for message in pair]
    for number, message in enumerate(media, start=2):
        message["sequenceNumber"] = str(number)
    del media[100:110]
    messages = [*twilio_start(["inbound", "outbound"]), *media, twilio_stop(302)]
    async with bridge() as opened, running(opened) as lines, dial(opened, "/twilio") as far_side:
        await send_all(far_side, messages)
        ended = await until(lines, "call_ended")
    assert ended["call_id"] == CALL_SID
    assert (ended["summary"]["audio_s"], ended["summary"]["updates"]) == (3.0, 3)
    assert ended["summary"]["lost_s"] == 0.1
    assert ended["counts"]["lost_messages"] == 10
    assert "error" not in ended
    assert "broken" not in ended


async def test_what_the_service_finds_reaches_the_gateway() -> None:
    async with bridge() as opened, running(opened), dial(opened, "/jambonz") as far_side:
        await send_all(far_side, [{"callSid": "1", "sampleRate": 16000, "mixType": "mono"}, bytes(range(250)) * 160])
        async with asyncio.timeout(SHORT_S):
            told = json.loads(await far_side.recv())
        assert (told["event"], told["update"], told["monitored"]) == ("wigeup", 1, True)


async def test_a_broken_protocol_is_written_with_the_call() -> None:
    opened = await open_audiosocket(AudioSocketOptions(port=0))
    async with running(opened) as lines:
        host, _, port = opened.address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"\x01\x00\x10" + bytes(16) + b"\x10\x3e\x80" + bytes(16000) + b"\x10\x01")
        writer.close()
        ended = await until(lines, "call_ended")
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    assert ended["summary"]["audio_s"] == 1.0
    assert ended["broken"] == "the connection ended within a message"
