"""One picture of an import: hours per class, recording formats and lengths, each by label."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.importers.summary import Amount, Summary
from training.manifest import LABELS
from training.plotting import EMERGENCY_COLOUR, NORMAL_COLOUR, figure_style, new_figure, png_bytes

PICTURE_NAME: Final = "import_summary.png"
LEAST_ROWS: Final = 5  # one bar alone does not fill a picture
_COLOURS: Final = {"emergency": EMERGENCY_COLOUR, "normal": NORMAL_COLOUR}


def write_picture(folder: Path, summary: Summary) -> None:
    """PICTURE_NAME in `folder`; complete or not at all."""
    path = folder / PICTURE_NAME
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(png_bytes(draw(summary)))
    partial.replace(path)


def draw(summary: Summary) -> Figure:
    """The figure: classes on the left, formats above lengths on the right."""
    with figure_style():
        figure = new_figure(12, max(6.0, 1.5 + 0.36 * len(summary.kinds)))
        grid = figure.add_gridspec(2, 2, width_ratios=(1.15, 1))
        _bars(figure.add_subplot(grid[:, 0]), summary.kinds, "Hours per class (and clips)")
        _bars(figure.add_subplot(grid[0, 1]), summary.formats, "Hours per rate and depth (and clips)")
        _bars(figure.add_subplot(grid[1, 1]), summary.durations, "Hours per length of clip (and clips)")
        title = f"{summary.corpus}: {summary.total.clips.total():,} clips, {summary.total.hours:,.2f} h"
        figure.suptitle(title, fontsize=14, fontweight="bold")
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _bars(axes: Axes, amounts: dict[str, Amount], title: str) -> None:
    """Horizontal bars, one a name, the labels stacked, with the number of clips behind each."""
    rows = range(len(amounts))
    left = [0.0] * len(amounts)
    for label in LABELS:
        hours = [amount.seconds[label] / 3600 for amount in amounts.values()]
        axes.barh(rows, hours, left=left, color=_COLOURS[label], label=label)
        left = [before + here for before, here in zip(left, hours, strict=True)]
    for row, (amount, end) in enumerate(zip(amounts.values(), left, strict=True)):
        axes.annotate(f"{amount.clips.total():,}", (end, row), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(rows, list(amounts))
    axes.set_ylim(max(len(amounts), LEAST_ROWS) - 0.5, -0.5)
    axes.set_xlim(0, 1.15 * max(left, default=1.0))  # room for the numbers
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("hours")
