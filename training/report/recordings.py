"""Scores of whole recordings, by the steps of the service, some at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preprocess_service.features import inputs, mel
from preprocess_service.features.audio import TELEPHONE_RATE_HZ, Samples, resample
from preprocess_service.features.inputs import Row
from preprocess_service.model_spec import PROBABILITY
from preprocess_service.verdict import calibrated
from training.recordings import Scorer
from training.report.intervals import Floats

RECORDINGS_PER_BATCH: Final = 16


@dataclass(frozen=True)
class Asked:
    """One question to a model: a recording (n,) at 22,050 Hz, its token ids, and the rows that are asked."""

    samples: Samples
    ids: Sequence[int]
    rows: Sequence[Row]


def whole(scorer: Scorer, telephone: Samples, ids: Sequence[int]) -> Asked:
    """A recording (n,) at 8000 Hz with its transcript, asked as the service asks it."""
    samples = resample(telephone, TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)
    return Asked(samples, ids, inputs.rows(scorer.spec, len(samples), len(ids)))


def row_probabilities(scorer: Scorer, questions: Iterable[Asked]) -> Iterator[NDArray[np.float32]]:
    """The calibrated probability of every row of each question, some questions at a time."""
    remaining = iter(questions)
    while batch := list(islice(remaining, RECORDINGS_PER_BATCH)):
        arrays = [inputs.batch(scorer.spec, each.samples, each.ids, each.rows) for each in batch]
        together = {name: np.concatenate([each[name] for each in arrays]) for name in arrays[0]}
        (answers,) = scorer.runtime.run([PROBABILITY.name], together)
        rows = [row for each in batch for row in each.rows]
        ends = np.cumsum([len(each.rows) for each in batch])[:-1]
        yield from np.split(calibrated(rows, answers[:, 0], scorer.contract), ends)


def probabilities(scorer: Scorer, questions: Iterable[Asked]) -> Floats:
    """The calibrated probability (n,) of every question, as a verdict would give it: that of its strongest row."""
    return np.array([each.max() for each in row_probabilities(scorer, questions)], dtype=np.float64)
