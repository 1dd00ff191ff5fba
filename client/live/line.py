"""The way of one live call to the service."""

from collections.abc import Callable
from dataclasses import replace

import grpc

from client.channel import ChannelSettings, open_aio_channel
from client.stubs import AioStubs
from preprocess_service.proto.wigeup.v1 import triage_pb2

Stream = grpc.aio.StreamStreamCall[triage_pb2.StreamRequest, triage_pb2.StreamResponse]


class Line:
    """The client's connection, until it turns out to be dead; then, or where there is none, one of the call's own."""

    def __init__(self, shared: Callable[[], AioStubs] | None, settings: ChannelSettings) -> None:
        self._shared, self._settings = shared, replace(settings, own_connection=True)
        self._own: grpc.aio.Channel | None = None

    def open(self) -> Stream:
        """A new stream; nothing has been sent on it."""
        if self._own is None and self._shared is not None:
            stubs = self._shared()
        else:
            self._own = self._own or open_aio_channel(self._settings)
            stubs = AioStubs(self._own)
        return stubs.triage.ClassifyStream(wait_for_ready=False)

    async def renew(self) -> None:
        """Leaves a connection that is open and silent: gRPC itself would find that out later."""
        await self.close()
        self._own = open_aio_channel(self._settings)

    async def close(self) -> None:
        """Ends the call's own connection, if it has one."""
        if self._own is not None:
            await self._own.close()
            self._own = None
