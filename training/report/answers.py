"""What a network answers to clips, bare and as the service judges it, in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess_service.model_spec import PROBABILITY
from training.dataset import Rows
from training.recordings import Scorer
from training.report.intervals import Floats
from training.scoring import Judged, judge_clips


class Recorder:
    """A runtime that keeps the bare probabilities of the rows that it was asked, in order."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self._answers: list[NDArray[np.float32]] = []

    def run(self, names: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        outputs: list[NDArray[Any]] = self._runtime.run(names, arrays)
        self._answers.append(np.asarray(outputs[names.index(PROBABILITY.name)][:, 0]))
        return outputs

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Before calibration: (rows asked,)."""
        return np.concatenate(self._answers)


def answers(scorer: Scorer, rows: Rows, clips: NDArray[np.int64]) -> tuple[Floats, Judged]:
    """The greatest bare probability of every clip (n,), and the clips as the service judges them."""
    recorder = Recorder(scorer.runtime)
    judged = judge_clips(recorder, scorer.spec, scorer.contract.decision, rows, clips)
    clip_of_answer = rows.clip_of_row[np.isin(rows.clip_of_row, clips)]
    greatest = np.zeros(len(rows.is_emergency))
    np.maximum.at(greatest, clip_of_answer, recorder.probabilities)
    return greatest[clips], judged
