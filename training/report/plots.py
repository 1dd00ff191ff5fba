"""The pictures of the report, as SVG files with letters as outlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from scipy import stats

from training.plotting import EMERGENCY_COLOUR, NORMAL_COLOUR, figure_style, new_figure, svg_text
from training.report.alarms import Delays, FalseAlarms
from training.report.calibration import Calibration
from training.report.curves import Curve, curve, probit
from training.report.intervals import Estimate
from training.report.judgement import Calibrations, Judgement
from training.report.metrics import FALSE_POSITIVE_RATES, HISTOGRAM_BINS, distinct, histogram
from training.report.shortcuts import LARGEST_SILENCE_AUC

LEAST_RATE: Final = 5e-4  # where the logarithmic axes begin
_DET_TICKS: Final = (0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95)
_LINE_COLOURS: Final = ("#d1495b", "#2e6f95", "#66a182", "#edae49", "#7d5ba6", "#8d6a4f", "#3d3d3d")
_SCALINGS: Final = (
    ("bare", "bare output", "#9a9a9a"),
    ("tempered", "temperature", "#edae49"),
    ("platt", "as served", "#2e6f95"),
)


def comparison(judgements: Mapping[str, Judgement]) -> str:
    """ROC curves of all models, and the same over a logarithmic axis, where operating points lie."""
    with figure_style():
        figure = new_figure(9.5, 4.2)
        whole, low = figure.subplots(1, 2)
        for (name, judged), colour in zip(judgements.items(), _LINE_COLOURS, strict=False):
            points = curve(judged.scores, judged.labels)
            whole.plot(points.false_positive_rate, points.recall, color=colour, label=name)
            _log_roc(low, points, colour)
        whole.plot([0, 1], [0, 1], ":", color="#9a9a9a", label="guessing")
        _label(whole, "ROC", "false positives", "recall")
        _label(low, "ROC, few false positives", "false positives", "recall")
        whole.legend(loc="lower right", frameon=False)
        return svg_text(figure)


def discrimination(judged: Judgement) -> str:
    """ROC with a logarithmic axis, DET and precision-recall of one model."""
    points = curve(judged.scores, judged.labels)
    at = judged.scores >= judged.thresholds
    recall, false = float(at[judged.labels].mean()), float(at[~judged.labels].mean())
    with figure_style():
        figure = new_figure(11, 3.8)
        roc, det, precision = figure.subplots(1, 3)
        _log_roc(roc, points, EMERGENCY_COLOUR)
        for rate in FALSE_POSITIVE_RATES:
            roc.axvline(rate, color="#c8c8c8", linewidth=0.8)
        roc.plot([max(false, LEAST_RATE)], [recall], "o", color="black")
        _label(roc, "ROC (dot: threshold)", "false positives", "recall")
        _det(det, points, least=0.5 / len(judged.scores))
        precision.step(points.recall, points.precision, where="pre", color=EMERGENCY_COLOUR)
        precision.axhline(judged.labels.mean(), linestyle=":", color="#9a9a9a")
        precision.set(xlim=(-0.02, 1.02), ylim=(0, 1.03))
        _label(precision, "Precision and recall", "recall", "precision")
        return svg_text(figure)


def calibration(calibrations: Calibrations, judged: Judgement) -> str:
    """Reliability before and after scaling, larger dots for more clips, and the histogram of what is served."""
    with figure_style():
        figure = new_figure(9.5, 4.6)
        reliability, counts = figure.subplots(1, 2)
        reliability.plot([0, 1], [0, 1], ":", color="#9a9a9a")
        for field, name, colour in _SCALINGS:
            _reliability(reliability, getattr(calibrations, field), name, colour)
        reliability.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        _label(reliability, "Reliability", "probability", "share of emergencies")
        _histogram(counts, judged)
        # Below the panels: dots and bars may be anywhere.
        figure.legend(*reliability.get_legend_handles_labels(), loc="outside lower left", frameon=False)
        figure.legend(*counts.get_legend_handles_labels(), loc="outside lower right", frameon=False)
        return svg_text(figure)


def shares(by_name: Mapping[str, Estimate], title: str, colour: str) -> str:
    """Shares with intervals, one bar a name."""
    names = sorted(by_name, key=lambda name: (by_name[name].value, name))
    with figure_style():
        figure = new_figure(7.5, 0.9 + 0.26 * len(names))
        axes = figure.subplots()
        values = np.array([by_name[name].value for name in names])
        limits = np.array([(by_name[name].low, by_name[name].high) for name in names])
        errors = np.abs(limits.T - values)
        axes.barh(names, values, color=colour, alpha=0.75, xerr=errors, ecolor="#3d3d3d", capsize=2)
        axes.set(xlim=(0, 1), title=title)
        axes.grid(axis="x", color="#e4e4e4")
        return svg_text(figure)


def probes(by_name: Mapping[str, Estimate]) -> str:
    """AUC of every shortcut probe, with the limit above which figures are invalid."""
    names = list(by_name)[::-1]
    with figure_style():
        figure = new_figure(7.5, 1 + 0.34 * len(names))
        axes = figure.subplots()
        for row, name in enumerate(names):
            each = by_name[name]
            colour = EMERGENCY_COLOUR if each.value > LARGEST_SILENCE_AUC else NORMAL_COLOUR
            axes.plot([each.low, each.high], [row, row], color=colour)
            axes.plot([each.value], [row], "o", color=colour)
        axes.axvline(0.5, linestyle=":", color="#9a9a9a")
        axes.axvline(LARGEST_SILENCE_AUC, color=EMERGENCY_COLOUR, linewidth=0.8)
        axes.set(xlim=(0.3, 1.02), ylim=(-0.6, len(names) - 0.4), yticks=range(len(names)), yticklabels=names)
        axes.set(title="AUC of the shortcut probes (red line: the limit of the silence probe)")
        return svg_text(figure)


def history(curves: Mapping[str, Sequence[float]]) -> str:
    """Figures of every epoch; those with and without `val_` in one panel."""
    bases = list(dict.fromkeys(name.removeprefix("val_") for name in curves))
    with figure_style():
        figure = new_figure(4.6 * len(bases), 3.4)
        for axes, base in zip(figure.subplots(1, len(bases), squeeze=False)[0], bases, strict=True):
            for name, colour in ((base, NORMAL_COLOUR), (f"val_{base}", EMERGENCY_COLOUR)):
                if name in curves:
                    label = "validation" if name.startswith("val_") else "training"
                    axes.plot(range(1, len(curves[name]) + 1), curves[name], ".-", color=colour, label=label)
            axes.legend(frameon=False)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            _label(axes, base, "epoch", "")
        return svg_text(figure)


def streams(alarms: FalseAlarms, delayed: Delays, thresholds: Sequence[float]) -> str:
    """The probability over a long normal call, and the share of emergencies that are heard after so many seconds."""
    with figure_style():
        figure = new_figure(11, 3.4)
        trace, waited = figure.subplots(1, 2, width_ratios=(2, 1))
        trace.plot(np.arange(len(alarms.trace)), alarms.trace, color=NORMAL_COLOUR, linewidth=0.9)
        for threshold in thresholds:
            trace.axhline(threshold, color=EMERGENCY_COLOUR, linewidth=0.9)
        trace.set(ylim=(-0.02, 1.02))
        _label(trace, "One long normal call (red: threshold)", "seconds after the first window", "probability")
        found = np.sort(delayed.delays_s)
        heard = np.arange(len(found) + 1) / max(1, delayed.counted)
        waited.step([0, *found, max([*found, 10])], [*heard, heard[-1]], where="post", color=EMERGENCY_COLOUR)
        waited.set(ylim=(0, 1.03))
        _label(waited, "Emergencies heard", "seconds after the onset", "share")
        return svg_text(figure)


def _log_roc(axes: Axes, points: Curve, colour: str) -> None:
    axes.step(np.maximum(points.false_positive_rate, LEAST_RATE), points.recall, where="post", color=colour)
    axes.set(xscale="log", xlim=(LEAST_RATE, 1), ylim=(0, 1.03))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:.3g}"))


def _det(axes: Axes, points: Curve, least: float) -> None:
    axes.plot(probit(points.false_positive_rate, least), probit(1 - points.recall, least), color=EMERGENCY_COLOUR)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(_deviates(*_DET_TICKS)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda deviate, _: f"{stats.norm.cdf(deviate):.3g}"))
    limits = _deviates(min(LEAST_RATE, least), 0.97)
    axes.set(xlim=limits, ylim=limits)
    axes.grid(color="#e4e4e4")
    axes.tick_params(axis="x", rotation=45)
    _label(axes, "DET", "false positives", "misses")


def _reliability(axes: Axes, measured: Calibration, name: str, colour: str) -> None:
    filled = [each for each in measured.bins if each.share.n]
    label = f"{name}: ECE {measured.ece:.3f}, Brier {measured.brier:.3f}"
    sizes = [12 + 140 * np.sqrt(each.share.n / sum(other.share.n for other in filled)) for each in filled]
    shares = [each.share.value for each in filled]
    axes.scatter([each.mean_probability for each in filled], shares, sizes, color=colour, alpha=0.8, label=label)


def _histogram(axes: Axes, judged: Judgement) -> None:
    counts = histogram(judged.scores, judged.labels)
    middles = (np.arange(HISTOGRAM_BINS) + 0.5) / HISTOGRAM_BINS
    shared: dict[str, Any] = {"width": 1 / HISTOGRAM_BINS, "alpha": 0.6}
    axes.bar(middles, counts["normal"], color=NORMAL_COLOUR, label="normal", **shared)
    axes.bar(middles, counts["emergency"], color=EMERGENCY_COLOUR, label="emergency", **shared)
    for number, threshold in enumerate(distinct(judged.thresholds)):
        axes.axvline(threshold, color="black", linewidth=0.9, label="_" * min(number, 1) + "threshold")
    axes.set(yscale="symlog")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:g}"))
    _label(axes, "Probabilities as served", "probability", "clips (logarithmic)")


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set(title=title, xlabel=x, ylabel=y)


def _deviates(*rates: float) -> tuple[float, ...]:
    return tuple(float(stats.norm.ppf(rate)) for rate in rates)
