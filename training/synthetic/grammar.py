"""Sentence patterns: `[a|b|]` takes one of the alternatives, `{slot}` a filling, `:이` after either the right particle.

A filling is a pattern itself. Patterns are parsed once; rendering draws from a `random.Random`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from training.synthetic.korean import PARTICLES, josa

_PARTICLE: Final = re.compile(":(" + "|".join(sorted(PARTICLES, key=len, reverse=True)) + ")")
_SPACES: Final = re.compile(r"\s+")
_SPACE_BEFORE_MARK: Final = re.compile(r"\s+([,.?])")
_REPEATED_MARK: Final = re.compile(r"([,.?])[,.\s]*(?=[,.?])")


@dataclass(frozen=True, slots=True)
class Slot:
    name: str
    particle: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    alternatives: tuple[Sequence_, ...]
    particle: str = ""


Sequence_: TypeAlias = "tuple[str | Slot | Choice, ...]"


class PatternError(ValueError):
    """A pattern that does not parse; the message gives the pattern and the place."""


@dataclass(slots=True)
class _Parser:
    pattern: str
    at: int = 0

    def parse(self) -> Sequence_:
        parts = self.sequence(closing="")
        if self.at != len(self.pattern):
            raise self.error("unexpected bracket")
        return parts

    def sequence(self, closing: str) -> Sequence_:
        parts: list[str | Slot | Choice] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in closing + "]":
            char = self.pattern[self.at]
            if char == "[":
                parts.append(self.choice())
            elif char == "{":
                parts.append(self.slot())
            elif char in "}|:":
                raise self.error("unexpected mark")
            else:
                parts.append(self.literal())
        return tuple(parts)

    def literal(self) -> str:
        start = self.at
        while self.at < len(self.pattern) and self.pattern[self.at] not in "[]{}|:":
            self.at += 1
        return self.pattern[start : self.at]

    def choice(self) -> Choice:
        self.at += 1
        alternatives = [self.sequence(closing="|]")]
        while self.pattern[self.at : self.at + 1] == "|":
            self.at += 1
            alternatives.append(self.sequence(closing="|]"))
        if self.pattern[self.at : self.at + 1] != "]":
            raise self.error("a choice must be closed")
        self.at += 1
        return Choice(tuple(alternatives), self.particle())

    def slot(self) -> Slot:
        end = self.pattern.find("}", self.at)
        if end < 0:
            raise self.error("a slot must be closed")
        name, _, particle = self.pattern[self.at + 1 : end].partition(":")
        self.at = end + 1
        if particle and particle not in PARTICLES:
            raise self.error(f"unknown particle {particle!r}")
        return Slot(name, particle)

    def particle(self) -> str:
        match = _PARTICLE.match(self.pattern, self.at)
        if match is None:
            return ""
        self.at = match.end()
        return match[1]

    def error(self, rule: str) -> PatternError:
        return PatternError(f"{self.pattern!r} at {self.at}: {rule}")


@dataclass(frozen=True)
class Grammar:
    """Parsed patterns over a table of slots.

    Raises PatternError for a pattern that does not parse or names an unknown slot.
    """

    slots: Mapping[str, Sequence[str]]
    _parsed: dict[str, Sequence_] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for fillings in self.slots.values():
            for filling in fillings:
                self.check(filling)

    def check(self, pattern: str) -> None:
        """Parse `pattern` and look its slots up."""
        self._check_slots(self._parse(pattern), pattern)

    def _check_slots(self, parts: Sequence_, pattern: str) -> None:
        for part in parts:
            if isinstance(part, Slot) and part.name not in self.slots:
                raise PatternError(f"{pattern!r}: slot {part.name!r} has no fillings")
            if isinstance(part, Choice):
                for alternative in part.alternatives:
                    self._check_slots(alternative, pattern)

    def _parse(self, pattern: str) -> Sequence_:
        if pattern not in self._parsed:
            self._parsed[pattern] = _Parser(pattern).parse()
        return self._parsed[pattern]

    def render(self, pattern: str, rng: random.Random) -> str:
        """One sentence of `pattern`, spaces and marks tidied."""
        text = _SPACES.sub(" ", self._render(self._parse(pattern), rng))
        return _REPEATED_MARK.sub("", _SPACE_BEFORE_MARK.sub(r"\1", text)).strip(" ,.")

    def _render(self, parts: Sequence_, rng: random.Random) -> str:
        return "".join(part if isinstance(part, str) else self._render_part(part, rng) for part in parts)

    def _render_part(self, part: Slot | Choice, rng: random.Random) -> str:
        if isinstance(part, Slot):
            text = self._render(self._parse(rng.choice(self.slots[part.name])), rng)
        else:
            text = self._render(rng.choice(part.alternatives), rng)
        return josa(text, part.particle) if part.particle else text
