"""All that a report says, before it is written down: figures, what they were measured on, and the verdict."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Final, Literal

from preprocess_service.contract import Contract
from training.dataset import Corpus
from training.report.history import History
from training.report.judgement import Judgement
from training.report.measurement import Measured
from training.report.shortcuts import Shortcuts
from training.synthetic.plan import SOURCE as SYNTHETIC

PACKAGES: Final = ("numpy", "scipy", "onnxruntime-gpu", "keras", "tensorflow", "konlpy")
FIRST_CHOICE: Final = "multimodal"

# INVALID: the class can be told without a word. UNPROVEN: that could not be checked. SYNTHETIC: nobody called here.
Status = Literal["INVALID", "UNPROVEN", "SYNTHETIC", "VALID"]


@dataclass(frozen=True)
class Surroundings:
    """What was measured, when, and on what kind of machine."""

    sources: str
    fingerprint: str
    clips: dict[str, int]  # by split
    synthetic_share: float  # of the test clips
    without_speaker: float  # share of all clips whose speaker the corpus does not tell
    date: str
    machine: str
    versions: dict[str, str]
    quick: bool


@dataclass(frozen=True)
class Model:
    """One version of a model and its figures."""

    contract: Contract
    measured: Measured
    history: History | None

    judgement: Judgement  # the single answers, for plots
    same_corpus: bool  # as it was trained on: only then its test split is known to be unheard

    @property
    def name(self) -> str:
        return f"{self.contract.model}/{self.contract.version}"


@dataclass(frozen=True)
class Findings:
    surroundings: Surroundings
    shortcuts: Shortcuts
    models: dict[str, Model]
    missing: tuple[str, ...]  # models without a version in the repository

    @property
    def status(self) -> Status:
        if self.shortcuts.valid is None:
            return "UNPROVEN"
        if not self.shortcuts.valid:
            return "INVALID"
        return "SYNTHETIC" if self.surroundings.synthetic_share else "VALID"

    @property
    def first(self) -> Model | None:
        """The model that the headline speaks of: the default one, else the one that separates best."""
        ranked = sorted(self.models.values(), key=lambda model: -model.measured.metrics.auc.value)
        return self.models.get(FIRST_CHOICE) or (ranked[0] if ranked else None)


def surroundings(corpus: Corpus, *, quick: bool) -> Surroundings:
    """What can be said of a corpus and of this machine without naming either's place."""
    test = [clip for clip in corpus.clips if clip.split == "test"]
    counted = {split: sum(clip.split == split for clip in corpus.clips) for split in ("train", "validation", "test")}
    return Surroundings(
        sources=corpus.sources,
        fingerprint=corpus.fingerprint,
        clips=counted,
        synthetic_share=sum(clip.source == SYNTHETIC for clip in test) / max(1, len(test)),
        without_speaker=sum(not clip.speaker_group for clip in corpus.clips) / max(1, len(corpus.clips)),
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=f"{platform.machine()}, {os.cpu_count()} cores",
        versions={"Python": platform.python_version()} | _versions(PACKAGES),
        quick=quick,
    )


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
