"""The main job: one recording and its transcript in, one verdict out."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from preprocess_service import preparation
from preprocess_service.admission import Admission, Priority
from preprocess_service.catalogue import Catalogue, ServedModel
from preprocess_service.deadline import Deadline
from preprocess_service.errors import InvalidTranscript, TooLarge
from preprocess_service.features import inputs, text
from preprocess_service.features.inputs import Row
from preprocess_service.preparation import Prepared, Question, prepare
from preprocess_service.settings import Settings
from preprocess_service.triton import Arrays, TritonClient
from preprocess_service.verdict import Times, Verdict, calibrated, timeline

P = ParamSpec("P")
T = TypeVar("T")

WARM_UP_SENTENCES: Final = 200
BATCHES_AHEAD: Final = 2  # of one long recording, so that it cannot take all of Triton's queue


class Triage:
    """Answers questions; features are computed in threads, off the event loop."""

    def __init__(self, settings: Settings, catalogue: Catalogue, triton: TritonClient) -> None:
        self._settings, self._catalogue, self._triton = settings, catalogue, triton
        self._admission = Admission(settings.max_in_flight, settings.max_waiting)
        self._threads = ThreadPoolExecutor(settings.feature_threads, thread_name_prefix="features")

    async def warm_up(self) -> None:
        """Starts the Java virtual machine and lets it compile, which would cost the first callers seconds otherwise."""
        sentence = "여기 불이 났어요, 빨리 와 주세요!"
        # Here first, in the main thread: at the end Java waits for the thread that started it, for ever if that is a
        # thread of the pool.
        text.morphemes(sentence, frozenset())
        for _ in range(WARM_UP_SENTENCES):
            await self._in_thread(text.morphemes, sentence, frozenset())

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def classify(self, question: Question, deadline: Deadline) -> Verdict:
        """The verdict on one recording: its strongest evidence decides.

        Raises InvalidAudio, InvalidTranscript, TooLarge, ModelNotFound, Overloaded, DeadlinePassed, TritonUnavailable.
        """
        started = time.perf_counter()
        served = self._check(question)
        cost = await self._in_thread(preparation.cost, question, self._settings.max_audio_s)
        async with self._admission.admit(cost, question.priority, deadline):
            admitted = time.perf_counter()
            prepared, times = await self._prepare(question, served, deadline)
            scores, audio_ms, inference_ms = await self._score(prepared, question.priority, deadline)
        times = replace(
            times,
            wait_ms=1000 * (admitted - started),
            audio_ms=audio_ms,
            inference_ms=inference_ms,
            total_ms=1000 * (time.perf_counter() - started),
        )
        return Verdict(
            model=served.spec.name,
            version=served.version,
            probability=float(scores.max()),
            threshold=served.contract.decision.point(has_transcript=bool(prepared.ids)).threshold,
            audio_s=prepared.audio_s,
            timeline=timeline(prepared.rows, scores),
            times=times,
            warnings=prepared.warnings,
        )

    async def preprocess(
        self, question: Question, deadline: Deadline, render: Callable[[Prepared, Arrays], T], max_bytes: int
    ) -> T:
        """What `render` makes, in a thread, of the tensors of all rows, as `classify` would send them.

        Raises what `classify` raises before it asks Triton, and TooLarge for tensors of more than `max_bytes`.
        """
        served = self._check(question)
        cost = await self._in_thread(preparation.cost, question, self._settings.max_audio_s)
        async with self._admission.admit(cost, question.priority, deadline):
            prepared, _ = await self._prepare(question, served, deadline)
            size = len(prepared.rows) * sum(4 * math.prod(tensor.shape) for tensor in served.spec.inputs)
            if size > max_bytes:
                raise TooLarge(f"{size} bytes of tensors; at most {max_bytes} are answered")

            def compute() -> T:
                return render(prepared, inputs.batch(served.spec, prepared.samples, prepared.ids, prepared.rows))

            return await self._in_thread(compute)

    def _check(self, question: Question) -> ServedModel:
        limits = self._settings
        if len(question.audio) > limits.max_audio_bytes:
            raise TooLarge(f"{len(question.audio)} bytes of audio; at most {limits.max_audio_bytes} are taken")
        if len(question.transcript) > limits.max_transcript_chars:
            raise InvalidTranscript(
                f"{len(question.transcript)} characters of transcript; at most {limits.max_transcript_chars} are taken"
            )
        return self._catalogue.model(question.model)

    async def _prepare(self, question: Question, served: ServedModel, deadline: Deadline) -> tuple[Prepared, Times]:
        return await self._in_thread(prepare, question, served, self._settings.max_audio_s, deadline)

    async def _score(
        self, prepared: Prepared, priority: Priority, deadline: Deadline
    ) -> tuple[NDArray[np.float32], float, float]:
        """Calibrated probabilities (rows,), and the milliseconds spent on audio features and in Triton."""
        served, ahead = prepared.served, asyncio.Semaphore(BATCHES_AHEAD)

        async def score(rows: Sequence[Row]) -> tuple[NDArray[np.float32], float, float]:
            async with ahead:
                deadline.remaining_s()
                started = time.perf_counter()
                arrays = await self._in_thread(inputs.batch, served.spec, prepared.samples, prepared.ids, rows)
                featured = time.perf_counter()
                answers = await self._triton.infer(served.spec, served.version, arrays, priority, deadline)
                return answers, 1000 * (featured - started), 1000 * (time.perf_counter() - featured)

        size = max(1, served.max_batch_size)
        starts = range(0, len(prepared.rows), size)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(score(prepared.rows[start : start + size])) for start in starts]
        except ExceptionGroup as failures:  # one cause is enough for the caller
            raise failures.exceptions[0] from None
        answers, audio_ms, inference_ms = zip(*(task.result() for task in tasks), strict=True)
        return calibrated(prepared.rows, np.concatenate(answers), served.contract), sum(audio_ms), sum(inference_ms)

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a function in a thread; whoever is cancelled waits for its end, since a thread cannot be stopped and
        its place at the door is free only then."""
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            if not work.cancelled():
                work.exception()  # nobody is left to hear it
            raise
