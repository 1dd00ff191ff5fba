"""Pictures in two themes, for readers who read on white and for those who read on black."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from training.plotting import figure_style, new_figure, svg_text
from training.report.html import Markup, element

WIDTH_IN: Final = 9.0
_TICKS: Final = (1, 2, 5)


@dataclass(frozen=True)
class Theme:
    """Colours, as Okabe and Ito chose them for all kinds of eyes: blue, orange, green, purple; and marks."""

    ink: str
    soft: str
    line: str
    series: tuple[str, str, str, str]
    good: str
    bad: str
    ramp: str  # matplotlib's name of a sequence of colours, from few to many

    def settings(self) -> Any:  # matplotlib types the keys by name
        """For matplotlib: all that is drawn in ink, on nothing."""
        inks = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), self.ink)
        nothing = dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none")
        return {**inks, **nothing, "axes.edgecolor": self.soft, "grid.color": self.line, "font.size": 10.5}


LIGHT: Final = Theme("#1d2328", "#5b6770", "#dde2e6", ("#0072b2", "#d55e00", "#009e73", "#9a5a86"),
                     "#2d6a4f", "#a4161a", "viridis_r")  # fmt: skip
DARK: Final = Theme("#e6e9ec", "#a3afb8", "#36404a", ("#56b4e9", "#f0a04b", "#2fc795", "#d79bc2"),
                    "#8fd3ae", "#ff8b8e", "viridis")  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A picture in both themes, what it says to those who do not see it, and the sentence below it."""

    light: str
    dark: str
    alternative: str
    caption: str

    def figure(self) -> Markup:
        """As HTML; the pictures are data, so that the names inside of two of them cannot meet."""
        dark = Markup(f'<source srcset="{_data(self.dark)}" media="(prefers-color-scheme: dark)">')
        image = element("img", src=_data(self.light), alt=self.alternative)
        return element("figure", element("picture", dark, image), element("figcaption", self.caption))


def picture(draw: Callable[[Axes, Theme], None], height_in: float, alternative: str, caption: str) -> Picture:
    """Has both themes drawn into one pair of axes each."""
    return Picture(_drawn(draw, height_in, LIGHT), _drawn(draw, height_in, DARK), alternative, caption)


def _drawn(draw: Callable[[Axes, Theme], None], height_in: float, theme: Theme) -> str:
    with figure_style(), mpl.rc_context(theme.settings()):
        figure: Figure = new_figure(WIDTH_IN, height_in)
        axes = figure.subplots()
        draw(axes, theme)
        return svg_text(figure)


def _data(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode('utf-8')).decode('ascii')}"


def logarithmic(axes: Axes, low: float, high: float) -> None:
    """A logarithmic y axis with ticks that read 1, 2, 5, 10."""
    axes.set(yscale="log", ylim=(low, high))
    decades = range(-3, 7)
    axes.yaxis.set_major_locator(FixedLocator([tick * 10.0**power for power in decades for tick in _TICKS]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def note_limit(axes: Axes, theme: Theme, text: str, y: float) -> None:
    """A horizontal line with its name above its left end."""
    axes.axhline(y, color=theme.bad, linewidth=1)
    axes.annotate(text, (0, y), xycoords=("axes fraction", "data"), xytext=(4, 3), textcoords="offset points",
                  color=theme.bad)  # fmt: skip


def bars(axes: Axes, theme: Theme, names: Sequence[str], values: Sequence[float], unit: str) -> None:
    """Horizontal bars from the top down, each with its number."""
    rows = range(len(names))
    axes.barh(rows, values, color=theme.series[0], height=0.62)
    for row, value in zip(rows, values, strict=True):
        axes.text(value + max(values) * 0.01, row, f"{value:.2f}", va="center")
    axes.set(yticks=rows, yticklabels=names, xlabel=unit, xlim=(0, max(values) * 1.12 or 1))
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
