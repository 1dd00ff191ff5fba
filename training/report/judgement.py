"""A model's answers to test clips, and the figures that need nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.decision import BANDS, bands
from training.manifest import Clip, Label
from training.report.calibration import Calibration, calibration, tempered
from training.report.curves import Labels
from training.report.intervals import Estimate, Floats, Resampling, resampling, wilson
from training.report.metrics import EVEN, Metrics, distinct, measure, recall_by_kind
from training.report.shortcuts import SourcePairs, auc_by_source, group_of
from training.scoring import Judged


@dataclass(frozen=True)
class Calibrations:
    """The network's bare output, and after two scalings that were fitted on validation clips."""

    temperature: float
    validation_clips: int
    bare: Calibration
    tempered: Calibration
    platt: Calibration  # what the service answers


@dataclass(frozen=True)
class Band:
    """Shares of test clips that are left to a human, and of emergencies that no human gets to see."""

    uncertain_from: tuple[float, ...]  # those that apply: clips without words have their own
    uncertain_emergency: Estimate
    uncertain_normal: Estimate
    lost_emergency: Estimate


@dataclass(frozen=True)
class Judgement:
    """What a network answered (n,) to clips, before calibration and as the service judges it."""

    bare: Floats
    judged: Judged
    clips: tuple[Clip, ...]

    @property
    def scores(self) -> Floats:
        """Calibrated probabilities (n,)."""
        return self.judged.probabilities.astype(np.float64)

    @property
    def thresholds(self) -> Floats:
        """That of every clip (n,): clips without words have their own."""
        return self.judged.thresholds.astype(np.float64)

    @property
    def labels(self) -> Labels:
        return np.array([clip.label == "emergency" for clip in self.clips], dtype=np.bool_)

    @property
    def bootstrap(self) -> Resampling:
        return resampling([group_of(clip) for clip in self.clips])

    def metrics(self) -> Metrics:
        return measure(self.scores, self.labels, self.thresholds, self.bootstrap)

    def calibrations(self, temperature: float, validation_clips: int) -> Calibrations:
        """Reliability on these clips, with a temperature that was fitted on so many others."""
        return Calibrations(
            temperature=temperature,
            validation_clips=validation_clips,
            bare=calibration(self.bare, self.labels),
            tempered=calibration(tempered(self.bare, temperature), self.labels),
            platt=calibration(self.scores, self.labels),
        )

    def said_by_kind(self, label: Label) -> dict[str, Estimate]:
        """The share of clips of every kind that is judged an emergency: recall, or false positives of normal topics."""
        inside = self.labels == (label == "emergency")
        kinds = [clip.kind for clip in self.clips if clip.label == label]
        return recall_by_kind(self.scores[inside], kinds, self.thresholds[inside])

    def sources(self) -> SourcePairs:
        return auc_by_source(self.scores, self.labels, [clip.source for clip in self.clips], self.bootstrap)

    def band(self) -> Band:
        judged, labels = self.judged, self.labels
        found = bands(judged.probabilities, judged.thresholds, judged.uncertain_from)
        uncertain = found == BANDS.index("uncertain")
        return Band(
            uncertain_from=distinct(judged.uncertain_from),
            uncertain_emergency=_share(uncertain[labels]),
            uncertain_normal=_share(uncertain[~labels]),
            lost_emergency=_share(found[labels] == BANDS.index("normal")),
        )

    def subsets(self) -> dict[str, Estimate]:
        """Accuracy, at a probability of one half, on the parts of these clips that the manifest tells apart."""
        parts: dict[str, Callable[[Clip], bool]] = {
            "sentence patterns that training knows": lambda clip: not clip.unseen_template,
            "sentence patterns that training never saw": lambda clip: clip.unseen_template,
            "plain sentences": lambda clip: clip.difficulty == "plain",
            "hard sentences": lambda clip: clip.difficulty == "hard",
            "transcripts without recognition errors": lambda clip: not clip.transcript_noise,
            "transcripts with recognition errors": lambda clip: clip.transcript_noise,
        }
        right = (self.scores >= EVEN) == self.labels
        inside = {name: np.array([belongs(clip) for clip in self.clips]) for name, belongs in parts.items()}
        return {name: _share(right[part]) for name, part in inside.items() if 0 < part.sum() < len(part)}


def _share(true: Labels) -> Estimate:
    return wilson(int(true.sum()), len(true))
