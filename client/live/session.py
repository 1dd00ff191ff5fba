"""The streams of one live call, one after the other until its summary has come."""

import asyncio
import contextlib
from collections.abc import Callable

import grpc

from client.bridges.calls import Audio
from client.errors import CallCancelled, ServiceUnavailable, TriageError, error_from_rpc
from client.live.ending import Ending
from client.live.history import History
from client.live.line import Line, Stream
from client.live.messages import resumed, stream_request
from client.live.options import DEFAULT_HOP_S, LiveOptions
from client.live.replay import Replay
from client.live.replies import call_summary, call_update
from client.live.retry import Retry
from client.live.watch import Watch
from client.results import CallSummary, CallUpdate
from preprocess_service.proto.wigeup.v1 import triage_pb2


class StalledConnection(ServiceUnavailable):
    """The connection is open, but nothing comes any more."""


class Session:
    """Sends what the replay holds and hands on every update once, in order; goes on over a new stream after a loss."""

    def __init__(
        self,
        line: Line,
        config: triage_pb2.StreamConfig,
        replay: Replay,
        options: LiveOptions,
        *,
        resume: bool,
        watch: Watch,
        hand_on: Callable[[CallUpdate], None],
    ) -> None:
        self._line, self._config, self._replay, self._options = line, config, replay, options
        self._resume, self._watch, self._hand_on = resume, watch, hand_on
        self._retry = Retry(options.reconnect_s, asyncio.get_running_loop().time)
        self._history = History()
        self._state: triage_pb2.CallState | None = None
        self._summary: CallSummary | None = None
        self._more = asyncio.Event()
        self._is_finishing = False
        self.reconnections = 0

    def wake(self) -> None:
        """The replay holds more."""
        self._more.set()

    def finish(self) -> None:
        """The replay will hold no more: the service is to send its summary."""
        self._is_finishing = True
        self._more.set()

    async def run(self) -> CallSummary:
        """Returns the summary of the whole call; raises the TriageError after which there is no going on."""
        while self._summary is None:
            try:
                await self._hold_stream()
            except TriageError as error:
                await self._recover(error)
        return self._summary

    async def _recover(self, error: TriageError) -> None:
        """Waits until it is time for another stream; raises the error where there is to be none."""
        self._watch.set(False, f"{error.status.name}: {error.message}")
        if not self._resume:
            raise error
        wait_s = self._retry.wait_after(error)
        if isinstance(error, StalledConnection):
            await self._line.renew()
        await asyncio.sleep(wait_s)
        self.reconnections += 1

    async def _hold_stream(self) -> None:
        """One stream from its configuration to its end, which is the summary or a TriageError."""
        stream = self._line.open()
        ending = Ending(stream)
        first = resumed(self._config, self._state, self._replay.rewind())
        sender = asyncio.create_task(self._send(stream, first))
        try:
            await self._receive(stream)
        except grpc.RpcError as error:
            raise (ending.error() or error_from_rpc(error)) from error
        finally:
            sender.cancel()
            stream.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _send(self, stream: Stream, first: triage_pb2.StreamRequest) -> None:
        # How the stream ended is told by what is read from it.
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
            await stream.write(first)
            while True:
                self._more.clear()
                while (message := self._replay.take()) is not None:
                    await stream.write(stream_request(*message))
                if self._is_finishing and not self._more.is_set():
                    await stream.done_writing()
                    return
                try:
                    await asyncio.wait_for(self._more.wait(), self._options.heartbeat_s)
                except TimeoutError:  # a source that pauses: the service ends calls of which it hears nothing
                    self._replay.add(Audio(b""))

    async def _receive(self, stream: Stream) -> None:
        has_answered = False
        while self._summary is None:
            self._take(await self._next(stream, has_answered))
            has_answered = True

    async def _next(self, stream: Stream, has_answered: bool) -> triage_pb2.StreamResponse:
        reader = asyncio.ensure_future(stream.read())
        silent_s, step_s = 0.0, min(self._options.stale_s, self._options.stalled_s)
        try:
            while not (await asyncio.wait({reader}, timeout=step_s))[0]:
                silent_s += step_s
                self._judge_silence(silent_s, has_answered)
            if reader.cancelled():
                raise CallCancelled("the connection was closed")
            response = reader.result()
        finally:
            reader.cancel()
        if not isinstance(response, triage_pb2.StreamResponse):
            raise ServiceUnavailable("the service ended the stream without a summary")
        return response

    def _judge_silence(self, silent_s: float, has_answered: bool) -> None:
        """Silence is a fault only where an update or the summary is due; before its first a model may be loaded."""
        hop_s = self._config.hop_s or DEFAULT_HOP_S
        if self._replay.uncovered_s < 1.5 * hop_s and not self._is_finishing:
            return
        self._watch.set(False, f"no update for {silent_s:g} s")
        if (has_answered and silent_s >= self._options.stalled_s) or self._retry.is_over:
            raise StalledConnection(f"no answer for {silent_s:g} s")

    def _take(self, response: triage_pb2.StreamResponse) -> None:
        if response.HasField("summary"):
            self._summary = self._history.complete(call_summary(response.summary))
            return
        if not response.HasField("update"):
            return  # a newer service may say more
        update = call_update(response.update)
        if not self._history.add(update):
            return
        self._retry.succeed()
        self._state = response.update.state
        self._replay.cover(update.state.position_frames)
        self._hand_on(update)
        self._watch.set(update.monitored, "a model answers" if update.monitored else "no model answers")
