"""The WebSocket bridge's server: one port, every dialect."""

import logging
import ssl
from collections.abc import AsyncIterator
from http import HTTPStatus

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from client.bridges.calls import BridgedCall
from client.bridges.handover import Arrivals
from client.bridges.listening import written_address
from client.bridges.websocket.conversation import Conversation, peer_of
from client.bridges.websocket.door import Door, subprotocol_of
from client.bridges.websocket.options import WebSocketOptions

LONGEST_CLOSING_S = 3.0
QUEUED_FRAMES = 4  # of a connection, before its sender must wait

logger = logging.getLogger(__name__)
# Of the library: it must never log messages, which hold audio, or addresses, which may hold the token.
_protocol_logger = logging.getLogger(f"{__name__}.protocol")
_protocol_logger.setLevel(logging.CRITICAL)


class WebSocketBridge:
    """See Bridge; made by `open_bridge`."""

    def __init__(self, options: WebSocketOptions) -> None:
        self._options = options
        self._door = Door(options.token)
        self._arrivals = Arrivals()
        self._connections: set[ServerConnection] = set()
        self._server: Server | None = None

    async def open(self) -> None:
        """Begins to listen; raises OSError where it cannot, or a certificate cannot be read."""
        options = self._options
        self._server = await serve(
            self._converse,
            options.host,
            options.port,
            select_subprotocol=subprotocol_of,
            compression=None,  # of no use for audio
            process_request=self._refuse,
            server_header=None,
            open_timeout=options.first_message_s,
            ping_interval=options.ping_s,
            ping_timeout=options.ping_s,
            close_timeout=LONGEST_CLOSING_S,
            max_size=options.max_message_bytes,
            max_queue=QUEUED_FRAMES,
            logger=_protocol_logger,
            ssl=_tls(options),
        )

    @property
    def address(self) -> str:
        """See Bridge."""
        assert self._server is not None  # noqa: S101 - narrows the type: open_bridge opens it
        return written_address(self._server.sockets[0].getsockname())

    def calls(self) -> AsyncIterator[BridgedCall]:
        """See Bridge."""
        return self._arrivals.calls()

    async def close(self) -> None:
        """See Bridge."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        self._arrivals.close()

    def _refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        refusal = self._door.refusal(request)
        if refusal is None and len(self._connections) >= self._options.max_connections:
            refusal = HTTPStatus.SERVICE_UNAVAILABLE, f"{self._options.max_connections} connections are open\n"
        if refusal is None:
            return None
        status, rule = refusal
        logger.warning("connection refused", extra={"peer": peer_of(connection), "status": int(status)})
        return connection.respond(status, rule)

    async def _converse(self, connection: ServerConnection) -> None:
        self._connections.add(connection)
        try:
            await Conversation(connection, self._options, self._door, self._arrivals).run()
        finally:
            self._connections.discard(connection)


def _tls(options: WebSocketOptions) -> ssl.SSLContext | None:
    if options.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(options.certificate, options.key)
    return context
