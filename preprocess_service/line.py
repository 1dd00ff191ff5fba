"""The line between a worker and its supervisor: a socket pair, one byte a message."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final

# Said by the worker: it can serve what the settings say; it is ready to listen; it listens.
CHECKED: Final = b"c"
WARM: Final = b"w"
LISTENING: Final = b"l"
GO: Final = b"g"  # said by the supervisor: listen


class Line:
    """The line to the supervisor, whose end is the worker's end."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def checked(self) -> None:
        """Says that nothing speaks against serving: others may be started."""
        self._connection.send(CHECKED)

    async def wait(self, stop: asyncio.Event) -> None:
        """Says that this worker has warmed up, and returns when it may listen or is to stop.

        The first workers of a service listen at the same moment: the one that came first would get all connections.
        """
        reader, self._writer = await asyncio.open_unix_connection(sock=self._connection)
        go = asyncio.Event()
        self._listening = asyncio.create_task(self._hear(reader, go, stop))
        self._writer.write(WARM)
        waits = [asyncio.create_task(each.wait()) for each in (go, stop)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()

    def listens(self) -> None:
        """Says that this worker takes calls."""
        self._writer.write(LISTENING)

    def close(self) -> None:
        self._listening.cancel()
        self._writer.close()

    async def _hear(self, reader: asyncio.StreamReader, go: asyncio.Event, stop: asyncio.Event) -> None:
        with contextlib.suppress(ConnectionError):
            while heard := await reader.read(1):
                if heard == GO:
                    go.set()
        stop.set()  # the supervisor has gone, and with it whoever kept the port and would start this worker anew
