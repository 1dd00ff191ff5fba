"""Which clips a corpus has: drawn in one process from one seed, before a sound is made."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from training.manifest import SPLITS, Clip, Label, Split, normalise_sentence
from training.synthetic.backgrounds import LINE_RATE_HZ
from training.synthetic.casting import (
    AGITATED_SHARE,
    MAX_CLIP_S,
    MAX_SPEECH_S,
    MIN_CLIP_S,
    MIN_SPEECH_S,
    RAISED_TILT_DB,
    TILT_DB,
    Casting,
    Condition,
    agitated,
    background_group,
    casting_beside,
    casting_of,
    draw_condition,
    expected_speech_s,
    speaker_group,
)
from training.synthetic.korean import garble, without_punctuation
from training.synthetic.sentences import (
    HARD_EMERGENCY_SHARE,
    HARD_NORMAL_SHARE,
    Difficulty,
    Sentence,
    Theme,
    draw,
    themes,
)
from training.synthetic.speech import Voice

SOURCE: Final = "synthetic"
HELD_OUT_SHARE: Final = 0.125  # of all clips, for validation and for test each
MIN_CLIPS: Final = 16
MATCH_TOLERANCE: Final = 0.05  # of the speech's length, within a pair
MATCH_TRIES: Final = 200
PAIR_TRIES: Final = 50
GARBLE_TRIES: Final = 20


class PlanError(ValueError):
    """A corpus that cannot be planned; the message gives the value and the rule."""


@dataclass(frozen=True, slots=True)
class PlannedClip:
    """One row of the manifest and what rendering needs beyond it."""

    clip: Clip
    spoken: str  # with the marks that steer pauses
    voice: Voice
    speech_s: float
    lead_s: float
    take_seed: int
    tilt_db: float


@dataclass(frozen=True, slots=True)
class _Line:
    sentence: Sentence
    theme: Theme
    voice: Voice
    speech_s: float
    tilt_db: float


@dataclass(slots=True)
class _Planner:
    rng: random.Random
    taken: set[str] = field(default_factory=set)  # normalised sentences, over all splits

    def line(self, theme: Theme, split: Split, voice: Voice, fits: Callable[[float], bool], tries: int) -> _Line | None:
        """A new sentence whose spoken length `fits`, or None where `tries` draws brought none."""
        tilt_db = self.rng.uniform(*TILT_DB)
        if stressed := self.rng.random() < AGITATED_SHARE[theme.label, theme.difficulty]:
            voice = agitated(voice)
            tilt_db += self.rng.uniform(*RAISED_TILT_DB)
        for _ in range(tries):
            sentence = draw(theme, split, self.rng)
            speech_s = expected_speech_s(sentence.text, voice.rate_wpm)
            if fits(speech_s) and normalise_sentence(sentence.text) not in self.taken:
                if stressed and self.rng.random() < 0.5:
                    sentence = replace(sentence, text=sentence.text.replace(".", "!"))
                return _Line(sentence, theme, voice, speech_s, round(tilt_db, 2))
        return None

    def pair(self, emergency: Theme, normal: Theme, split: Split, casting: Casting) -> tuple[PlannedClip, PlannedClip]:
        """An emergency and a normal clip of one recording condition and one length."""
        condition = draw_condition(casting, self.rng)
        for _ in range(PAIR_TRIES):
            first = self.line(emergency, split, condition.voice, _sayable, MATCH_TRIES)
            if first is None:
                continue
            second = self.line(normal, split, condition.voice, _matching(first.speech_s), MATCH_TRIES)
            if second is not None:
                lines = (first, second)
                a, b = (self.planned(line, split, casting, condition, first.speech_s) for line in lines)
                return a, b
        raise PlanError(
            f"no new pair of sentences for {emergency.kind} and {normal.kind} ({split}); "
            "the grammar is spent: ask for fewer clips"
        )

    def planned(
        self, line: _Line, split: Split, casting: Casting, condition: Condition, speech_s: float
    ) -> PlannedClip:
        text = without_punctuation(line.sentence.text)
        self.taken.add(normalise_sentence(text))
        transcript = self.transcript(text) if condition.transcript_noise else text
        take_seed = self.rng.choice(casting.takes[condition.background])
        wanted_s = speech_s + condition.padding_s
        samples = round(LINE_RATE_HZ * min(max(wanted_s, MIN_CLIP_S), MAX_CLIP_S))
        duration_s = samples / LINE_RATE_HZ
        clip = Clip(
            clip_id="",
            path="",
            text=transcript,
            label=line.theme.label,
            kind=line.theme.kind,
            split=split,
            seed=0,
            duration_s=duration_s,
            source=SOURCE,
            speaker_group=speaker_group(condition.voice),
            background_group=background_group(condition.background, take_seed),
            template_group=line.sentence.template_id,
            difficulty=line.theme.difficulty,
            unseen_template=line.sentence.unseen_template,
            transcript_noise=transcript != text,
            spoken_text=text,
            voice=line.voice.variant,
            rate_wpm=line.voice.rate_wpm,
            pitch=line.voice.pitch,
            pitch_range=line.voice.pitch_range,
            background=condition.background,
            snr_db=condition.snr_db,
            level_dbfs=condition.level_dbfs,
            echo_s=condition.echo_s,
            overdrive_db=condition.overdrive_db,
        )
        lead_s = (duration_s - speech_s) * condition.lead_share
        return PlannedClip(clip, line.sentence.text, line.voice, speech_s, lead_s, take_seed, line.tilt_db)

    def transcript(self, text: str) -> str:
        """`text` with recognition errors, different from every sentence so far."""
        for _ in range(GARBLE_TRIES):
            noisy = garble(text, self.rng)
            key = normalise_sentence(noisy)
            if noisy != text and (key not in self.taken or key == normalise_sentence(text)):
                self.taken.add(key)
                return noisy
        return text


def _sayable(speech_s: float) -> bool:
    return MIN_SPEECH_S <= speech_s <= MAX_SPEECH_S


def _matching(speech_s: float) -> Callable[[float], bool]:
    return lambda other_s: abs(other_s - speech_s) <= MATCH_TOLERANCE * speech_s


def _difficulties(count: int, hard_share: float) -> Iterator[Difficulty]:
    for index in range(count):
        yield "hard" if int((index + 1) * hard_share) > int(index * hard_share) else "plain"


def _themes_in_turn(label: Label, count: int, rng: random.Random) -> list[Theme]:
    """`count` themes: every kind as often as every other, the hard share exact, in random order."""
    hard_share = HARD_EMERGENCY_SHARE if label == "emergency" else HARD_NORMAL_SHARE
    chosen: list[Theme] = []
    turns = {"plain": 0, "hard": 0}
    for index, difficulty in enumerate(_difficulties(count, hard_share)):
        of_class = themes(label, difficulty)
        # An emergency kind takes its turn at either difficulty; the topics of normal calls differ between the two.
        chosen.append(of_class[(index if label == "emergency" else turns[difficulty]) % len(of_class)])
        turns[difficulty] += 1
    rng.shuffle(chosen)
    return chosen


def split_sizes(pairs: int) -> dict[Split, int]:
    """How many pairs each split gets."""
    held_out = round(pairs * HELD_OUT_SHARE)
    return {"train": pairs - 2 * held_out, "validation": held_out, "test": held_out}


def _numbered(planned: Sequence[PlannedClip], seed: int) -> Iterator[PlannedClip]:
    for index, item in enumerate(planned):
        clip_id = f"syn-{index:06d}"
        clip_seed = int(np.random.SeedSequence((seed, index)).generate_state(1)[0])
        yield replace(item, clip=replace(item.clip, clip_id=clip_id, path=f"clips/{clip_id}.wav", seed=clip_seed))


def plan_corpus(clips: int, seed: int) -> list[PlannedClip]:
    """`clips` planned clips, half emergency and half normal, split, in an order that tells nothing.

    Raises PlanError for an odd number or fewer than MIN_CLIPS, a negative seed, or more sentences than there are.
    """
    if clips < MIN_CLIPS or clips % 2:
        raise PlanError(f"clips {clips} must be even and at least {MIN_CLIPS}")
    if seed < 0:
        raise PlanError(f"seed {seed} must be at least 0")
    planner = _Planner(random.Random(seed))
    planned: list[PlannedClip] = []
    sizes = split_sizes(clips // 2)
    for split in SPLITS:
        planned.extend(_pairs(planner, sizes[split], split, casting_of(split, seed)))
    planner.rng.shuffle(planned)
    return list(_numbered(planned, seed))


def plan_matched(clips: int, seed: int, beside: Sequence[Clip]) -> list[PlannedClip]:
    """`clips` test clips with sentences that no clip of the corpus `beside` has, but voices and backgrounds that its
    training clips have: what a model makes of them tells how much of its errors comes from new ones.

    `seed` must be that corpus's, from which its backgrounds are made. Raises PlanError as `plan_corpus` does.
    """
    if clips < MIN_CLIPS or clips % 2:
        raise PlanError(f"clips {clips} must be even and at least {MIN_CLIPS}")
    taken = {normalise_sentence(text) for clip in beside for text in (clip.text, clip.spoken_text)}
    planner = _Planner(random.Random(f"matched {seed}"), taken)
    planned = list(_pairs(planner, clips // 2, "test", casting_beside(beside, seed)))
    planner.rng.shuffle(planned)
    return list(_numbered(planned, seed))


def _pairs(planner: _Planner, count: int, split: Split, casting: Casting) -> Iterator[PlannedClip]:
    emergencies = _themes_in_turn("emergency", count, planner.rng)
    normals = _themes_in_turn("normal", count, planner.rng)
    for emergency, normal in zip(emergencies, normals, strict=True):
        yield from planner.pair(emergency, normal, split, casting)
