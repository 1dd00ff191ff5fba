"""A model's answers to test clips, and the figures that need nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from preprocess_service.contract import OperatingPoint
from training.manifest import Clip, Label
from training.report.calibration import Calibration, calibration, tempered
from training.report.curves import Labels
from training.report.intervals import Estimate, Floats, Resampling, resampling, wilson
from training.report.metrics import EVEN, Metrics, measure, recall_by_kind
from training.report.shortcuts import SourcePairs, auc_by_source, group_of


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

    uncertain_from: float
    threshold: float
    uncertain_emergency: Estimate
    uncertain_normal: Estimate
    lost_emergency: Estimate


@dataclass(frozen=True)
class Judgement:
    """What a network answered (n,) to clips, before calibration."""

    bare: Floats
    clips: tuple[Clip, ...]
    point: OperatingPoint

    @property
    def scores(self) -> Floats:
        """Calibrated probabilities (n,)."""
        return self.point.calibrate(self.bare.astype(np.float32)).astype(np.float64)

    @property
    def labels(self) -> Labels:
        return np.array([clip.label == "emergency" for clip in self.clips], dtype=np.bool_)

    @property
    def bootstrap(self) -> Resampling:
        return resampling([group_of(clip) for clip in self.clips])

    def metrics(self) -> Metrics:
        return measure(self.scores, self.labels, self.point.threshold, self.bootstrap)

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
        return recall_by_kind(self.scores[inside], kinds, self.point.threshold)

    def sources(self) -> SourcePairs:
        return auc_by_source(self.scores, self.labels, [clip.source for clip in self.clips], self.bootstrap)

    def band(self) -> Band:
        scores, labels = self.scores, self.labels
        uncertain = (scores >= self.point.uncertain_from) & (scores < self.point.threshold)
        return Band(
            uncertain_from=self.point.uncertain_from,
            threshold=self.point.threshold,
            uncertain_emergency=_share(uncertain[labels]),
            uncertain_normal=_share(uncertain[~labels]),
            lost_emergency=_share(scores[labels] < self.point.uncertain_from),
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
