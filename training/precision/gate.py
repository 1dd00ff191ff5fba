"""Whether a graph of lower precision decides as the exported one does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from preprocess_service.contract import Decision
from preprocess_service.model_spec import PICTURE, ModelSpec
from training.dataset import Rows
from training.decision import ALLOWED_FALSE_POSITIVES, BANDS, bands, recall_at
from training.manifest import Split
from training.report.answers import Recorder
from training.scoring import Judged, clip_kinds, judge_clips

LEAST_LABEL_AGREEMENT: Final = 0.995  # of the clips: an emergency or none
LEAST_DECISION_AGREEMENT: Final = 0.99  # of the clips: normal, uncertain or emergency
LARGEST_RECALL_FALL: Final = 0.005  # at 1 % false positives
LARGEST_LOSS: Final = 0.005  # of the emergencies: so many more may be called normal, which no human sees
LEAST_KIND_AGREEMENT: Final = 0.95  # of the emergencies' likeliest kinds; many calls lie between two kinds
_ROUNDING: Final = 1e-12
LEAST_CLIPS: Final = 50  # of a split; fewer would agree, or not, by luck
MOST_CLIPS: Final = 1000
MOST_CLIPS_OF_PICTURES: Final = 300  # VGG-16 takes ten times as long


class Runtime(Protocol):
    """ONNX Runtime's session, or what stands for one."""

    def run(self, names: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]: ...

    def get_providers(self) -> list[str]: ...


@dataclass(frozen=True)
class Comparison:
    """A graph against the exported one on a split: the worst over calls with and without a transcript."""

    clips: int
    label_agreement: float
    decision_agreement: float
    recall_change: float  # at 1 % false positives; below 0 where recall fell
    lost_emergency_change: float  # of the share of emergencies called normal; above 0 where more are
    greatest_difference: float  # of a row's uncalibrated probability; NaN where an answer is none
    kind_agreement: float | None = None

    @property
    def objections(self) -> list[str]:
        """The rules that the graph breaks, each with its value; empty where it is accepted."""
        broken = []
        if not np.isfinite(self.greatest_difference):
            broken.append("answers that are no numbers")
        if not self.label_agreement >= LEAST_LABEL_AGREEMENT:
            broken.append(f"label agreement {self.label_agreement:.4f}; at least {LEAST_LABEL_AGREEMENT}")
        if not self.decision_agreement >= LEAST_DECISION_AGREEMENT:
            broken.append(f"decision agreement {self.decision_agreement:.4f}; at least {LEAST_DECISION_AGREEMENT}")
        if not self.recall_change >= -LARGEST_RECALL_FALL - _ROUNDING:
            broken.append(f"recall change {self.recall_change:+.4f}; at least {-LARGEST_RECALL_FALL}")
        if not self.lost_emergency_change <= LARGEST_LOSS + _ROUNDING:
            broken.append(f"lost emergencies change {self.lost_emergency_change:+.4f}; at most +{LARGEST_LOSS}")
        if self.kind_agreement is not None and not self.kind_agreement >= LEAST_KIND_AGREEMENT:
            broken.append(f"kind agreement {self.kind_agreement:.4f}; at least {LEAST_KIND_AGREEMENT}")
        return broken

    def to_dict(self) -> dict[str, float]:
        return {key: float(value) for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class _View:
    """What one graph makes of the clips, and its bare answer to every row of them."""

    judged: Judged
    answers: NDArray[np.float32]

    @property
    def bands(self) -> NDArray[np.int64]:
        return bands(self.judged.probabilities, self.judged.thresholds, self.judged.uncertain_from)


def shortage(rows: Rows, *splits: Split) -> str | None:
    """Why no graph can be judged on those splits: the first that has too few clips; None where all have enough."""
    for split in splits:
        if (clips := len(np.unique(rows.clip_of_row[rows.rows_of(split)]))) < LEAST_CLIPS:
            return f"cannot be judged: {clips} {split} clips; at least {LEAST_CLIPS}"
    return None


class Gate:
    """Holds the exported graph's answers on clips of one split, and compares others with them."""

    def __init__(self, reference: Runtime, spec: ModelSpec, rows: Rows, decision: Decision, split: Split) -> None:
        self._spec, self._rows, self._decision = spec, rows, decision
        most = MOST_CLIPS_OF_PICTURES if spec.audio == PICTURE else MOST_CLIPS
        self._clips = rows.drawn(split, most)
        self._is_emergency = rows.is_emergency[self._clips]
        self._reference = self._views(reference)
        self._reference_kinds = self._kinds(reference)

    def compare(self, runtime: Runtime) -> Comparison:
        """The figures of another graph; it is accepted where they have no `objections`."""
        pairs = list(zip(self._reference, self._views(runtime), strict=True))
        kinds = self._kinds(runtime)
        emergency = BANDS.index("emergency")
        return Comparison(
            clips=len(self._clips),
            label_agreement=min(_share((was.bands == emergency) == (now.bands == emergency)) for was, now in pairs),
            decision_agreement=min(_share(was.bands == now.bands) for was, now in pairs),
            recall_change=min(self._recall(now) - self._recall(was) for was, now in pairs),
            lost_emergency_change=max(self._lost(now) - self._lost(was) for was, now in pairs),
            greatest_difference=float(np.max([np.abs(now.answers - was.answers).max() for was, now in pairs])),
            kind_agreement=None if kinds is None else _share(kinds == self._reference_kinds),
        )

    def _recall(self, view: _View) -> float:
        return recall_at(view.judged.probabilities, self._is_emergency, ALLOWED_FALSE_POSITIVES)

    def _lost(self, view: _View) -> float:
        return _share(view.bands[self._is_emergency] == BANDS.index("normal"))

    def _views(self, runtime: Runtime) -> list[_View]:
        """With the transcripts, and for a model that reads without them, too."""
        views = []
        for with_text in (True, False) if self._spec.tokens else (True,):
            recorder = Recorder(runtime)
            with np.errstate(invalid="ignore"):  # NaN answers are for the comparison to see
                judged = judge_clips(recorder, self._spec, self._decision, self._rows, self._clips, with_text=with_text)
            views.append(_View(judged, recorder.probabilities))
        return views

    def _kinds(self, runtime: Runtime) -> NDArray[np.int64] | None:
        """The likeliest kind of each emergency."""
        if not self._spec.names_kind:
            return None
        kinds = clip_kinds(runtime, self._spec, self._rows, self._clips[self._is_emergency])
        return np.asarray(kinds.argmax(axis=1), np.int64)


def _share(agreeing: NDArray[np.bool_]) -> float:
    return float(agreeing.mean())
