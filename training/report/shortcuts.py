"""Whether the class can be told from the recording alone: then a high score says nothing about the words.

Emergencies and normal calls that come from different corpora differ in rate, noise floor, padding and length, and a
model scores well by hearing which corpus it is. Each probe here gets a part of the recording that holds no word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.manifest import Clip
from training.report.curves import Labels
from training.report.intervals import Estimate, Floats, Resampling
from training.report.listening import Heard
from training.report.probes import Probe, probe

LARGEST_SILENCE_AUC: Final = 0.6
SILENCE: Final = "silence only"
FEWEST_CLIPS_OF_SOURCE: Final = 20
_BLOCK: Final = 512  # rows of a pair matrix made at once


@dataclass(frozen=True)
class LabelProbe:
    """A probe of the label; `heard` says whether the models get to hear what it hears."""

    name: str
    heard: bool
    what: str
    result: Probe


@dataclass(frozen=True)
class SourceProbe:
    """How well one source corpus is told from all others, from what the models hear and from the files."""

    source: str
    clips: int
    emergencies: int
    heard: Probe
    file: Probe


@dataclass(frozen=True)
class Shortcuts:
    clips: int
    groups: int
    probes: tuple[LabelProbe, ...]
    sources: tuple[SourceProbe, ...]  # empty where all clips come from one source

    @property
    def silence_auc(self) -> float:
        """NaN where it could not be measured."""
        return next(each.result.auc.value for each in self.probes if each.name == SILENCE)

    @property
    def valid(self) -> bool | None:
        """Whether figures on this corpus may be believed; None where the silence probe could not be measured."""
        return None if np.isnan(self.silence_auc) else bool(self.silence_auc <= LARGEST_SILENCE_AUC)


def group_of(clip: Clip) -> str:
    """What no fold and no resample may tear apart: the caller where known, else the recording, else the clip."""
    return clip.speaker_group or clip.source_clip or ""


def find_shortcuts(heard: Heard, clips: Sequence[Clip]) -> Shortcuts:
    """Runs every probe on the features of these clips, which need both classes."""
    labels = np.array([clip.label == "emergency" for clip in clips])
    groups = [group_of(clip) for clip in clips]
    parts: tuple[tuple[str, bool, str, Floats], ...] = (
        (SILENCE, True, "the quietest fifth of the frames, and the silence before and after", heard.silence),
        ("high band only", True, "what lies above 3.4 kHz, beyond a telephone line", heard.high_band),
        ("metadata only", False, "rate, depth, channels, duration and size of the file", heard.file),
        ("high band of the file", False, "what lies above 3.4 kHz before the telephone path", heard.file_band),
        ("silence of the file", False, "as silence only, before level, trim and companding", heard.silence_of_file),
    )
    probes = tuple(LabelProbe(name, there, what, probe(part, labels, groups)) for name, there, what, part in parts)
    return Shortcuts(len(clips), probes[0].result.groups, probes, _sources(heard, clips, groups))


def _sources(heard: Heard, clips: Sequence[Clip], groups: Sequence[str]) -> tuple[SourceProbe, ...]:
    named = np.array([clip.source for clip in clips], dtype=np.str_)
    names, counts = np.unique(named, return_counts=True)
    if len(names) < 2:
        return ()
    as_heard = np.concatenate([heard.silence, heard.high_band], axis=1)
    of_file = np.concatenate([heard.file, heard.file_band, heard.silence_of_file], axis=1)
    is_emergency = np.array([clip.label == "emergency" for clip in clips])
    return tuple(
        SourceProbe(
            source=str(name) or "unnamed",
            clips=int(count),
            emergencies=int((is_emergency & (named == name)).sum()),
            heard=probe(as_heard, named == name, groups),
            file=probe(of_file, named == name, groups),
        )
        for name, count in zip(names, counts, strict=True)
        if count >= FEWEST_CLIPS_OF_SOURCE
    )


@dataclass(frozen=True)
class SourcePairs:
    """AUC over pairs of one emergency and one normal clip from the same source, and from two sources."""

    within: Estimate
    across: Estimate


def auc_by_source(scores: Floats, labels: Labels, sources: Sequence[str], bootstrap: Resampling) -> SourcePairs:
    """How well scores (n,) tell the classes within sources and across them; `n` counts pairs, NaN of none.

    A model that knows the corpus rather than the call does well across and poorly within.
    """
    names = np.array(sources, dtype=np.str_)
    same = names[labels][:, np.newaxis] == names[~labels]
    better = np.empty(same.shape, np.float32)
    for start in range(0, len(better), _BLOCK):
        difference = scores[labels][start : start + _BLOCK, np.newaxis] - scores[~labels]
        better[start : start + _BLOCK] = (np.sign(difference) + 1) / 2

    def measured(pairs: Labels) -> Estimate:
        def area(weights: Floats) -> Floats:
            up, down = weights[:, labels], weights[:, ~labels]
            total = ((up @ pairs) * down).sum(axis=1)
            right = ((up @ (better * pairs)) * down).sum(axis=1)
            return np.asarray(np.where(total > 0, right / np.maximum(total, 1), np.nan), dtype=np.float64)

        drawn = bootstrap.estimate(area)
        return Estimate(drawn.value, drawn.low, drawn.high, int(pairs.sum()))

    return SourcePairs(within=measured(same), across=measured(~same))
