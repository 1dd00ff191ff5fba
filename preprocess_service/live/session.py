"""One stream of a live call: the responses that wait to be sent, and whether its caller is still there."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Final

from preprocess_service.admission import Priority
from preprocess_service.errors import TriageError
from preprocess_service.live import translation
from preprocess_service.live.call import LiveCall
from preprocess_service.proto.wigeup.v1 import triage_pb2 as pb
from preprocess_service.repository import ServedModel

MOST_PENDING_S: Final = 15.0  # of a call's audio; its stream is not read meanwhile, and gRPC slows the sender
MOST_UPDATES: Final = 64  # that a caller has not taken; nothing more of the call is judged meanwhile


class Session:
    """A call, and what goes back of it; used from one event loop."""

    def __init__(self, call: LiveCall) -> None:
        self.call = call
        self.served: ServedModel | None = None  # what answered last, or would answer first
        self.responses: asyncio.Queue[pb.StreamResponse | TriageError] = asyncio.Queue()
        self.is_scheduled = False
        self.is_open = True  # more of it can be judged
        self.error: TriageError | None = None  # what the stream ends with, ...
        self.failed = asyncio.Event()  # ... once there is something
        self._untaken = 0
        self._heard_at = self._taken_at = math.inf
        self._waits_for_room = False
        self._room = asyncio.Event()

    @property
    def batch_key(self) -> tuple[str, str]:
        return self.call.config.model, self.call.config.model_version

    @property
    def priority(self) -> Priority:
        return self.call.config.priority

    @property
    def due_at(self) -> float:
        return self.call.due_at

    @property
    def can_be_judged(self) -> bool:
        return self.is_open and not self.is_scheduled and self.call.is_due and self._untaken < MOST_UPDATES

    @property
    def idle_since(self) -> float:
        """By `time.monotonic`, since when the caller has owed a message or has not taken one; else infinite.

        A caller owes none before anybody listens (a model may have to be loaded first), nor while the service is behind
        with its own work, nor after the half-close.
        """
        if self._untaken:
            return self._taken_at
        return math.inf if self._waits_for_room or self.call.has_finished else self._heard_at

    def listen(self) -> None:
        """The caller has been heard, or can be from now on."""
        self._heard_at = time.monotonic()

    def answer(self, response: pb.StreamResponse) -> None:
        """Puts a response behind those that wait."""
        if not self._untaken:
            self._taken_at = time.monotonic()
        self._untaken += 1
        self.responses.put_nowait(response)

    def taken(self) -> None:
        """A response has left."""
        self._untaken -= 1
        self._taken_at = time.monotonic()

    async def room(self) -> None:
        """Waits until more of the call's audio may come; where nothing is due, only more audio leads on."""
        while self.is_open and self.call.is_due and self.call.pending_s > MOST_PENDING_S:
            self._waits_for_room = True
            self._room.clear()
            await self._room.wait()
            self.listen()
        self._waits_for_room = False

    def make_room(self) -> None:
        """Some of the call's audio has been taken in."""
        self._room.set()

    def conclude(self) -> None:
        """Ends the stream with the call's summary if all of it is known."""
        if self.is_open and self.call.is_complete:
            self.is_open = False
            self.answer(translation.summary_message(self.call, self.served))

    def fail(self, error: TriageError) -> None:
        """Ends the stream with that error, after what its caller still takes."""
        if self.error is None:
            self.is_open, self.error = False, error
            self.responses.put_nowait(error)
            self.failed.set()
            self._room.set()
