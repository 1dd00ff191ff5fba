"""The AudioSocket bridge's server, and the calls on it."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Final

from client.bridges.audiosocket.frames import (
    DTMF,
    ERROR,
    HANG_UP,
    RATES_HZ,
    UUID,
    BrokenProtocol,
    Message,
    name_of,
    read_message,
)
from client.bridges.audiosocket.options import AudioSocketOptions
from client.bridges.audiosocket.rate import RateConversion
from client.bridges.calls import Audio, BridgedCall, Transcript
from client.bridges.handover import HIGHEST_RATE_HZ, Arrivals, Inbox
from client.bridges.listening import written_address
from client.formats import AudioFormat
from client.results import CallUpdate

MOST_ODD = 100  # messages of one call
SAMPLE_BYTES: Final = 2
# Of a connection, before its sender must wait; the longest message has 64 KiB.
READ_LIMIT: Final = 1 << 16
LONGEST_CLOSING_S = 3.0

logger = logging.getLogger(__name__)


class AudioSocketCall:
    """One call at one rate, that of its first audio; see BridgedCall."""

    def __init__(self, call_id: str, rate_hz: int, writer: asyncio.StreamWriter, counts: Counter[str]) -> None:
        self.call_id = call_id
        self.format = AudioFormat.pcm16(min(rate_hz, HIGHEST_RATE_HZ))
        self.inbox = Inbox(self.format, counts)
        self._counts, self._writer = counts, writer
        self._conversion = RateConversion(self.format.sample_rate_hz)
        self._rate_hz = rate_hz

    @property
    def counts(self) -> Mapping[str, int]:
        """See BridgedCall."""
        return self._counts

    def events(self) -> AsyncIterator[Audio | Transcript]:
        """See BridgedCall."""
        return self.inbox.events()

    async def tell(self, _update: CallUpdate) -> None:
        """Nothing: what goes back to Asterisk is audio for the caller, or the end."""

    async def close(self) -> None:
        """Hangs up."""
        await hang_up(self._writer)

    def hear(self, data: bytes, rate_hz: int) -> None:
        """Takes audio at any rate."""
        if rate_hz != self._rate_hz:
            self._counts["rate_changes"] += 1
            self._rate_hz = rate_hz
        self._put(self._conversion.convert(data, rate_hz))

    def end(self, error: ConnectionError | None) -> None:
        """The hang-up; with `error` the far side broke the protocol."""
        self._put(self._conversion.flush())
        self.inbox.end(error)

    def _put(self, data: bytes) -> None:
        if data:
            self.inbox.put(Audio(data))


class AudioSocketBridge:
    """See Bridge; made by `open_bridge`."""

    def __init__(self, options: AudioSocketOptions) -> None:
        self._options = options
        self._arrivals = Arrivals()
        self._conversations: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Begins to listen; raises OSError where it cannot."""
        options = self._options
        self._server = await asyncio.start_server(self._greet, options.host, options.port, limit=READ_LIMIT)

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
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)
        self._arrivals.close()

    def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Takes a connection, or sends it away."""
        host = str((writer.get_extra_info("peername") or ("",))[0])
        refusal = self._refusal(host)
        if refusal:
            logger.warning("connection refused: %s", refusal, extra={"peer": host})
            writer.transport.abort()
            return
        conversation = Conversation(reader, writer, self._options, self._arrivals, host)
        task = asyncio.get_running_loop().create_task(conversation.run())
        self._conversations.add(task)
        task.add_done_callback(self._conversations.discard)

    def _refusal(self, host: str) -> str:
        if not host or not self._options.allows(host):
            return "its address is not among the allowed ones"
        if len(self._conversations) >= self._options.max_connections:
            return f"{self._options.max_connections} connections are open"
        return ""


class Conversation:
    """One connection from its beginning to its end."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        options: AudioSocketOptions,
        arrivals: Arrivals,
        peer: str,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._options, self._arrivals, self._peer = options, arrivals, peer
        self._counts: Counter[str] = Counter()
        self._call_id = ""
        self._call: AudioSocketCall | None = None

    async def run(self) -> None:
        """Listens until either side hangs up."""
        error: ConnectionError | None = None
        try:
            error = await self._listen()
        except Exception as fault:  # a bug here must not leave a call without an end
            logger.exception("conversation failed", extra=self._named)
            error = ConnectionError(f"the bridge failed: {fault!r}")
        finally:
            if self._call is not None:
                self._call.end(error)
            await hang_up(self._writer)

    @property
    def _named(self) -> dict[str, object]:
        return {"call_id": self._call_id, "peer": self._peer}

    async def _listen(self) -> ConnectionError | None:
        """Returns the far side's fault, None where there was none."""
        try:
            await self._until_hang_up()
        except BrokenProtocol as fault:
            logger.warning("connection closed: %s", fault, extra=self._named)
            return ConnectionError(str(fault))
        except TimeoutError:
            self._counts["idle_hangups"] += 1
            if self._call is None:
                logger.warning("connection closed: no call", extra=self._named)
        except OSError:
            self._counts["broken_connections"] += 1
        return None

    async def _until_hang_up(self) -> None:
        clock = asyncio.get_running_loop().time
        limit = clock() + self._options.first_message_s
        while True:
            if self._call is not None:
                limit = clock() + self._options.idle_s
            async with asyncio.timeout_at(limit):
                message = await read_message(self._reader)
            if message is None or message.kind == HANG_UP:
                return
            self._take(message)

    def _take(self, message: Message) -> None:
        """Takes a message; raises BrokenProtocol."""
        if not self._call_id:
            self._call_id = name_of(message)
        elif message.kind in RATES_HZ:
            self._hear(message.payload, RATES_HZ[message.kind])
        elif message.kind == DTMF:
            self._counts["dtmf_events"] += 1
        elif message.kind == ERROR:
            self._odd("error_messages")
        else:
            self._odd("repeated_uuids" if message.kind == UUID else "unknown_messages")

    def _hear(self, payload: bytes, rate_hz: int) -> None:
        if len(payload) % SAMPLE_BYTES:
            self._odd("incomplete_samples")
            payload = payload[:-1]
        if self._call is None:
            self._call = AudioSocketCall(self._call_id, rate_hz, self._writer, self._counts)
            self._arrivals.announce(self._call)
        self._call.hear(payload, rate_hz)

    def _odd(self, name: str) -> None:
        """Counts a message that should not come; raises BrokenProtocol for one too many."""
        self._counts[name] += 1
        odd = ("error_messages", "repeated_uuids", "unknown_messages", "incomplete_samples")
        if sum(self._counts[each] for each in odd) > MOST_ODD:
            raise BrokenProtocol(f"more than {MOST_ODD} messages that the protocol does not have there")


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Says so, that the dialplan may go on, and closes; a far side that does not read is cut off."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(LONGEST_CLOSING_S):
            if not writer.is_closing():
                writer.write(bytes(Message(HANG_UP)))
            writer.close()
            await writer.wait_closed()
            return
    writer.transport.abort()
