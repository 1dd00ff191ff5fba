"""A call that is judged while it goes on, whatever becomes of its connections."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from client.bridges.calls import Audio, Transcript
from client.errors import CallCancelled, ServiceFailure, TriageError
from client.formats import AudioFormat
from client.live.gathering import Gathering, frame_bytes_of
from client.live.line import Line
from client.live.messages import check_transcript
from client.live.options import LiveOptions
from client.live.replay import Replay
from client.live.session import Session
from client.live.watch import OnMonitored, Watch
from client.results import CallSummary, CallUpdate
from preprocess_service.proto.wigeup.v1 import triage_pb2

MOST_UNREAD = 1000  # updates that are kept for whoever reads them: a quarter of an hour at one a second


class LiveCall:
    """One call; made by `AsyncTriageClient.live_call`, used as an asynchronous context manager, in one event loop.

    Send with `send_audio` or `offer_audio` and `send_transcript`, read updates with `async for`, end with `finish`.
    Over a lost connection the call goes on by itself: the numbers of its updates have no gap and none comes twice.
    Meanwhile `monitored` is False, which means that nobody watches, not that all is well.

    Updates that nobody reads are kept up to MOST_UNREAD, the newest ones, since each says all that is known of the call
    then; `unread_updates` counts those that gave way.
    """

    def __init__(
        self,
        line: Line,
        config: triage_pb2.StreamConfig,
        audio_format: AudioFormat,
        options: LiveOptions,
        *,
        resume: bool = True,
        on_monitored: OnMonitored | None = None,
    ) -> None:
        """`on_monitored` hears every change of `monitored`, with the reason in words. Raises InvalidRequest."""
        self._line, self._options = line, options
        self._gathering = Gathering(audio_format, options.piece_s)
        self._replay = Replay(
            audio_format.sample_rate_hz, frame_bytes_of(audio_format), options.window_s, options.words_s
        )
        self._watch = Watch(on_monitored)
        self._session = Session(
            line, config, self._replay, options, resume=resume, watch=self._watch, hand_on=self._hand_on
        )
        self._rate_hz, self._channels = audio_format.sample_rate_hz, max(1, audio_format.channels)
        self._updates: asyncio.Queue[CallUpdate | None] = asyncio.Queue()
        self._room, self._ended = asyncio.Event(), asyncio.Event()
        self._flush_timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_finishing = False
        self._summary: CallSummary | None = None
        self._failure: TriageError | None = None
        self._unreported_frames = 0
        self.dropped_frames = 0
        self.unread_updates = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._live())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[CallUpdate]:
        return self

    async def __anext__(self) -> CallUpdate:
        """The next update; ends after the summary or `close`. Raises the TriageError that ended the call."""
        update = await self._updates.get()
        if update is not None:
            return update
        self._updates.put_nowait(None)  # for whoever asks once more
        if self._failure is not None and not isinstance(self._failure, CallClosed):
            raise self._failure
        raise StopAsyncIteration

    @property
    def monitored(self) -> bool:
        """Whether the service watches the call now: it is connected, and a model has answered lately."""
        return self._watch.monitored

    @property
    def reconnections(self) -> int:
        """Streams that were opened after the first."""
        return self._session.reconnections

    @property
    def backlog_s(self) -> float:
        """Seconds of audio that no update has covered yet."""
        return self._replay.uncovered_s + self._gathering.pending_frames / self._rate_hz

    async def send_audio(self, data: bytes, lost_frames: int = 0, concealed_frames: int = 0) -> None:
        """Takes whole frames; waits while more than the buffer is not covered by an update.

        `lost_frames` never came and lie before `data`; `concealed_frames` of `data` were made up. Raises
        InvalidRequest for audio that breaks these rules, and the TriageError that ended the call.
        """
        while not self._has_room and not self._ended.is_set():
            self._room.clear()
            await self._room.wait()
        self._take(Audio(data, lost_frames, concealed_frames))

    def offer_audio(self, data: bytes, lost_frames: int = 0, concealed_frames: int = 0) -> bool:
        """As `send_audio`, but never waits: False for audio that was dropped since there is no room.

        What was dropped counts in `dropped_frames` and goes as lost before the next audio that is taken: time does not
        slip.
        """
        self._check_open()
        if self._has_room:
            self._take(Audio(data, lost_frames, concealed_frames))
            return True
        frames = self._gathering.frames_of(Audio(data, lost_frames, concealed_frames))
        self.dropped_frames += frames
        self._unreported_frames += frames + lost_frames
        return False

    def send_transcript(self, transcript: Transcript) -> None:
        """Takes a recogniser's event; never waits.

        Raises InvalidRequest for one that no service takes, and the TriageError that ended the call.
        """
        self._check_open()
        check_transcript(transcript, self._channels)
        self._flush()
        self._replay.add(transcript)
        self._session.wake()

    async def finish(self) -> CallSummary:
        """Says that the call has ended, and waits for its summary. Raises the TriageError that ended the call."""
        if not self._is_finishing:
            self._take(Audio(b""))  # what was dropped last is told, too
            self._flush()
            self._is_finishing = True
            self._session.finish()
        await self._ended.wait()
        if self._summary is None:
            raise self._failure or CallClosed("the call is closed")
        return self._summary

    async def close(self) -> None:
        """Ends the call at once, without a summary where none has come."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._end(CallClosed("the call is closed"))
        await self._line.close()

    @property
    def _has_room(self) -> bool:
        return self.backlog_s <= self._options.buffer_s

    def _check_open(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._task is None:
            raise RuntimeError("the call has not begun: use async with")
        if self._is_finishing:
            raise RuntimeError("the call is finished")

    def _take(self, audio: Audio) -> None:
        self._check_open()
        lost_frames = audio.lost_frames + self._unreported_frames
        self._keep(self._gathering.add(Audio(audio.data, lost_frames, audio.concealed_frames)))
        self._unreported_frames = 0
        if self._gathering.pending_frames and self._flush_timer is None:
            wait_s = 2 * self._options.piece_s
            self._flush_timer = asyncio.get_running_loop().call_later(wait_s, self._flush)

    def _flush(self) -> None:
        """What has been gathered goes out, however little it is."""
        self._keep(self._gathering.flush())

    def _keep(self, messages: list[Audio]) -> None:
        for message in messages:
            self._replay.add(message)
        if not self._gathering.pending_frames and self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if messages:
            self._session.wake()

    def _hand_on(self, update: CallUpdate) -> None:
        if self._updates.qsize() >= MOST_UNREAD:
            self._updates.get_nowait()
            self.unread_updates += 1
        self._updates.put_nowait(update)
        self._room.set()

    async def _live(self) -> None:
        try:
            self._summary = await self._session.run()
            self._end(None)
        except TriageError as error:
            self._end(error)
        except (
            Exception
        ) as error:  # such as a client that was closed meanwhile: whoever waits for the call must learn it
            failure = ServiceFailure(f"the call cannot go on: {error}")
            failure.__cause__ = error
            self._end(failure)

    def _end(self, failure: TriageError | None) -> None:
        if self._ended.is_set():
            return
        self._failure = failure
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        self._ended.set()
        self._room.set()
        self._updates.put_nowait(None)
        if failure is not None and not isinstance(failure, CallClosed):
            self._watch.set(False, failure.message)
        self._watch.end()


class CallClosed(CallCancelled):
    """The call was closed here."""
