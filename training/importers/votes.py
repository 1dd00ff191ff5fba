"""Five raters' judgements of one sentence, their spellings, and the rule that makes one emotion of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from training.importers.findings import BadItem

Rule = Literal["majority", "plurality", "any", "unanimous"]
RULES: Final[tuple[Rule, ...]] = get_args(Rule)
RATERS: Final = 5
MAJORITY: Final = 3
INTENSITIES: Final = ("0", "1", "2")
UNDECIDED: Final = "undecided"
SPELLINGS: Final = {
    "angry": ("angry", "anger"),
    "sad": ("sad", "sadness"),
    "happy": ("happy", "happiness"),
    "fear": ("fear", "fearful"),
    "disgust": ("disgust", "disgusted"),
    "surprise": ("surprise", "surprised"),
    "neutral": ("neutral",),
}  # files differ by year and by column; case differs too
EMOTIONS: Final = tuple(SPELLINGS)
_EMOTION_OF: Final = {spelling: emotion for emotion, spellings in SPELLINGS.items() for spelling in spellings}


@dataclass(frozen=True, slots=True)
class Votes:
    """The judgements of one row in the raters' order."""

    emotions: tuple[str, ...]  # (RATERS,), each one of EMOTIONS
    intensities: tuple[str, ...]  # (RATERS,), each one of INTENSITIES

    @property
    def ranked(self) -> list[tuple[str, int]]:
        """Emotions with their number of votes, the most frequent first, ties in order of EMOTIONS."""
        return sorted(Counter(self.emotions).items(), key=lambda item: (-item[1], EMOTIONS.index(item[0])))

    @property
    def agreement(self) -> float:
        """The share of raters that chose the most frequent emotion."""
        return self.ranked[0][1] / len(self.emotions)

    def counts_cell(self) -> str:
        """The manifest's `votes`: "angry:3 sad:2"."""
        return " ".join(f"{emotion}:{count}" for emotion, count in self.ranked)

    def intensities_cell(self) -> str:
        """The manifest's `intensities`: "angry:2,1,1 sad:0,1"."""
        cells = list(zip(self.emotions, self.intensities, strict=True))
        return " ".join(
            f"{emotion}:{','.join(intensity for voted, intensity in cells if voted == emotion)}"
            for emotion, _ in self.ranked
        )


def read_votes(emotions: Sequence[str], intensities: Sequence[str]) -> Votes:
    """The votes of RATERS cells each, in their one spelling; raises BadItem for an unknown emotion or intensity."""
    names = []
    for rater, cell in enumerate(emotions, start=1):
        emotion = _EMOTION_OF.get(cell.strip().casefold())
        if emotion is None:
            raise BadItem("emotion is unknown", f"rater {rater}: {cell!r:.40}; known are {', '.join(EMOTIONS)}")
        names.append(emotion)
    levels = []
    for rater, cell in enumerate(intensities, start=1):
        level = cell.strip().removesuffix(".0")  # spreadsheets make 1.0 of 1
        if level not in INTENSITIES:
            raise BadItem("emotion intensity is not 0, 1 or 2", f"rater {rater}: {cell!r:.40}")
        levels.append(level)
    return Votes(tuple(names), tuple(levels))


def decide(votes: Votes, rule: Rule, wanted: Collection[str] = EMOTIONS) -> str:
    """The emotion of a row by `rule`, or "" where the rule gives none or one that is not wanted.

    majority: at least MAJORITY of the five; plurality: more than any other; unanimous: all. any: one rater is enough,
    the most frequent of the wanted emotions names the row, and a tie among them is UNDECIDED.
    """
    if rule == "any":
        return _most_frequent([vote for vote in votes.ranked if vote[0] in wanted], tie=UNDECIDED)
    least = {"majority": MAJORITY, "plurality": 1, "unanimous": RATERS}[rule]
    emotion = _most_frequent(votes.ranked, tie="")
    return emotion if votes.ranked[0][1] >= least and emotion in wanted else ""


def _most_frequent(ranked: Sequence[tuple[str, int]], tie: str) -> str:
    if not ranked:
        return ""
    return tie if len(ranked) > 1 and ranked[0][1] == ranked[1][1] else ranked[0][0]
