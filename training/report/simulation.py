"""Calls made of test clips: long normal ones, and ones with an emergency in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocess_service.features.audio import TELEPHONE_RATE_HZ, Samples
from training.dataset import Corpus
from training.recordings import Scorer
from training.report.alarms import LEAD_IN_WINDOWS, Call
from training.report.intervals import SEED
from training.report.streaming import HOP_S, Stream, join


@dataclass(frozen=True)
class Simulator:
    """Draws calls from a corpus: `normal` and `emergency` are indices of its clips.

    Draws with the same name are the same for every model, so that all hear the same calls.
    """

    scorer: Scorer
    corpus: Corpus
    normal: NDArray[np.int64]
    emergency: NDArray[np.int64]

    def long_calls(self, count: int, seconds: float) -> Iterator[Stream]:
        """Normal clips one after another, each call at least that long; a clip comes back when all have been heard."""
        clips = _endlessly(self.normal, _generator("long calls"))
        for _ in range(count):
            yield join(self._until(clips, seconds))

    def emergencies(self, count: int) -> Iterator[Call]:
        """Normal clips, at least a window and the lead-in of them, then an emergency, then a normal clip."""
        rng = _generator("emergencies")
        normal, emergency = _endlessly(self.normal, rng), _endlessly(self.emergency, rng)
        for _ in range(count):
            before = self._until(normal, self.scorer.spec.window_s + LEAD_IN_WINDOWS * HOP_S)
            there = self._clip(next(emergency))
            onset_s = sum(len(telephone) for telephone, _ in before) / TELEPHONE_RATE_HZ
            end_s = onset_s + len(there[0]) / TELEPHONE_RATE_HZ
            yield Call(join([*before, there, self._clip(next(normal))]), onset_s, end_s)

    def _until(self, clips: Iterator[int], seconds: float) -> list[tuple[Samples, list[int]]]:
        joined: list[tuple[Samples, list[int]]] = []
        while sum(len(telephone) for telephone, _ in joined) < seconds * TELEPHONE_RATE_HZ:
            joined.append(self._clip(next(clips)))
        return joined

    def _clip(self, index: int) -> tuple[Samples, list[int]]:
        (ids,) = self.scorer.ids(self.corpus, [index])
        return self.corpus.samples(index), ids


def _endlessly(indices: NDArray[np.int64], rng: np.random.Generator) -> Iterator[int]:
    """The indices in random order, again and again in a new one."""
    while True:
        yield from (int(each) for each in rng.permutation(indices))


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng([SEED, *name.encode()])
