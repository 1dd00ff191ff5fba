"""A live call for callers without an event loop."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator

from client.bridges.calls import Audio, Transcript
from client.live.call import LiveCall
from client.live.pulling import pulled
from client.results import CallSummary, CallUpdate

Chunk = bytes | Audio | Transcript
Found = CallUpdate | CallSummary
MOST_AHEAD = 16  # updates that wait here for the caller; more of them wait in the call, which bounds them


class BlockingCall:
    """Holds one call in a thread with an event loop of its own."""

    def __init__(self, chunks: Iterable[Chunk], open_call: Callable[[], LiveCall]) -> None:
        """`open_call` is called in that loop; it may raise."""
        self._chunks, self._open_call = chunks, open_call
        self._found: queue.SimpleQueue[Found | BaseException | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._room = asyncio.Semaphore(MOST_AHEAD)

    def found(self) -> Iterator[Found]:
        """Updates as they come, the summary last; raises TriageError, and whatever reading the chunks raised."""
        thread = threading.Thread(target=self._run, name="live-call", daemon=True)
        thread.start()
        try:
            while (found := self._found.get()) is not None:
                if isinstance(found, BaseException):
                    raise found
                yield found
                self._call_soon(self._room.release)
        finally:
            self._stop()
            thread.join()

    def _stop(self) -> None:
        if self._task is not None:
            self._call_soon(self._task.cancel)

    def _call_soon(self, callback: Callable[[], object]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(callback)

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # nobody wants any more
            asyncio.run(self._hold())

    async def _hold(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            async with self._open_call() as call:
                reading = asyncio.create_task(self._read(call))
                try:
                    await self._play(call, reading)
                    summary = await call.finish()
                    await reading
                finally:
                    reading.cancel()
            self._found.put(summary)
        except Exception as error:  # raised again in the caller's thread
            self._found.put(error)
        finally:
            self._found.put(None)

    async def _read(self, call: LiveCall) -> None:
        async for update in call:
            await self._room.acquire()
            self._found.put(update)

    async def _play(self, call: LiveCall, reading: "asyncio.Task[None]") -> None:
        """Sends the chunks; ends with the call where that fails, whatever the chunks do."""
        sending = asyncio.create_task(_send_all(self._chunks, call))
        try:
            await asyncio.wait({sending, reading}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            sending.cancel()


async def _send_all(chunks: Iterable[Chunk], call: LiveCall) -> None:
    async for chunk in pulled(chunks):
        if isinstance(chunk, Transcript):
            call.send_transcript(chunk)
        elif isinstance(chunk, Audio):
            await call.send_audio(chunk.data, chunk.lost_frames, chunk.concealed_frames)
        else:
            await call.send_audio(chunk)
