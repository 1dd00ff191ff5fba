"""How much is measured of a model, and which clips that are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preprocess_service.model_spec import PICTURE, ModelSpec
from training.dataset import Rows
from training.manifest import Split
from training.report.curves import Labels
from training.report.intervals import SEED


@dataclass(frozen=True)
class Sizes:
    """How many clips and calls at most; clips are drawn where there are more."""

    test_clips: int
    validation_clips: int
    ablation_clips: int
    long_calls: int
    long_call_s: float
    emergency_calls: int


PROBED_CLIPS: Final = 2000
USUAL: Final = Sizes(2000, 1000, 400, long_calls=3, long_call_s=600, emergency_calls=60)
COSTLY: Final = Sizes(1000, 500, 150, long_calls=1, long_call_s=600, emergency_calls=25)
QUICK: Final = Sizes(200, 200, 40, long_calls=1, long_call_s=60, emergency_calls=6)


def sizes_for(spec: ModelSpec, *, quick: bool) -> Sizes:
    """Fewer for VGG-16's convolutions: a row takes them 60 ms on two cores, ten times what the other networks need."""
    if quick:
        return QUICK
    return COSTLY if spec.audio == PICTURE else USUAL


def drawn(rows: Rows, split: Split, count: int) -> NDArray[np.int64]:
    """At most `count` clips of a split that have rows, half of either class as far as there are so many."""
    clips = np.unique(rows.clip_of_row[rows.rows_of(split)]).astype(np.int64)
    return drawn_from(clips, rows.is_emergency[clips], count)


def drawn_from(clips: NDArray[np.int64], labels: Labels, count: int) -> NDArray[np.int64]:
    """At most `count` of these clips in order, half of either class as far as there are so many; always the same."""
    if len(clips) <= count:
        return clips
    rng = np.random.default_rng(SEED)
    halves = [rng.permutation(clips[labels == wanted])[: count // 2] for wanted in (True, False)]
    return np.sort(np.concatenate(halves))
