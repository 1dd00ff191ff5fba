"""Live callers of the client library, all at once and faster than they would speak."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np

from client import AsyncTriageClient, AudioFormat, CallSummary, CallUpdate, LiveCall, LiveOptions
from preprocess_service.features import g711
from tests.unit.recordings import speech_like

RATE_HZ = 8000
LIMIT_S = 120.0
PATIENT = LiveOptions(piece_s=0.5, reconnect_s=LIMIT_S, stalled_s=LIMIT_S)


def mulaw(seconds: float, seed: int = 0) -> bytes:
    return g711.encode_mulaw((speech_like(seconds, RATE_HZ, seed) * 32767).astype(np.int16)).tobytes()


@dataclass
class Caller:
    """One call and what has come of it."""

    call_id: str
    audio: bytes
    updates: list[CallUpdate] = field(default_factory=list)
    summary: CallSummary | None = None
    reconnections: int = 0
    has_updates: asyncio.Event = field(default_factory=asyncio.Event)

    async def hold(self, client: AsyncTriageClient, first_s: float, has_begun: asyncio.Barrier) -> None:
        """Sends the first seconds, waits for updates and for the others, then sends the rest, whatever happens."""
        async with client.live_call(format=AudioFormat.mulaw(), call_id=self.call_id, options=PATIENT) as call:
            reading = asyncio.create_task(self.read(call))
            middle = round(first_s * RATE_HZ)
            await self.send(call, self.audio[:middle])
            await self.has_updates.wait()
            await has_begun.wait()
            await self.send(call, self.audio[middle:])
            self.summary = await call.finish()
            await reading
            self.reconnections = call.reconnections

    async def send(self, call: LiveCall, audio: bytes) -> None:
        for start in range(0, len(audio), 777):
            await call.send_audio(audio[start : start + 777])

    async def read(self, call: LiveCall) -> None:
        async for update in call:
            self.updates.append(update)
            if len(self.updates) == 3:
                self.has_updates.set()


async def hold_all(
    address: str, callers: list[Caller], disturb: Callable[[], Awaitable[object]], first_s: float = 8.3
) -> None:
    """Lets all callers speak; `disturb` happens once all have had updates and none has said everything."""
    has_begun = asyncio.Barrier(len(callers) + 1)
    async with AsyncTriageClient(address) as client, asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as tasks:
        for caller in callers:
            tasks.create_task(caller.hold(client, first_s, has_begun))
        await has_begun.wait()
        await disturb()
