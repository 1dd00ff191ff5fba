"""A conversation cut into pieces of a model's length, at the edges of utterances, each with the words spoken in it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Utterance:
    """What one speaker says in one go."""

    start_s: float
    end_s: float
    text: str
    speaker: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a conversation and its words."""

    start_s: float
    end_s: float
    text: str


def cut(utterances: Sequence[Utterance], max_s: float, speakers: Collection[str] | None = None) -> list[Piece]:
    """The pieces of a conversation in order of time, none longer than `max_s`.

    A piece is as many whole utterances one after another as fit. A single utterance that is longer is cut into equal
    parts, its words taken as spread evenly over it, as the service takes a transcript. With `speakers` only what
    these say is kept, and no piece reaches over an utterance of somebody else.
    """
    ordered = sorted(utterances, key=lambda utterance: (utterance.start_s, utterance.end_s))
    pieces: list[Piece] = []
    for run in _runs(ordered, max_s, speakers):
        text = " ".join(utterance.text for utterance in run if utterance.text)
        end_s = max(utterance.end_s for utterance in run)
        pieces += _parts(Piece(run[0].start_s, end_s, text), max_s)
    return pieces


def _runs(ordered: Sequence[Utterance], max_s: float, speakers: Collection[str] | None) -> Iterator[list[Utterance]]:
    run: list[Utterance] = []
    for utterance in ordered:
        if speakers is not None and utterance.speaker not in speakers:
            if run:
                yield run
            run = []
            continue
        if run and max(utterance.end_s, *(other.end_s for other in run)) - run[0].start_s > max_s:
            yield run
            run = []
        run.append(utterance)
    if run:
        yield run


def _parts(piece: Piece, max_s: float) -> list[Piece]:
    count = math.ceil(round((piece.end_s - piece.start_s) / max_s, 6))
    if count <= 1:
        return [piece]
    words, step_s = piece.text.split(), (piece.end_s - piece.start_s) / count
    edges = [round(piece.start_s + step_s * at, 3) for at in range(count)] + [piece.end_s]
    return [
        Piece(edges[at], edges[at + 1], " ".join(words[len(words) * at // count : len(words) * (at + 1) // count]))
        for at in range(count)
    ]
