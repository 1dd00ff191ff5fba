"""Latency against throughput of every setting, as SVG."""

from __future__ import annotations

from typing import Final

from loadtest.tune import decision
from loadtest.tune.measuring import Point
from loadtest.tune.sweep import Swept
from training.plotting import EMERGENCY_COLOUR, NORMAL_COLOUR, figure_style, new_figure, svg_text

GREY: Final = "#9a9a9a"
SIZE_IN: Final = (10.5, 5.6)


def pareto(swept: Swept, title: str, proposed: Point | None) -> str:
    """Both axes in ratios to the present setting measured beside; the noise as a grey cross, the front as a line."""
    points = ranked(swept)
    front = pareto_front(points)
    with figure_style():
        figure = new_figure(*SIZE_IN)
        axes = figure.subplots()
        noise = swept.noise
        axes.axvspan(1 - noise.latency, 1 + noise.latency, color=GREY, alpha=0.15, linewidth=0)
        axes.axhspan(1 - noise.throughput, 1 + noise.throughput, color=GREY, alpha=0.15, linewidth=0)
        line = [(1.0, 1.0) if each is None else (each.latency, each.throughput) for each in front]
        axes.plot(*zip(*line, strict=True), "-", color=NORMAL_COLOUR, linewidth=1, label="front")
        axes.plot([1], [1], "*", color="black", markersize=13, label="as now")
        for number, point in enumerate(points, start=1):
            colour, where = NORMAL_COLOUR if point in front else GREY, (point.latency, point.throughput)
            axes.plot(*([each] for each in where), "o", color=colour, markersize=5, label=f"{number}  {point.label}")
            # Neighbours' numbers stand on different sides.
            aside = (5, 4) if number % 2 else (-5, -4)
            axes.annotate(
                str(number),
                where,
                xytext=aside,
                textcoords="offset points",
                fontsize=8,
                ha="left" if number % 2 else "right",
                va="bottom" if number % 2 else "top",
            )
        if swept.final is not None:
            label = "proposed (measured anew)" if proposed else "the best, measured anew: not beyond the noise"
            axes.plot(
                [swept.final.latency], [swept.final.throughput], "D", color=EMERGENCY_COLOUR, markersize=7, label=label
            )
        axes.set_xscale("log")
        axes.set(xlabel="latency of one caller ÷ that of the present setting (to the left is better)")
        axes.set(ylabel="throughput ÷ that of the present setting", title=title)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        return svg_text(figure)


def ranked(swept: Swept) -> list[Point]:
    """In the order in which table and picture number them: the greatest throughput first."""
    return sorted(swept.points.values(), key=lambda each: -each.throughput)


def pareto_front(points: list[Point]) -> list[Point | None]:
    """Settings that no other beats in both; None stands for the present one."""
    told: list[tuple[Point | None, float, float]] = [(each, each.latency, each.throughput) for each in points]
    return decision.front([*told, (None, 1.0, 1.0)])
