"""A TCP proxy whose connections can die without a word: packets go nowhere, and nobody says so."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


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
