"""How well a model names the kind of an emergency, where it has an answer to that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.dataset import Rows
from training.manifest import Clip
from training.recordings import Scorer
from training.report.intervals import Estimate, Floats, wilson
from training.scoring import clip_kinds

TOP: Final = 3


@dataclass(frozen=True)
class KindFigures:
    """On emergencies only: how often the likeliest kind, or one of the TOP likeliest, is the right one."""

    names: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]  # true kind by row, likeliest kind by column
    top_1: Estimate
    top_3: Estimate


def kind_figures(answers: Floats, truth: NDArray[np.int64], names: Sequence[str]) -> KindFigures:
    """Figures of answers (n, kinds) against the indices (n,) of the true kinds."""
    ranked = np.argsort(-answers, axis=1, kind="stable")
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (truth, ranked[:, 0]), 1)
    among = (ranked[:, :TOP] == truth[:, np.newaxis]).any(axis=1)
    return KindFigures(
        names=tuple(names),
        confusion=tuple(tuple(int(each) for each in row) for row in confusion),
        top_1=wilson(int(np.trace(confusion)), len(truth)),
        top_3=wilson(int(among.sum()), len(truth)),
    )


def measure_kinds(scorer: Scorer, rows: Rows, clips: Sequence[Clip], chosen: NDArray[np.int64]) -> KindFigures | None:
    """Figures on the emergencies among the chosen clips; None for a model without kinds or clips without such ones.

    Of a clip of several rows the one with the greatest probability speaks, as in a verdict.
    """
    if scorer.contract.kinds is None:
        return None
    names = scorer.contract.kinds.names
    emergencies = np.array([each for each in chosen if clips[each].kind in names], dtype=np.int64)
    if not len(emergencies):
        return None
    of_clip = clip_kinds(scorer.runtime, scorer.spec, rows, emergencies).astype(np.float64)
    truth = np.array([names.index(clips[each].kind) for each in emergencies])
    return kind_figures(of_clip, truth, names)
