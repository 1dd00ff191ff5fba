"""All live calls: their admission, their judgement in batches, and the updates that go back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preprocess_service.admission import Priority
from preprocess_service.catalogue import Catalogue
from preprocess_service.deadline import Deadline
from preprocess_service.errors import (
    CallIdle,
    InvalidRequest,
    JudgementFailed,
    ModelNotFound,
    NotServed,
    Overloaded,
    Stopping,
    TriageError,
)
from preprocess_service.live import translation
from preprocess_service.live.call import Answer, CallConfig, Hop, LiveCall, Window
from preprocess_service.live.schedule import Schedule
from preprocess_service.live.session import Session
from preprocess_service.logs import call_id_in_logs
from preprocess_service.model_spec import ModelSpec
from preprocess_service.preparation import SHORT_CHARS
from preprocess_service.proto.wigeup.v1 import triage_pb2 as pb
from preprocess_service.repository import ServedModel
from preprocess_service.settings import Settings
from preprocess_service.threads import Threads
from preprocess_service.triton import Arrays, TritonClient
from preprocess_service.turns import Turns
from preprocess_service.verdict import Times

logger = logging.getLogger(__name__)

TRIES: Final = 2  # of a batch whose version Triton has just stopped serving
RETRY_AFTER_MS: Final = 1000
SWEEP_S: Final = 1.0
LAG_SMOOTHING: Final = 0.05


@dataclass
class _Job:
    """A hop of one call on its way through a batch."""

    session: Session
    hop: Hop
    is_taken_in: bool = False
    windows: Sequence[Window] = ()
    answers: Sequence[Answer | None] = ()

    def prepare(self, served: ServedModel) -> None:
        self.take_in()
        self.windows = self.session.call.windows(self.hop, served.spec, served.contract)

    def take_in(self) -> None:
        if not self.is_taken_in:
            self.is_taken_in = True
            self.session.call.take_in(self.hop)


class Monitor:
    """Judges all live calls; used from one event loop, on which features are computed unless there is much to read."""

    def __init__(
        self, settings: Settings, catalogue: Catalogue, triton: TritonClient, threads: Threads, turns: Turns
    ) -> None:
        self._settings, self._catalogue, self._triton = settings, catalogue, triton
        self._threads, self._turns = threads, turns
        self._sessions: set[Session] = set()
        self._schedule: Schedule[Session] = Schedule(
            self._judge, settings.live_workers, settings.live_batch, settings.live_gather_s
        )
        self._sweeper = asyncio.create_task(self._sweep())
        self._lag_s = 0.0  # smoothed, from a hop's last audio to its judgement
        self._trouble = ""  # why calls are not monitored now
        self._is_stopping = False

    async def close(self) -> None:
        self._sweeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._sweeper
        await self._schedule.close()

    def stop(self) -> None:
        """Ends all calls so that their callers go on elsewhere."""
        self._is_stopping = True
        for session in filter(lambda each: each.is_open, self._sessions):
            session.fail(Stopping("the service stops; resume the call at another, or here in a moment"))

    @asynccontextmanager
    async def admit(self, config: CallConfig, deadline: Deadline) -> AsyncIterator[Session]:
        """A session for a call whose model is at hand.

        Raises Overloaded, Stopping, InvalidAudio, and what `Catalogue.lease` raises.
        """
        self._check_room(config.priority)
        session = Session(LiveCall(config))
        self._sessions.add(session)
        try:
            async with self._catalogue.lease(config.model, config.model_version, deadline) as session.served:
                pass
            session.listen()
            yield session
        finally:
            session.is_open = False
            self._sessions.discard(session)

    def take(self, session: Session, message: pb.StreamRequest) -> None:
        """Lets the call take a message in; raises InvalidRequest, InvalidAudio."""
        translation.take(session.call, message, self._settings.max_transcript_chars)
        session.listen()
        self.reconsider(session)

    def taken(self, session: Session) -> None:
        """A response is on its way to the caller."""
        session.taken()
        self.reconsider(session)

    def finish(self, session: Session) -> None:
        """The caller has half-closed: the rest is judged, then the summary comes."""
        session.call.finish(time.monotonic())
        session.conclude()
        self.reconsider(session)

    def reconsider(self, session: Session) -> None:
        """Queues the call if something of it is due; called whenever that may have changed."""
        if session.can_be_judged:
            session.is_scheduled = True
            self._schedule.add(session)

    def _check_room(self, priority: Priority) -> None:
        if self._is_stopping:
            raise Stopping("the service stops")
        limit = self._settings.max_live_calls * (2 if priority is Priority.URGENT else 1)
        if len(self._sessions) >= limit:
            raise Overloaded(f"{len(self._sessions)} live calls; at most {limit} are taken", RETRY_AFTER_MS)
        longest_s = self._settings.live_longest_lag_s / 2
        if self._lag_s > longest_s and priority is not Priority.URGENT:
            raise Overloaded(
                f"updates of {len(self._sessions)} live calls are {self._lag_s:.1f} s late; "
                f"above {longest_s:g} s no more calls are taken",
                RETRY_AFTER_MS,
            )

    async def _sweep(self) -> None:
        """Ends calls from which nothing comes, and forgets a lag that no call has any more."""
        while True:
            await asyncio.sleep(SWEEP_S)
            idle_s = self._settings.live_idle_s
            for session in list(self._sessions):
                if time.monotonic() - session.idle_since > idle_s:
                    session.fail(CallIdle(f"nothing came or was taken for {idle_s:g} s; send audio, were it empty"))
            if not any(session.is_scheduled for session in self._sessions):
                self._lag_s = 0.0

    async def _judge(self, sessions: Sequence[Session]) -> None:
        sessions = [each for each in sessions if each.is_open]
        try:
            await self._judge_open(sessions)
        except Exception:  # a fault of this service: its calls go on in new streams rather than in silence
            for each in sessions:
                each.fail(JudgementFailed("the service failed at the call's window; its log says why"))
            raise

    async def _judge_open(self, sessions: Sequence[Session]) -> None:
        now, started = time.monotonic(), time.perf_counter()
        longest_s = self._settings.live_longest_lag_s
        jobs = [_Job(each, each.call.begin(now, longest_s)) for each in sessions]
        if not jobs:
            return
        served, audio_ms = None, 0.0
        try:
            served, audio_ms = await self._ask(jobs)
            self._told("")
        except (InvalidRequest, ModelNotFound) as error:  # the version that a call wants has gone
            for job in jobs:
                job.session.fail(error)
        except TriageError as error:
            await self._turns.run_each([job.take_in for job in jobs])
            self._told(f"{type(error).__name__}: {error}")
        total_ms = 1000 * (time.perf_counter() - started)
        for job in jobs:
            wait_ms = 1000 * max(0.0, now - job.hop.due_at)
            times = Times(wait_ms=wait_ms, audio_ms=audio_ms, inference_ms=total_ms - audio_ms, total_ms=total_ms)
            self._answer(job, served, times)

    async def _ask(self, jobs: Sequence[_Job]) -> tuple[ServedModel, float]:
        """Fills in windows and answers; returns what answered, and the milliseconds that features took.

        Raises what `Catalogue.lease` and `TritonClient.infer` raise.
        """
        deadline = Deadline(self._settings.live_deadline_s)
        for left in reversed(range(TRIES)):
            async with self._catalogue.lease(*jobs[0].session.batch_key, deadline) as served:
                started = time.perf_counter()
                await self._prepare(jobs, served)
                audio_ms = 1000 * (time.perf_counter() - started)
                try:
                    await self._infer(jobs, served, deadline)
                except NotServed:
                    self._catalogue.lost(served)
                    if not left:
                        raise
                else:
                    return served, audio_ms
        raise AssertionError  # the last try returns or raises

    async def _prepare(self, jobs: Sequence[_Job], served: ServedModel) -> None:
        short: list[Callable[[], None]] = []
        for job in jobs:
            if job.session.call.longest_unread > SHORT_CHARS:
                await self._threads.run(job.prepare, served)
            else:
                short.append(partial(job.prepare, served))
        await self._turns.run_each(short)

    async def _infer(self, jobs: Sequence[_Job], served: ServedModel, deadline: Deadline) -> None:
        asked = [window for job in jobs for window in job.windows if window.tensor is not None]
        priority = min(job.session.priority for job in jobs)
        size = max(1, served.max_batch_size)
        answers: list[Answer] = []
        for start in range(0, len(asked), size):
            arrays = _arrays(served.spec, asked[start : start + size])
            told = await self._triton.infer(served.spec, served.version, arrays, priority, deadline)
            kinds = [None] * len(told.probabilities) if told.kinds is None else told.kinds
            answers += [Answer(float(each), kind) for each, kind in zip(told.probabilities, kinds, strict=True)]
        remaining = iter(answers)
        for job in jobs:
            job.answers = [None if window.tensor is None else next(remaining) for window in job.windows]

    def _answer(self, job: _Job, served: ServedModel | None, times: Times) -> None:
        session, call = job.session, job.session.call
        before = call.state.alert
        update = call.judged(job.hop, job.windows, job.answers, served.contract if served else None)
        session.served = served or session.served
        if before.raised != update.state.alert.raised:
            with call_id_in_logs(call.config.call_id):
                said = "alert raised" if update.state.alert.raised else "alert cleared"
                logger.info(said, extra={"covered_s": round(update.covered_s, 2)})
        self._lag_s += LAG_SMOOTHING * (time.monotonic() - update.due_at - self._lag_s)
        session.is_scheduled = False
        session.make_room()
        if session.is_open:
            session.answer(translation.update_message(update, served, times))
        session.conclude()
        self.reconsider(session)

    def _told(self, trouble: str) -> None:
        """Logs when calls are not monitored, once, and when they are again."""
        if trouble == self._trouble:
            return
        if trouble:
            logger.error("live calls are not monitored", extra={"reason": trouble})
        elif self._trouble:
            logger.info("live calls are monitored again")
        self._trouble = trouble


def _arrays(spec: ModelSpec, windows: Sequence[Window]) -> Arrays:
    arrays: dict[str, NDArray[np.float32] | NDArray[np.int32]] = {
        spec.audio.name: np.stack([each.tensor for each in windows if each.tensor is not None])
    }
    if spec.tokens:
        arrays[spec.tokens.name] = np.stack([each.tokens for each in windows if each.tokens is not None])
    return arrays
