"""The shape of one topic's sentence patterns."""

from __future__ import annotations

from dataclasses import dataclass

from training.manifest import Label


@dataclass(frozen=True, slots=True)
class Topic:
    """Patterns of one kind of call.

    Order matters: of `plain` and of `hard`, the last tenth is kept for the test split alone and the tenth before it
    for the validation split alone (`sentences.UNSEEN_PATTERNS`).
    """

    kind: str
    label: Label
    opens: tuple[str, ...]  # said before the matter, beside the openings that both classes share
    plain: tuple[str, ...]
    tails: tuple[str, ...]  # said after it
    hard: tuple[str, ...] = ()
