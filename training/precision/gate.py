"""Whether a graph of lower precision decides as the exported one does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from preprocess_service.contract import Decision
from preprocess_service.model_spec import ModelSpec
from training.dataset import Rows
from training.decision import figures
from training.scoring import clip_kinds, clip_scores

LEAST_AGREEMENT: Final = 0.995  # of the clips' decisions
LARGEST_RECALL_FALL: Final = 0.005  # at 1 % false positives
LEAST_KIND_AGREEMENT: Final = 0.95  # of the emergencies' likeliest kinds; many calls lie between two kinds


class Runtime(Protocol):
    """ONNX Runtime's session, or what stands for one."""

    def run(self, names: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]: ...

    def get_providers(self) -> list[str]: ...


@dataclass(frozen=True)
class Comparison:
    """A graph against the exported one on the test split: the worst over calls with and without a transcript."""

    clips: int
    label_agreement: float
    recall_change: float  # at 1 % false positives; below 0 where recall fell
    greatest_difference: float  # of a clip's uncalibrated probability; NaN where an answer is none
    kind_agreement: float | None = None

    @property
    def objections(self) -> list[str]:
        """The rules that the graph breaks, each with its value; empty where it is accepted."""
        broken = []
        if not np.isfinite(self.greatest_difference):
            broken.append("answers that are no numbers")
        if not self.label_agreement >= LEAST_AGREEMENT:
            broken.append(f"label agreement {self.label_agreement:.4f}; at least {LEAST_AGREEMENT}")
        if not self.recall_change >= -LARGEST_RECALL_FALL - 1e-12:
            broken.append(f"recall change {self.recall_change:+.4f}; at least {-LARGEST_RECALL_FALL}")
        if self.kind_agreement is not None and not self.kind_agreement >= LEAST_KIND_AGREEMENT:
            broken.append(f"kind agreement {self.kind_agreement:.4f}; at least {LEAST_KIND_AGREEMENT}")
        return broken

    def to_dict(self) -> dict[str, float]:
        return {key: float(value) for key, value in asdict(self).items() if value is not None}


class Gate:
    """Holds the exported graph's answers on the test split, and compares others with them."""

    def __init__(self, reference: Runtime, spec: ModelSpec, rows: Rows, decision: Decision) -> None:
        self._spec, self._rows, self._decision = spec, rows, decision
        self._clips = np.flatnonzero(rows.splits == "test")
        self._is_emergency = rows.is_emergency[self._clips]
        self._reference = self._answers(reference)
        self._reference_kinds = self._kinds(reference)

    def compare(self, runtime: Runtime) -> Comparison:
        """The figures of another graph; it is accepted where they have no `objections`."""
        agreements, recalls, differences = [], [], []
        answers = self._answers(runtime)
        for (with_text, theirs), ours in zip(self._reference.items(), answers.values(), strict=True):
            point = self._decision.point(with_text)
            difference = float(np.abs(ours - theirs).max())
            differences.append(difference)
            if not np.isfinite(difference):
                agreements.append(0.0)
                continue
            was, now = point.calibrate(theirs), point.calibrate(ours)
            agreements.append(float(((was >= point.threshold) == (now >= point.threshold)).mean()))
            recall = [figures(scores, self._is_emergency, point).recall_at_1pct_fpr for scores in (was, now)]
            recalls.append(recall[1] - recall[0])
        kinds = self._kinds(runtime)
        return Comparison(
            clips=len(self._clips),
            label_agreement=min(agreements),
            recall_change=min(recalls, default=-1.0),
            greatest_difference=float(np.max(differences)),
            kind_agreement=None if kinds is None else float((kinds == self._reference_kinds).mean()),
        )

    def _answers(self, runtime: Runtime) -> dict[bool, NDArray[np.float32]]:
        """By whether the transcript was read: (test clips,)."""
        spec, rows, clips = self._spec, self._rows, self._clips
        views = (True, False) if spec.tokens else (True,)
        with np.errstate(invalid="ignore"):  # NaN answers are for the comparison to see
            return {view: clip_scores(runtime, spec, rows, clips, with_text=view) for view in views}

    def _kinds(self, runtime: Runtime) -> NDArray[np.int64] | None:
        """The likeliest kind of each emergency of the test split."""
        if not self._spec.names_kind:
            return None
        kinds = clip_kinds(runtime, self._spec, self._rows, self._clips[self._is_emergency])
        return np.asarray(kinds.argmax(axis=1), np.int64)
