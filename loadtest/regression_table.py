"""The table of `python -m loadtest compare`."""

from __future__ import annotations

import math
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from loadtest.figures import Figure
from loadtest.regression import Change, Comparison, Verdict
from loadtest.tables import BAD, DOUBTFUL, GOOD

STYLES: Final[dict[Verdict, str]] = {"worse": BAD, "better": GOOD, "same": "", "cannot be told": DOUBTFUL}


def panel(comparison: Comparison) -> RenderableType:
    """A row for every figure of both runs, what differs besides, and the verdict."""
    table = Table(title="medians of the repetitions, in brackets the lowest and the highest", title_justify="left")
    table.add_column("figure")
    for name in ("old", "new", "change", "verdict"):
        table.add_column(name, justify="left" if name == "verdict" else "right")
    for change in comparison.changes:
        old, new = _values(change.old), _values(change.new)
        verdict = Text(change.verdict, style=STYLES[change.verdict])
        table.add_row(f"{change.old.name}, {change.old.unit}", old, new, _moved(change), verdict)
    notes = [Text(note, style="dim") for note in comparison.notes]
    gone = [Text(f"no longer measured: {name}", style=BAD) for name in comparison.gone]
    added = [Text(f"not measured before: {name}", style="dim") for name in comparison.added]
    return Group(table, *notes, *gone, *added, _verdict(comparison))


def _verdict(comparison: Comparison) -> Text:
    worse = [f"{each.old.name} ({_moved(each)})" for each in comparison.changes if each.verdict == "worse"]
    worse += [f"{name} (no longer measured)" for name in comparison.gone]
    if worse:
        return Text(f"WORSE by more than noise: {'; '.join(worse)}", style=BAD)
    return Text("nothing got worse by more than noise", style=GOOD)


def _moved(change: Change) -> str:
    """The change of the median, with the sign of the figure itself."""
    if not math.isfinite(change.worse_by):
        return "from 0"
    by = change.worse_by if change.old.better == "lower" else -change.worse_by
    return f"{by + 0.0:+.1%}"  # no minus before a zero


def _values(figure: Figure) -> str:
    spread = f" ({min(figure.values):.4g}–{max(figure.values):.4g})" if len(figure.values) > 1 else ""
    return f"{figure.median:.4g}{spread}"
