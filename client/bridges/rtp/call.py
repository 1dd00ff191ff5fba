"""One call that comes in over RTP."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping

from client.bridges.calls import Audio, Transcript
from client.bridges.rtp.audio_queue import AudioQueue
from client.bridges.rtp.candidates import Arrived
from client.bridges.rtp.options import RtpOptions
from client.bridges.rtp.packet import Packet
from client.bridges.rtp.payloads import Payload
from client.bridges.rtp.receiver import Patience, Piece, Receiver
from client.bridges.rtp.sockets import Source
from client.formats import AudioFormat
from client.results import CallUpdate


class RtpCall:
    """A BridgedCall: gives a stream's packets their time, and notices when they stop."""

    def __init__(
        self, call_id: str, source: Source, first: Payload, options: RtpOptions, on_end: Callable[["RtpCall"], None]
    ) -> None:
        """`on_end` hears once that the call is over, by a goodbye or by silence on the line."""
        self._call_id, self.source = call_id, source
        self._options, self._on_end = options, on_end
        patience = Patience(options.reorder_s, options.conceal_s, max(options.idle_s, options.pause_s))
        self._receiver = Receiver(first, options.payloads, patience)
        self._queue = AudioQueue(self._receiver.format, options.queue_s)
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.TimerHandle | None = None
        self.last_packet_s = self._loop.time()
        self._listening = self._loop.call_later(options.idle_s, self._listen)
        self._has_ended = False
        self.observed: Counter[str] = Counter({"foreign": 0, "stray": 0, "unreadable": 0})

    @property
    def call_id(self) -> str:
        """As the option says, `rtp-SSRC-SOURCE` by default."""
        return self._call_id

    @property
    def format(self) -> AudioFormat:
        """That of the first packet."""
        return self._receiver.format

    @property
    def counts(self) -> Mapping[str, int]:
        """By name, as the README explains them."""
        counts = self._receiver.counts
        counts["malformed"] += self.observed["unreadable"]
        for name in ("foreign", "stray"):
            counts[name] = self.observed[name]
        counts["dropped_frames"] = self._queue.dropped_frames
        return counts

    def events(self) -> AsyncIterator[Audio | Transcript]:
        """The call's audio up to its end; for one reader."""
        return self._queue.pieces()

    async def tell(self, update: CallUpdate) -> None:
        """Does nothing: RTP has no way back for it."""

    def take(self, packet: Packet, arrival_s: float) -> None:
        """Takes a packet of the stream that the call follows."""
        if self._has_ended:
            return
        self.last_packet_s = arrival_s
        self._put(self._receiver.receive(packet, arrival_s))

    def follow(self, heard: list[Arrived]) -> None:
        """Goes on with another stream, that of these packets."""
        self._put(self._receiver.change_stream())
        for packet, arrival_s in heard:
            self.take(packet, arrival_s)

    def say_goodbye(self) -> None:
        """Ends the call after the wait for packets that the goodbye may have overtaken."""
        self._loop.call_later(self._options.reorder_s, self.end)

    def end(self) -> None:
        """Hands out what is held, and ends; once is enough."""
        if self._has_ended:
            return
        self._put(self._receiver.flush())
        self._has_ended = True
        self._listening.cancel()
        if self._waiting is not None:
            self._waiting.cancel()
        self._queue.close()
        self._on_end(self)

    def _put(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            self._queue.put(piece)
        deadline_s = self._receiver.deadline_s
        if deadline_s is not None and self._waiting is None:
            self._waiting = self._loop.call_at(deadline_s, self._expire)

    def _expire(self) -> None:
        self._waiting = None
        self._put(self._receiver.expire(self._loop.time()))

    def _listen(self) -> None:
        """Ends the call when nothing has come for long enough, else looks again when that may be so."""
        patience_s = self._options.idle_s
        if self._receiver.is_pausing:
            patience_s = max(patience_s, self._options.pause_s)
        ends_at_s = self.last_packet_s + patience_s
        if self._loop.time() >= ends_at_s:
            self.end()
        else:
            self._listening = self._loop.call_at(ends_at_s, self._listen)
