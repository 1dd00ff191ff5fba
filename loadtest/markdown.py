"""Tables in Markdown, for documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1) -> str:
    """The first `texts` columns stand left, the rest, numbers, right."""
    rules = ["---" if column < texts else "---:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rules, *rows))


def number(value: float | None, digits: int = 3) -> str:
    """The number in so many digits behind the point; a dash for none."""
    return "–" if value is None else f"{value:.{digits}f}"
