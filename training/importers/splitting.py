"""Which clip goes to which split: nothing that tells clips apart is in two of them, and all look alike otherwise.

Clips that share a recording, a speaker group or a background stay together, always. Clips that share a sentence stay
together where that joins few: common sentences would tie the whole corpus into one component. A sentence that would
make a component of more than LARGEST_SHARE of the corpus joins nothing; where it then lies in two splits, the clips
of the later one (train before validation before test) are left out and reported.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from training.manifest import SPLITS, Clip, Split, normalise_sentence

SHARES: Final[dict[Split, float]] = {"train": 0.75, "validation": 0.125, "test": 0.125}
LARGEST_SHARE: Final = 0.02  # of the clips, for a component that sentences join
Stratum = tuple[str, str, str]


@dataclass(frozen=True)
class Division:
    """The clips with their splits, and those left out."""

    clips: list[Clip]
    left_out: list[tuple[Clip, Clip]]  # a clip and one of an earlier split that says the same
    components: int
    largest_component: int  # clips


class _Components:
    """Union-find over the clips' indices, with sizes."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))
        self._size = [1] * count

    def root(self, at: int) -> int:
        while self._parent[at] != at:
            self._parent[at] = self._parent[self._parent[at]]
            at = self._parent[at]
        return at

    def join(self, members: Iterable[int], most: float = math.inf) -> None:
        """Makes one component of all members', unless it would have more than `most` clips."""
        roots = sorted({self.root(at) for at in members}, key=lambda at: -self._size[at])
        if sum(self._size[at] for at in roots) > most:
            return
        for root in roots[1:]:
            self._parent[root] = roots[0]
            self._size[roots[0]] += self._size[root]


def divide(clips: Sequence[Clip], seed: int) -> Division:
    """Assigns every clip a split, SHARES of the clips, of each label, kind and source as far as components allow.

    The same clips and seed give the same splits. Held-out marks of templates fall away: the splits they were made for
    are gone.
    """
    members = _members(clips)
    split_of: dict[int, Split] = {}
    strata = [(clip.source, clip.label, clip.kind) for clip in clips]
    for component, split in zip(members, _assign(members, strata, seed), strict=True):
        split_of.update(dict.fromkeys(component, split))
    divided = [replace(clip, split=split_of[at], unseen_template=False) for at, clip in enumerate(clips)]
    kept, left_out = _without_shared_sentences(divided)
    return Division(kept, left_out, len(members), max(map(len, members), default=0))


def _members(clips: Sequence[Clip]) -> list[list[int]]:
    """The indices of each component's clips."""
    components = _Components(len(clips))
    for column in ("source_clip", "speaker_group", "background_group"):
        for members in _by_value((at, getattr(clip, column)) for at, clip in enumerate(clips)):
            components.join(members)
    most = max(2, math.ceil(LARGEST_SHARE * len(clips)))
    sentences = _by_value((at, sentence) for at, clip in enumerate(clips) for sentence in sentences_of(clip))
    for members in sorted(sentences, key=len):  # rare ones first: they join most for their size
        components.join(members, most)
    found = defaultdict(list)
    for at in range(len(clips)):
        found[components.root(at)].append(at)
    return list(found.values())


def _by_value(pairs: Iterable[tuple[int, str]]) -> list[list[int]]:
    """Groups of at least two indices with equal values; "" is unknown."""
    groups = defaultdict(list)
    for at, value in pairs:
        if value:
            groups[value].append(at)
    return [members for members in groups.values() if len(members) > 1]


def sentences_of(clip: Clip) -> list[str]:
    """What the transcript says and what is really said, normalised and each once; empty ones are none."""
    return list(dict.fromkeys(filter(None, map(normalise_sentence, (clip.text, clip.spoken_text)))))


def _assign(members: Sequence[Sequence[int]], strata: Sequence[Stratum], seed: int) -> list[Split]:
    """A split for each component: large ones first, each to where it brings the strata nearest to their shares."""
    rng = random.Random(seed)
    totals = Counter(strata)
    there: dict[Split, Counter[Stratum]] = {split: Counter() for split in SPLITS}
    splits: list[Split] = ["train"] * len(members)
    ties = [rng.random() for _ in members]
    for at in sorted(range(len(members)), key=lambda at: (-len(members[at]), ties[at])):
        counts = Counter(strata[index] for index in members[at])
        splits[at] = min(SPLITS, key=lambda split: _added_deviation(counts, there[split], totals, SHARES[split]))
        there[splits[at]].update(counts)
    return splits


def _added_deviation(
    counts: Counter[Stratum], there: Counter[Stratum], totals: Counter[Stratum], share: float
) -> float:
    """How much the squared deviations from the shares grow, each relative to its expected size."""
    growth = 0.0
    for stratum, count in counts.items():
        due = share * totals[stratum]
        growth += count * (2 * (there[stratum] - due) + count) / due
    return growth


def _without_shared_sentences(clips: Sequence[Clip]) -> tuple[list[Clip], list[tuple[Clip, Clip]]]:
    owners: dict[str, Clip] = {}
    left_out = []
    gone = set()
    for split in SPLITS:
        for clip in clips:
            if clip.split != split:
                continue
            sentences = sentences_of(clip)
            owner = next((owners[said] for said in sentences if said in owners and owners[said].split != split), None)
            if owner is not None:
                left_out.append((clip, owner))
                gone.add(clip.clip_id)
            else:
                owners.update(dict.fromkeys(sentences, clip))
    return [clip for clip in clips if clip.clip_id not in gone], left_out
