"""The main job: one recording and its transcript in, one verdict out."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from preprocess_service import preparation, warming
from preprocess_service.admission import Admission, Priority
from preprocess_service.catalogue import Catalogue
from preprocess_service.deadline import Deadline
from preprocess_service.ensembles import Ensembles
from preprocess_service.errors import InvalidTranscript, NotServed, TooLarge, TritonUnavailable
from preprocess_service.features import text
from preprocess_service.front_end import ENSEMBLES
from preprocess_service.preparation import Batch, Prepared, Question, prepare
from preprocess_service.repository import ServedModel
from preprocess_service.settings import Settings
from preprocess_service.threads import Threads
from preprocess_service.triton import Answer, Arrays, TritonClient
from preprocess_service.turns import Turns
from preprocess_service.verdict import Times, Verdict, calibrated, likeliest_kinds, timeline

T = TypeVar("T")

WARM_UP_SENTENCES: Final = 200
TRIES: Final = 3  # of a call whose version Triton has just stopped serving
BATCHES_AHEAD: Final = 2  # of one long recording, so that it cannot take all of Triton's queue


@dataclass(frozen=True)
class Scored:
    """What Triton says of a recording."""

    scores: NDArray[np.float32]  # (rows,), calibrated
    kinds: NDArray[np.float32] | None  # (rows, kinds), as the network gave them
    audio_ms: float
    inference_ms: float


class Triage:
    """Answers questions; features of short ones are computed in turn, those of others in threads."""

    def __init__(
        self, settings: Settings, catalogue: Catalogue, triton: TritonClient, threads: Threads, turns: Turns
    ) -> None:
        self._settings, self._catalogue, self._triton = settings, catalogue, triton
        self._threads, self._turns = threads, turns
        self._admission = Admission(settings.max_in_flight, settings.max_waiting)
        by_audio = settings.front_end == "triton"
        self._ensembles = Ensembles(triton, threads, settings.load_timeout_s, wanted=by_audio)

    async def warm_up(self) -> None:
        """Starts the Java virtual machine and lets it compile, which would cost the first callers seconds otherwise."""
        first, *others = warming.sentences(WARM_UP_SENTENCES)
        # Here first, in the main thread: at the end Java waits for the thread that started it, for ever if that is a
        # thread of the pool.
        text.morphemes(first, frozenset())
        await asyncio.gather(*(self._threads.run(text.morphemes, each, frozenset()) for each in others))

    async def close(self) -> None:
        await self._ensembles.close()

    async def classify(self, question: Question, deadline: Deadline) -> Verdict:
        """The verdict on one recording: its strongest evidence decides.

        Raises InvalidAudio, InvalidTranscript, TooLarge, ModelNotFound, ModelNotLoaded, Overloaded, DeadlinePassed,
        TritonUnavailable.
        """
        started = time.perf_counter()
        for left in reversed(range(TRIES)):
            try:
                verdict = await self._classify(question, deadline)
            except NotServed:  # unloaded, rolled back or restarted in this very moment: the catalogue looks again
                if not left:
                    raise
            else:
                break
        return replace(verdict, times=replace(verdict.times, total_ms=1000 * (time.perf_counter() - started)))

    async def _classify(self, question: Question, deadline: Deadline) -> Verdict:
        def begin(served: ServedModel, *, by_audio: bool) -> tuple[Prepared, Times, Batch]:
            prepared, times = prepare(question, served, self._settings.max_audio_s, deadline, by_audio=by_audio)
            deadline.remaining_s()
            return prepared, times, prepared.batch(prepared.rows[: max(1, served.max_batch_size)])

        async with self._admitted(question, deadline) as (served, load_ms, wait_ms):
            # In one piece: every change between a thread and the event loop costs both.
            run = self._turns.run if preparation.is_short(question) else self._threads.run
            prepared, times, first = await run(begin, served, by_audio=self._ensembles.serves(served))
            scored = await self._score(prepared, first, question.priority, deadline)
        point = served.contract.decision.point(has_transcript=bool(prepared.ids))
        strongest = int(scored.scores.argmax())
        return Verdict(
            model=served.name,
            version=served.version,
            probability=float(scored.scores[strongest]),
            threshold=point.threshold,
            uncertain_from=point.uncertain_from,
            kinds=likeliest_kinds(None if scored.kinds is None else scored.kinds[strongest], served.contract.kinds),
            audio_s=prepared.audio_s,
            timeline=timeline(prepared.rows, scored.scores),
            times=replace(
                times,
                load_ms=load_ms,
                wait_ms=wait_ms,
                audio_ms=scored.audio_ms,
                inference_ms=scored.inference_ms,
            ),
            warnings=prepared.warnings,
        )

    async def preprocess(
        self, question: Question, deadline: Deadline, render: Callable[[Prepared, Arrays], T], max_bytes: int
    ) -> T:
        """What `render` makes, in a thread, of the tensors of all rows, as `classify` would send them.

        Raises what `classify` raises before it asks Triton, and TooLarge for tensors of more than `max_bytes`.
        """
        async with self._admitted(question, deadline) as (served, _, _):
            prepared, _ = await self._threads.run(prepare, question, served, self._settings.max_audio_s, deadline)
            spec = served.spec
            size = len(prepared.rows) * sum(4 * math.prod(tensor.shape) for tensor in spec.inputs)
            if size > max_bytes:
                raise TooLarge(f"{size} bytes of tensors; at most {max_bytes} are answered")

            def compute() -> T:
                return render(prepared, prepared.batch(prepared.rows).arrays)

            return await self._threads.run(compute)

    @asynccontextmanager
    async def _admitted(
        self, question: Question, deadline: Deadline
    ) -> AsyncIterator[tuple[ServedModel, float, float]]:
        """Inside the door, the question's model, loaded; and the milliseconds that its load and the door took.

        A load is waited for outside, so that it holds up no other model's callers.
        """
        self._check(question)
        started, max_s = time.perf_counter(), self._settings.max_audio_s
        if preparation.is_quickly_weighed(question):
            cost = preparation.cost(question, max_s)
        else:
            cost = await self._threads.run(preparation.cost, question, max_s)
        if not self._catalogue.is_at_hand(question.model, question.model_version):
            # Neither what is no recording nor what there is no room for makes Triton load a model.
            async with self._admission.admit(cost, question.priority, deadline):
                await self._threads.run(preparation.check, question, max_s)
        checked = time.perf_counter()
        async with self._catalogue.lease(question.model, question.model_version, deadline) as served:
            leased = time.perf_counter()
            async with self._admission.admit(cost, question.priority, deadline):
                wait_ms = 1000 * (checked - started + time.perf_counter() - leased)
                yield served, 1000 * (leased - checked), wait_ms

    def _check(self, question: Question) -> None:
        limits = self._settings
        if len(question.audio) > limits.max_audio_bytes:
            raise TooLarge(f"{len(question.audio)} bytes of audio; at most {limits.max_audio_bytes} are taken")
        if len(question.transcript) > limits.max_transcript_chars:
            raise InvalidTranscript(
                f"{len(question.transcript)} characters of transcript; at most {limits.max_transcript_chars} are taken"
            )

    async def _score(self, prepared: Prepared, first: Batch, priority: Priority, deadline: Deadline) -> Scored:
        """`first` is the batch of the first rows, as many as the model takes at once."""
        served, ahead = prepared.served, asyncio.Semaphore(BATCHES_AHEAD)
        asked = served.spec if prepared.pcm is None else ENSEMBLES[served.name]
        size = max(1, served.max_batch_size)

        async def score(start: int) -> tuple[Answer, float, float]:
            async with ahead:
                deadline.remaining_s()
                rows = prepared.rows[start : start + size]
                batch = await self._threads.run(prepared.batch, rows) if start else first
                featured = time.perf_counter()
                answer = await self._triton.infer(asked, served.version, batch.arrays, priority, deadline)
                return answer, batch.audio_ms, 1000 * (time.perf_counter() - featured)

        try:
            results = await _together([score(start) for start in range(0, len(prepared.rows), size)])
        except TritonUnavailable as error:
            if prepared.pcm is not None:
                self._ensembles.lost(served, str(error))
                raise NotServed(str(error)) from None  # the model itself may well answer
            if isinstance(error, NotServed):
                self._catalogue.lost(served)
            raise
        answers, audio_ms, inference_ms = zip(*results, strict=True)
        probabilities = np.concatenate([answer.probabilities for answer in answers])
        kinds = [answer.kinds for answer in answers if answer.kinds is not None]
        return Scored(
            calibrated(prepared.rows, probabilities, served.contract),
            np.concatenate(kinds) if kinds else None,
            sum(audio_ms),
            sum(inference_ms),
        )


async def _together(work: Sequence[Coroutine[None, None, T]]) -> list[T]:
    """What all of it gives, in order. The first failure ends the rest and is raised alone: one cause is enough for a
    caller."""
    if len(work) == 1:  # nearly every question, and a task would cost it 0.05 ms
        return [await work[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
