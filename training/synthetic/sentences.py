"""Sentences of callers, composed from patterns: which topics there are, which patterns a split may use, how to draw."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from training.manifest import EMERGENCY_KINDS, Label, Split
from training.synthetic.data import (
    accident_words,
    crime_words,
    disaster_words,
    emergency_assault,
    emergency_disaster,
    emergency_fire,
    emergency_injury,
    emergency_property,
    everyday_words,
    hard_business,
    hard_feelings,
    hard_stories,
    hard_words,
    normal_life,
    normal_offices,
    normal_orders,
    words,
)
from training.synthetic.data.topic import Topic
from training.synthetic.grammar import Grammar

Difficulty = Literal["plain", "hard"]

_WORDS: Final = (words, accident_words, crime_words, disaster_words, everyday_words, hard_words)
_EMERGENCIES: Final = tuple(
    topic
    for table in (emergency_assault, emergency_disaster, emergency_fire, emergency_injury, emergency_property)
    for topic in table.TOPICS
)
_EVERYDAY: Final = (*normal_orders.TOPICS, *normal_offices.TOPICS, *normal_life.TOPICS)
_HARD_NORMAL: Final = (*hard_stories.TOPICS, *hard_business.TOPICS, *hard_feelings.TOPICS)

OPENING_SHARE: Final = 0.5  # of sentences that open with words before the matter
OPENING_IS_SHARED: Final = 0.6  # of openings that come from the list both classes use
TAIL_SHARE: Final = 0.6
TAIL_IS_SHARED: Final = 0.3
UNSEEN_SHARE: Final = 0.5  # of validation and test sentences whose pattern training never uses
HARD_EMERGENCY_SHARE: Final = 0.2
HARD_NORMAL_SHARE: Final = 0.4
CLUMSY_RETRIES: Final = 4  # "...는데 ...는데요" is possible Korean, but one is enough
UNSEEN_PATTERNS: Final = 0.1  # of a list's patterns, kept for the validation split and as many for the test split


@dataclass(frozen=True, slots=True)
class Pattern:
    """One sentence pattern of a topic; `only_in` names the split it is kept for."""

    template_id: str
    text: str
    only_in: Split | None


@dataclass(frozen=True, slots=True)
class Theme:
    """A topic at one difficulty, ready to draw from."""

    kind: str
    label: Label
    difficulty: Difficulty
    opens: tuple[str, ...]
    tails: tuple[str, ...]
    patterns: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Sentence:
    """What a caller says, with commas and full stops that steer the synthesiser's pauses."""

    text: str
    template_id: str
    unseen_template: bool


def _merged_slots() -> dict[str, tuple[str, ...]]:
    slots: dict[str, tuple[str, ...]] = {}
    for table in _WORDS:
        if clash := slots.keys() & table.SLOTS.keys():
            raise ValueError(f"{table.__name__} fills slots that another table fills: {sorted(clash)}")
        slots |= table.SLOTS
    return slots


@cache
def grammar() -> Grammar:
    """All slots of all tables, every pattern checked."""
    made = Grammar(_merged_slots())
    for topic in (*_EMERGENCIES, *_EVERYDAY, *_HARD_NORMAL):
        for pattern in (*topic.opens, *topic.plain, *topic.hard, *topic.tails):
            made.check(pattern)
    return made


def _kept_for(index: int, count: int) -> Split | None:
    for_each = max(1, round(count * UNSEEN_PATTERNS))
    if index >= count - for_each:
        return "test"
    return "validation" if index >= count - 2 * for_each else None


def _theme(topic: Topic, difficulty: Difficulty, texts: tuple[str, ...]) -> Theme:
    patterns = tuple(
        Pattern(f"{topic.kind}/{difficulty}-{number}", text, _kept_for(number - 1, len(texts)))
        for number, text in enumerate(texts, start=1)
    )
    return Theme(topic.kind, topic.label, difficulty, topic.opens, topic.tails, patterns)


@cache
def themes(label: Label, difficulty: Difficulty) -> tuple[Theme, ...]:
    """The themes of a class at a difficulty, in a fixed order.

    Hard emergencies are calm or indirect; hard normal calls use the words of emergencies.
    """
    if label == "emergency":
        topics = sorted(_EMERGENCIES, key=lambda topic: EMERGENCY_KINDS.index(topic.kind))
        return tuple(_theme(t, difficulty, t.hard if difficulty == "hard" else t.plain) for t in topics)
    normal = _HARD_NORMAL if difficulty == "hard" else _EVERYDAY
    return tuple(_theme(topic, difficulty, topic.plain) for topic in normal)


@cache
def _usable(theme: Theme, split: Split, unseen: bool) -> tuple[Pattern, ...]:
    wanted = split if unseen else None
    return tuple(pattern for pattern in theme.patterns if pattern.only_in == wanted)


def _opening(theme: Theme, rng: random.Random) -> str:
    if rng.random() >= OPENING_SHARE:
        return ""
    return "{open}" if rng.random() < OPENING_IS_SHARED else rng.choice(theme.opens)


def _tail(theme: Theme, rng: random.Random) -> str:
    if rng.random() >= TAIL_SHARE:
        return ""
    return "{close}" if rng.random() < TAIL_IS_SHARED else rng.choice(theme.tails)


def _matter(pattern: str, rng: random.Random) -> str:
    text = grammar().render(pattern, rng)
    for _ in range(CLUMSY_RETRIES):
        if text.count("는데") < 2 and text.count("거든") < 2:
            break
        text = grammar().render(pattern, rng)
    return text


def draw(theme: Theme, split: Split, rng: random.Random) -> Sentence:
    """One sentence of `theme` that `split` may hold; validation and test draw half from patterns kept for them."""
    unseen = split != "train" and rng.random() < UNSEEN_SHARE
    pattern = rng.choice(_usable(theme, split, unseen))
    opening, tail = _opening(theme, rng), _tail(theme, rng)
    parts = (grammar().render(opening, rng), _matter(pattern.text, rng), grammar().render(tail, rng))
    return Sentence(". ".join(part for part in parts if part) + ".", pattern.template_id, unseen)
