"""One connection of the WebSocket bridge, and the call on it."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

from client.bridges.calls import Audio, Transcript
from client.bridges.handover import Arrivals, Inbox, printable_id
from client.bridges.websocket.dialects import DIALECTS
from client.bridges.websocket.dialects.messages import (
    POLICY_VIOLATION,
    Dialect,
    DialectSettings,
    Event,
    Malformed,
    Start,
    Stop,
)
from client.bridges.websocket.door import Door, credentials_of, path_of, query_of
from client.bridges.websocket.options import WebSocketOptions
from client.results import CallUpdate

NORMAL_CLOSURE, TRY_AGAIN_LATER = 1000, 1013
MOST_MALFORMED = 10  # messages of one call
LONGEST_REASON = 120  # bytes; a close frame has room for 123
TELLING_S = 2.0

logger = logging.getLogger(__name__)


class WebSocketCall:
    """One call; see BridgedCall."""

    def __init__(self, start: Start, connection: ServerConnection, dialect: Dialect, counts: Counter[str]) -> None:
        self.call_id, self.format = printable_id(start.call_id), start.format
        self._connection, self._dialect, self._counts = connection, dialect, counts
        self.inbox = Inbox(start.format, counts)
        self._told: tuple[str, bool] | None = None

    @property
    def counts(self) -> Mapping[str, int]:
        """See BridgedCall."""
        return self._counts

    def events(self) -> AsyncIterator[Audio | Transcript]:
        """See BridgedCall."""
        return self.inbox.events()

    async def tell(self, update: CallUpdate) -> None:
        """Sends what the dialect has for it when the alert or whether anybody watches has changed; else nothing."""
        news = (update.alert, update.monitored)
        message = None if news == self._told else self._dialect.alert(update)
        if message is None:
            return
        try:
            async with asyncio.timeout(TELLING_S):
                await self._connection.send(message)
        except (ConnectionClosed, TimeoutError):
            self._counts["untold_updates"] += 1
            return
        self._told = news

    async def close(self) -> None:
        """Sends the call away, to come again later."""
        await self._connection.close(TRY_AGAIN_LATER, "too many calls")


class Conversation:
    """One connection from its handshake to its end."""

    def __init__(self, connection: ServerConnection, options: WebSocketOptions, door: Door, arrivals: Arrivals) -> None:
        request = connection.request
        assert request is not None  # noqa: S101 - narrows the type: the handshake is over
        self._connection, self._options, self._door, self._arrivals = connection, options, door, arrivals
        self._is_let_in = door.fits(credentials_of(request))
        self._counts: Counter[str] = Counter()
        settings = DialectSettings(
            query=query_of(request),
            rate_hz=options.rate_hz,
            channels=options.channels,
            is_l16_big_endian=options.is_telnyx_l16_big_endian,
            tell_by_mark=options.tell_by_mark,
        )
        self._dialect = DIALECTS[path_of(request)](settings, self._counts)
        self._call: WebSocketCall | None = None

    async def run(self) -> None:
        """Listens until either side hangs up."""
        error: ConnectionError | None = None
        try:
            error = await self._listen()
        except Exception as fault:  # a bug here must not leave a call without an end
            logger.exception("conversation failed", extra=self._named)
            error = ConnectionError(f"the bridge failed: {fault!r}")
        finally:
            self._finish(error)

    def _finish(self, error: ConnectionError | None) -> None:
        """The end of the call, after what the dialect has held back."""
        try:
            for event in self._dialect.flush():
                if not isinstance(event, Stop):
                    self._take(event)
        except Malformed:
            return  # a call that would only begin here and has no token
        if self._call is not None:
            self._call.inbox.end(error)

    @property
    def _named(self) -> dict[str, object]:
        return {"call_id": self._call.call_id if self._call else "", "peer": peer_of(self._connection)}

    async def _listen(self) -> ConnectionError | None:
        """Returns the far side's fault, None where there was none."""
        try:
            await self._until_stop()
        except Malformed as fault:
            logger.warning("connection closed: %s", fault, extra=self._named)
            await self._hang_up(fault.code, str(fault))
            return ConnectionError(str(fault))
        except TimeoutError:
            await self._time_out()
        except ConnectionClosedError as closed:
            self._counts["broken_connections"] += 1
            if closed.sent is not None and closed.rcvd is None:  # closed from here, for a frame against RFC 6455
                return ConnectionError(f"WebSocket: {closed.sent.reason or closed.sent.code}")
        except ConnectionClosed:
            pass
        else:
            await self._hang_up(NORMAL_CLOSURE)
        return None

    async def _until_stop(self) -> None:
        limit = asyncio.get_running_loop().time() + self._options.first_message_s
        while True:
            if self._call is not None:
                limit = asyncio.get_running_loop().time() + self._options.idle_s
            async with asyncio.timeout_at(limit):
                message = await self._connection.recv()
            for event in self._read(message):
                if isinstance(event, Stop):
                    return
                self._take(event)

    def _read(self, message: str | bytes) -> tuple[Event, ...]:
        """What a message says; raises Malformed for one too many that says nothing."""
        try:
            return tuple(self._dialect.read(message))
        except Malformed as fault:
            self._counts["malformed_messages"] += 1
            if self._call is None or self._counts["malformed_messages"] > MOST_MALFORMED:
                raise
            logger.info("malformed message: %s", fault, extra=self._named)
            return ()

    def _take(self, event: Start | Audio) -> None:
        if isinstance(event, Audio):
            assert self._call is not None  # noqa: S101 - narrows the type: every dialect starts before its audio
            self._call.inbox.put(event)
            return
        if not (self._is_let_in or self._door.fits([event.token] if event.token else [])):
            raise Malformed("no token, or a wrong one", POLICY_VIOLATION)
        self._call = WebSocketCall(event, self._connection, self._dialect, self._counts)
        self._arrivals.announce(self._call)

    async def _time_out(self) -> None:
        if self._call is None:
            rule = f"no call after {self._options.first_message_s:g} s"
            logger.warning("connection closed: %s", rule, extra=self._named)
            await self._hang_up(POLICY_VIOLATION, rule)
            return
        self._counts["idle_hangups"] += 1
        await self._hang_up(NORMAL_CLOSURE, f"nothing for {self._options.idle_s:g} s")

    async def _hang_up(self, code: int, reason: str = "") -> None:
        """Closes; reads on meanwhile, since the far side's answer may stand behind much that it has sent."""
        fitting = reason.encode()[:LONGEST_REASON].decode(errors="ignore")
        closing = asyncio.create_task(self._connection.close(code, fitting))
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._connection.recv()
        await closing


def peer_of(connection: ServerConnection) -> str:
    """The far side's address, as far as it is known."""
    address = connection.remote_address
    return str(address[0]) if address else ""
