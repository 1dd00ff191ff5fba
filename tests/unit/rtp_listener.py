"""A listener that takes every call of an RTP bridge."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from client.bridges.calls import Audio, BridgedCall
from client.bridges.rtp import RtpOptions, open_bridge

PATIENT = RtpOptions(first_port=0, idle_s=30)
SPEED = 8.0
LOCALHOST = "127.0.0.1"


def sound(seconds, seed=1):
    """mu-law without its code word of silence."""
    return bytes(random.Random(seed).choices(range(255), k=round(seconds * 8000)))


@dataclass
class Heard:
    """A call with all that came of it."""

    call: BridgedCall
    pieces: list[Audio] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def data(self):
        return b"".join(piece.data for piece in self.pieces)

    @property
    def frames(self):
        return len(self.data) + sum(piece.lost_frames for piece in self.pieces)

    @property
    def counts(self):
        return self.call.counts

    async def until(self, frames):
        """Waits until so much has come; the test's own time limit ends a wait in vain."""
        while self.frames < frames:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


class Listener:
    """Takes every call of a bridge and all its audio."""

    def __init__(self, bridge):
        self.bridge = bridge
        self.calls: list[Heard] = []
        self._begun = asyncio.Condition()
        self._tasks = {asyncio.create_task(self._take_calls())}

    @property
    def port(self):
        return int(self.bridge.address.rpartition(":")[2].partition("-")[0])

    async def call(self, number=0):
        async with self._begun:
            await self._begun.wait_for(lambda: len(self.calls) > number)
        return self.calls[number]

    async def whole_call(self, number=0):
        heard = await self.call(number)
        await heard.ended.wait()
        return heard

    async def close(self):
        await self.bridge.close()
        await asyncio.gather(*self._tasks)

    async def _take_calls(self):
        async for call in self.bridge.calls():
            async with self._begun:
                self.calls.append(Heard(call))
                self._begun.notify_all()
            self._tasks.add(asyncio.create_task(self._take_audio(self.calls[-1])))

    async def _take_audio(self, heard):
        async for piece in heard.call.events():
            heard.pieces.append(piece)
        heard.ended.set()


@asynccontextmanager
async def listening(options=PATIENT):
    listener = Listener(await open_bridge(options))
    try:
        yield listener
    finally:
        await listener.close()


async def range_options(**changes):
    """Two even ports that are free now."""
    for first in range(random.Random().randrange(20000, 50000, 4), 60000, 4):
        options = replace(PATIENT, first_port=first, last_port=first + 2, **changes)
        try:
            await (await open_bridge(options)).close()
        except OSError:
            continue
        return options
    raise AssertionError("no free ports")
