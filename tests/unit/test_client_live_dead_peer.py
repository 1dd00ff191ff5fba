"""A live call whose connection dies without a word: packets go nowhere, and nobody says so."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from client import AsyncTriageClient, AudioFormat, LiveOptions
from client.channel import KEEPALIVE_TIME_MS, KEEPALIVE_TIMEOUT_MS
from tests.unit.live_stub import live_service

ALLOWED_PING_MS = 10_000  # what the service takes for too often is less


@dataclass
class Proxy:
    """Passes bytes on until it is told to hold back those of the connections that it has."""

    target: str
    address: str = ""
    frozen: list[asyncio.Event] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def freeze(self) -> None:
        for event in self.frozen:
            event.set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        event = asyncio.Event()
        self.frozen.append(event)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self.carry(source, sink, event))
            self.tasks.add(task)

    async def carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, frozen: asyncio.Event) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65536):
                    if not frozen.is_set():
                        sink.write(data)
                        await sink.drain()
        finally:
            sink.close()


@contextlib.asynccontextmanager
async def proxy_to(target: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    proxy.address = f"{host}:{port}"
    async with server:
        yield proxy
        for task in proxy.tasks:
            task.cancel()
        await asyncio.gather(*proxy.tasks, return_exceptions=True)


def test_pings_are_no_more_often_than_allowed_and_find_out_in_time() -> None:
    assert KEEPALIVE_TIME_MS > ALLOWED_PING_MS
    assert KEEPALIVE_TIME_MS + KEEPALIVE_TIMEOUT_MS <= 16_000


@pytest.mark.parametrize("options", [LiveOptions(stalled_s=600), LiveOptions(stale_s=0.5, stalled_s=1)])
async def test_a_dead_connection_is_found_out_and_left(options: LiveOptions) -> None:
    """First by gRPC's pings, which takes a quarter of a minute, then by the call itself."""
    async with (
        live_service() as service,
        proxy_to(service.address) as proxy,
        AsyncTriageClient(proxy.address) as client,
        client.live_call(format=AudioFormat.mulaw(), options=options) as call,
    ):
        await call.send_audio(bytes(8000))
        numbers = [(await anext(call)).number]
        proxy.freeze()
        await call.send_audio(bytes(16_000))
        numbers += [(await anext(call)).number, (await anext(call)).number]
        summary = await call.finish()

    assert numbers == [1, 2, 3]
    assert summary.audio_s == 3
    assert call.reconnections >= 1
