"""Models that are asked by their audio: Triton runs the front end before them, and this service computes no features.

An ensemble is a way to ask and never a condition: whatever goes wrong with it, questions go to the model itself, with
features computed here. It is loaded over exactly the version that the service has proven, and is proven itself before
it is asked.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import Final

import numpy as np

from preprocess_service.admission import Priority
from preprocess_service.deadline import Deadline
from preprocess_service.ensemble_config import as_json, ensemble_config
from preprocess_service.errors import TriageError, WrongAnswer
from preprocess_service.features import inputs, mel
from preprocess_service.features.audio import PCM16_FULL_SCALE, TELEPHONE_RATE_HZ, resample
from preprocess_service.front_end import ENSEMBLES, Ensemble, batch
from preprocess_service.pauses import Pauses
from preprocess_service.repository import ServedModel, Signature
from preprocess_service.threads import Threads
from preprocess_service.triton import Arrays, TritonClient

logger = logging.getLogger(__name__)

LOST_PAUSE_S: Final = 5.0  # before an ensemble that has failed a question is tried again
_LOUDNESS: Final = 3000


class Ensembles:
    """The ensembles that Triton serves; used from one event loop."""

    def __init__(self, triton: TritonClient, threads: Threads, load_timeout_s: float, *, wanted: bool) -> None:
        self._triton, self._threads, self._load_timeout_s, self._wanted = triton, threads, load_timeout_s, wanted
        self._ready: dict[str, Signature] = {}
        self._coming: dict[str, asyncio.Task[None]] = {}
        self._pauses = Pauses()

    def serves(self, served: ServedModel) -> bool:
        """Whether that version may be asked by its audio; where it may not yet, it begins to be brought."""
        if not self._wanted or served.name not in ENSEMBLES:
            return False
        if self._ready.get(served.name) == served.signature:
            return True
        if served.name not in self._coming:
            # Not in the context of the request that happens to be first: the load is not that call's alone.
            task = asyncio.create_task(self._bring(served), context=contextvars.Context())
            task.add_done_callback(lambda _: self._coming.pop(served.name))
            self._coming[served.name] = task
        return False

    def lost(self, served: ServedModel, reason: str) -> None:
        """The ensemble has failed a question."""
        if self._ready.pop(served.name, None) is None:
            return
        logger.warning("asked by features", extra={"model": served.name, "reason": reason})
        if served.name not in self._coming:
            task = asyncio.create_task(asyncio.sleep(LOST_PAUSE_S), context=contextvars.Context())
            task.add_done_callback(lambda _: self._coming.pop(served.name))
            self._coming[served.name] = task

    async def close(self) -> None:
        tasks = list(self._coming.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _bring(self, served: ServedModel) -> None:
        ensemble, key = ENSEMBLES[served.name], (served.name, served.signature)
        try:
            with self._pauses.after_failure(key):
                config = as_json(ensemble_config(ensemble, served.max_batch_size, served.version))
                await self._triton.load(ensemble.name, self._load_timeout_s, config)
                await self._prove(ensemble, served)
        except TriageError as error:
            if self._pauses.is_news(served.name, str(error)):
                logger.warning("asked by features", extra={"model": served.name, "reason": str(error)})
            return
        self._ready[served.name] = served.signature
        logger.info("asked by audio", extra={"model": served.name, "version": served.version})

    async def _prove(self, ensemble: Ensemble, served: ServedModel) -> None:
        """Raises WrongAnswer where the ensemble's answer to a sound is not the model's to that sound's features."""
        by_audio, by_features = await self._threads.run(_known_sound, served)
        deadline = Deadline(self._load_timeout_s)
        found = await self._triton.infer(ensemble, served.version, by_audio, Priority.URGENT, deadline)
        expected = await self._triton.infer(served.spec, served.version, by_features, Priority.URGENT, deadline)
        allowed = next(iter(served.contract.graphs.values())).canary.tolerance
        difference = float(np.abs(found.probabilities - expected.probabilities).max())
        if not difference <= allowed:
            raise WrongAnswer(
                f"{ensemble.name}/{served.version} differs from {served.name} by {difference:.2g} on the same sound; "
                f"at most {allowed:g}"
            )


def _known_sound(served: ServedModel) -> tuple[Arrays, Arrays]:
    """Noise that swells over two windows, as the ensemble and as the model take it."""
    count = round(1.3 * served.spec.window_s * TELEPHONE_RATE_HZ)
    noise = np.random.default_rng(0).standard_normal(count) * np.linspace(0, _LOUDNESS, count)
    pcm = noise.astype(np.int16)
    sound = resample(pcm.astype(np.float32) / np.float32(PCM16_FULL_SCALE), TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)
    rows = inputs.rows(served.spec, len(sound), 0)[: served.max_batch_size]
    return batch(served.spec, pcm, [], rows), inputs.batch(served.spec, sound, [], rows)
