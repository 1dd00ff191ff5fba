"""Connects a bridge to the service: every call that comes in becomes a live call, and what is found of it a line."""

import asyncio
import contextlib
import datetime
import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from client.aio import AsyncTriageClient
from client.bridges.calls import Audio, Bridge, BridgedCall, Transcript
from client.errors import TriageError
from client.formats import Priority
from client.live.call import LiveCall
from client.live.options import LiveOptions
from client.results import CallSummary, CallUpdate

logger = logging.getLogger(__name__)

Write = Callable[[Mapping[str, object]], None]
# A call cannot be judged later: as long as it goes on, its service may come back.
FOR_THE_WHOLE_CALL = LiveOptions(reconnect_s=24 * 3600)
LONGEST_TELLING_S = 5.0


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """What the service is asked for each call; `max_calls` at once, and `grace_s` for their summaries at the end.

    With `updates` every update becomes a line, else only changes.
    """

    model: str = ""
    model_version: str = ""
    priority: Priority = Priority.NORMAL
    hop_s: float = 0.0
    max_calls: int = 256
    updates: bool = False
    grace_s: float = 10.0
    options: LiveOptions = FOR_THE_WHOLE_CALL


class Runner:
    """Holds the calls of one bridge; never lets a call's source wait for the service."""

    def __init__(self, client: AsyncTriageClient, settings: RunnerSettings, write: Write) -> None:
        """`write` takes one document an event: `time`, `event`, `call_id` and what belongs to the event."""
        self._client, self._settings, self._write = client, settings, write
        self._calls: set[asyncio.Task[None]] = set()
        self._refused: set[asyncio.Task[None]] = set()

    async def run(self, bridge: Bridge, stop: asyncio.Event) -> None:
        """Takes calls until the bridge ends or `stop` is set; then ends those under way, with their summaries."""
        accepting = asyncio.create_task(self._accept(bridge))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            await bridge.close()
            await self._end(accepting)

    async def _accept(self, bridge: Bridge) -> None:
        async for call in bridge.calls():
            is_full = len(self._calls) >= self._settings.max_calls
            tasks = self._refused if is_full else self._calls
            task = asyncio.create_task(self._refuse(call) if is_full else self._hold(call))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _end(self, accepting: asyncio.Task[None]) -> None:
        """Waits for what was begun, then cancels it; raises what ended the bridge, if anything did."""
        begun = {accepting, *self._calls}
        _, late = await asyncio.wait(begun, timeout=self._settings.grace_s)
        for task in (*late, *self._refused):
            task.cancel()
        await asyncio.gather(*late, *self._refused, return_exceptions=True)
        if not accepting.cancelled() and (error := accepting.exception()) is not None:
            raise error

    async def _refuse(self, call: BridgedCall) -> None:
        """A call too many is closed where the bridge can do that; else nobody listens to it until it ends."""
        self._log("call_refused", call, reason=f"{self._settings.max_calls} calls are under way")
        close = getattr(call, "close", None)
        if close is not None:
            closing = close()
            if inspect.isawaitable(closing):
                await closing
            return
        with contextlib.suppress(ConnectionError):
            async for _ in call.events():
                pass

    async def _hold(self, call: BridgedCall) -> None:
        """One call from its beginning to its hang-up; whatever fails ends only this call."""
        self._log("call_started", call, format=_format_of(call))
        held = _Held()
        try:
            async with self._live_call(call) as live:
                telling = asyncio.create_task(self._tell(call, live))
                try:
                    await self._listen(call, live, held)
                    held.summary = await live.finish()
                    await telling
                finally:
                    telling.cancel()
                    held.note(live)
        except TriageError as error:
            held.error = error.to_dict()
        except asyncio.CancelledError:
            held.error = {"status": "CANCELLED", "message": "the bridge was stopped"}
            raise
        except Exception as error:
            logger.exception("bridged call failed", extra={"call_id": call.call_id})
            held.error = {"status": "INTERNAL", "message": repr(error)}
        finally:
            self._log("call_ended", call, **held.to_dict(), counts=dict(call.counts))

    def _live_call(self, call: BridgedCall) -> LiveCall:
        settings = self._settings

        def on_monitored(monitored: bool, reason: str) -> None:
            self._log("monitored" if monitored else "not_monitored", call, reason=reason)

        return self._client.live_call(
            format=call.format,
            call_id=call.call_id,
            model=settings.model,
            model_version=settings.model_version,
            priority=settings.priority,
            hop_s=settings.hop_s,
            options=settings.options,
            on_monitored=on_monitored,
        )

    async def _listen(self, call: BridgedCall, live: LiveCall, held: "_Held") -> None:
        """Passes on all that comes until the hang-up; once the live call has failed, to nobody."""
        try:
            async for event in call.events():
                try:
                    _pass_on(event, live)
                except TriageError as error:
                    held.refused += 1
                    held.refusal = held.refusal or error.to_dict()
        except ConnectionError as error:
            held.broken = str(error)

    async def _tell(self, call: BridgedCall, live: LiveCall) -> None:
        """Writes what changes and tells the far side; a far side that does not listen is no reason to stop."""
        with contextlib.suppress(TriageError):  # `finish` raises it, too
            raised = False
            async for update in live:
                if self._settings.updates:
                    self._log("update", call, update=update.to_dict())
                if update.raised != raised:
                    raised = update.raised
                    self._log("alert_raised" if raised else "alert_cleared", call, **_alert_of(update))
                await self._tell_far_side(call, update)

    async def _tell_far_side(self, call: BridgedCall, update: CallUpdate) -> None:
        try:
            await asyncio.wait_for(call.tell(update), LONGEST_TELLING_S)
        except (OSError, TimeoutError) as error:
            logger.warning("far side not told: %s", error, extra={"call_id": call.call_id, "update": update.number})

    def _log(self, event: str, call: BridgedCall, **what: object) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        self._write({"time": now, "event": event, "call_id": call.call_id, **what})


@dataclass(slots=True)
class _Held:
    """What became of one call."""

    summary: CallSummary | None = None
    error: dict[str, object] | None = None
    broken: str = ""  # the protocol, by the far side
    refused: int = 0  # events that the live call did not take
    refusal: dict[str, object] | None = None
    dropped_frames: int = 0
    reconnections: int = 0

    def note(self, live: LiveCall) -> None:
        """Counts of a live call that has ended."""
        self.dropped_frames, self.reconnections = live.dropped_frames, live.reconnections

    def to_dict(self) -> dict[str, object]:
        """What JSON is to hold: faults only where there were some."""
        faults = {"error": self.error, "broken": self.broken, "refused": self.refused, "refusal": self.refusal}
        return {
            "summary": None if self.summary is None else self.summary.to_dict(),
            "dropped_frames": self.dropped_frames,
            "reconnections": self.reconnections,
            **{name: value for name, value in faults.items() if value},
        }


def _pass_on(event: Audio | Transcript, live: LiveCall) -> None:
    if isinstance(event, Transcript):
        live.send_transcript(event)
    else:
        live.offer_audio(event.data, event.lost_frames, event.concealed_frames)


def _alert_of(update: CallUpdate) -> dict[str, object]:
    return {
        "update": update.number,
        "covered_s": update.covered_s,
        "smoothed": update.smoothed,
        "kinds": [kind.to_dict() for kind in update.caller.kinds],
    }


def _format_of(call: BridgedCall) -> dict[str, object]:
    return {**asdict(call.format), "encoding": call.format.encoding.name.lower()}
