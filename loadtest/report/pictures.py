"""The pictures of unary calls against offered load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from loadtest.report.drawing import Picture, Theme, bars, logarithmic, note_limit, picture
from loadtest.report.findings import Findings
from loadtest.report.measuring import OTHERS
from loadtest.report.points import Band, Point
from loadtest.servers import GENERATOR, SERVICE, TRITON

TALL_IN: Final = 4.4
FLAT_IN: Final = 3.6
PROGRAMS: Final = (SERVICE, TRITON, GENERATOR, OTHERS)
OFFERED: Final = "offered load, calls a second"


def latency(findings: Findings) -> Picture:
    """Percentiles against offered load, with the limit, the knee and the load that is held."""
    points = findings.points

    def draw(axes: Axes, theme: Theme) -> None:
        lines: list[tuple[str, list[Band], str, str]] = [
            ("longest", [each.longest for each in points], "v:", theme.soft),
            ("p99", [each.p99 for each in points], "s-", theme.series[1]),
            ("p90", [each.p90 for each in points], "^--", theme.series[2]),
            ("p50", [each.p50 for each in points], "o-", theme.series[0]),
        ]
        for name, bands, style, colour in lines:
            _band(axes, points, bands, style, colour, name, with_range=name in ("p50", "p99"))
        lows, highs = [each.p50.low for each in points], [each.longest.high for each in points]
        top = max(*highs, findings.limit_ms) * 1.6
        logarithmic(axes, max(0.5, min(*lows, findings.alone.low) / 1.6), top)
        note_limit(axes, theme, f"limit of the p99: {findings.limit_ms:g} ms", findings.limit_ms)
        _marks(axes, findings, theme)
        axes.set(xlim=(0, points[-1].rate * 1.03), xlabel=OFFERED, ylabel="milliseconds (logarithmic)")
        axes.grid(axis="y")
        axes.legend(frameon=False, loc="upper left", ncols=4, bbox_to_anchor=(0, 1.12))

    spread = f"from {points[0].rate:g} to {points[-1].rate:g} calls a second"
    alternative = (
        f"Time of a call against offered load, {spread}: the p50 goes from {points[0].p50.median:.0f} to "
        f"{points[-1].p50.median:.0f} ms, the p99 from {points[0].p99.median:.0f} to {points[-1].p99.median:.0f} ms."
    )
    return picture(
        draw, TALL_IN, alternative,
        "How long calls take, from the moment at which they were due. Lines are medians of the rounds, the bands "
        "of p50 and p99 their lowest and highest: where the p99 begins to climb, calls begin to wait for each other.",
    )  # fmt: skip


def throughput(findings: Findings) -> Picture:
    """What is answered of what is offered."""
    points, saturation = findings.points, findings.saturation

    def draw(axes: Axes, theme: Theme) -> None:
        end = points[-1].rate * 1.03
        axes.plot([0, end], [0, end], ":", color=theme.soft, label="all that is offered")
        axes.axhspan(saturation.low, saturation.high, color=theme.series[2], alpha=0.25, linewidth=0)
        label = f"{findings.plan.full_callers} callers who wait: {saturation.median:.0f} a second"
        axes.axhline(saturation.median, color=theme.series[2], linestyle="--", label=label)
        _band(axes, points, [each.answered_per_s for each in points], "o-", theme.series[0], "answered")
        axes.set(xlim=(0, end), ylim=(0, end), xlabel=OFFERED, ylabel="answered calls a second")
        axes.grid()
        _marks(axes, findings, theme)
        axes.legend(frameon=False, loc="lower right")

    last = points[-1]
    alternative = (
        f"Calls answered a second against offered load: at {last.rate:g} a second, {last.answered_per_s.median:.0f} "
        f"are answered; callers who wait get {saturation.median:.0f} answers a second."
    )
    return picture(
        draw, TALL_IN, alternative,
        "What comes back of what is sent. On the dotted line everything is answered; below it calls are refused or end "
        "too late. The dashed line is what the service answers when there is always more to do.",
    )  # fmt: skip


def batch_sizes(findings: Findings) -> Picture | None:
    """How Triton batched, at every load; None without its statistics."""
    known = [(f"{each.rate:g}", each.batching) for each in findings.points if each.batching]
    if findings.full_batching:
        known.append(("all at\nonce", findings.full_batching))
    counted = [(label, batching) for label, batching in known if batching]
    if not counted:
        return None
    sizes = sorted({size for _, batching in counted for size in batching.batches})

    def draw(axes: Axes, theme: Theme) -> None:
        colours = mpl.colormaps[theme.ramp](np.linspace(0.08, 0.92, len(sizes)))
        below = np.zeros(len(counted))
        for size, colour in zip(sizes, colours, strict=True):
            shares = np.array([batching.batches[size] / batching.batches.total() for _, batching in counted])
            axes.bar(range(len(counted)), shares, 0.75, bottom=below, color=colour, label=str(size))
            below += shares
        for place, (_, batching) in enumerate(counted):
            axes.text(place, 1.01, f"{batching.mean_batch:.2f}", ha="center", va="bottom")
        axes.text(-0.6, 1.075, "mean batch", ha="left")
        axes.set(ylim=(0, 1.14), yticks=[0, 0.25, 0.5, 0.75, 1], ylabel="share of executions")
        _columns(axes, findings, [label for label, _ in counted])
        axes.legend(frameon=False, title="batch", loc="center left", bbox_to_anchor=(1, 0.5), reverse=True)

    first, last = counted[0][1], counted[-1][1]
    alternative = (
        f"Batch sizes: {first.mean_batch:.2f} rows on average at the lowest load, {last.mean_batch:.2f} at the highest."
    )
    return picture(
        draw, TALL_IN, alternative,
        "How many windows Triton computed at once: the histogram of batch sizes at every load, from its own counts. "
        "Batches that grow with the load are what dynamic batching is for; without load they cost nobody a wait.",
    )  # fmt: skip


def triton_times(findings: Findings) -> Picture | None:
    """Queue and computing in Triton; None without its statistics."""
    known = [(point, point.batching) for point in findings.points if point.batching]
    if not known:
        return None
    points = [point for point, _ in known]

    def draw(axes: Axes, theme: Theme) -> None:
        rates = [point.rate for point in points]
        queue = np.array([each.queue_ms for _, each in known if each])
        compute = np.array([each.compute_ms for _, each in known if each])
        axes.plot(rates, compute, "o-", color=theme.series[0], label="computing")
        axes.plot(rates, queue, "s--", color=theme.series[1], label="queue")
        axes.set(xlim=(0, rates[-1] * 1.03), ylim=(0, max(*queue, *compute) * 1.15), xlabel=OFFERED)
        axes.set(ylabel="milliseconds a request")
        axes.grid(axis="y")
        axes.legend(frameon=False)

    (_, first), (_, last) = known[0], known[-1]
    alternative = (
        f"Mean time of a request in Triton: queue from {first.queue_ms:.1f} to {last.queue_ms:.1f} ms, computing from "
        f"{first.compute_ms:.1f} to {last.compute_ms:.1f} ms."
    )
    return picture(
        draw, FLAT_IN, alternative,
        "Mean time of a request in Triton's queue and in its computing, from its statistics. Computing takes longer in "
        "larger batches and where processes fight for a core; where the queue stays short, calls wait elsewhere.",
    )  # fmt: skip


def processor_by_process(findings: Findings) -> Picture | None:
    """Cores in use by program; None where no server's process was found."""
    columns = [(f"{each.rate:g}", each.cores) for each in findings.points] + [("all at\nonce", findings.full_cores)]
    programs = [name for name in PROGRAMS if all(name in used for _, used in columns)]
    if programs in ([], [GENERATOR]):
        return None
    cores = findings.around["machine"]["cores"]

    def draw(axes: Axes, theme: Theme) -> None:
        below = np.zeros(len(columns))
        for name, colour, hatch in zip(programs, (*theme.series[:3], theme.soft), ("", "//", "..", "xx"), strict=False):
            used = np.array([each[name] for _, each in columns])
            look: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": theme.line, "linewidth": 0}
            axes.bar(range(len(columns)), used, 0.75, bottom=below, label=name, **look)
            below += used
        note_limit(axes, theme, f"all {cores} cores", cores)
        axes.set(ylim=(0, max(cores, *below) * 1.1), ylabel="busy cores")
        _columns(axes, findings, [label for label, _ in columns])
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), reverse=True)

    busiest = ", ".join(f"{name} {findings.full_cores[name]:.2f}" for name in programs)
    return picture(
        draw, TALL_IN, f"Busy cores by program and load; with all callers at once: {busiest} of {cores}.",
        "Which program the cores work for. The generator, which makes the load, takes its part of the same cores: on a "
        "machine of its own the servers would have that as well. Others are programs that should not have run.",
    )  # fmt: skip


def call_stages(findings: Findings) -> Picture | None:
    """Where the time of a call goes that is alone."""
    stages = findings.alone_stages_ms
    if not stages:
        return None
    told = ", ".join(f"{name} {value:.1f}" for name, value in stages.items())
    return picture(
        lambda axes, theme: bars(axes, theme, list(stages), list(stages.values()), "milliseconds"),
        2.6, f"Milliseconds of a call that is alone, by stage: {told}.",
        "Where the time of one call goes while no other is under way: medians by the service's own clock; the last bar "
        "is what the caller waits beyond that.",
    )  # fmt: skip


def _columns(axes: Axes, findings: Findings, labels: Sequence[str]) -> None:
    """A column for every load, and one for callers who wait."""
    axes.set(xticks=range(len(labels)), xticklabels=labels)
    axes.set(xlabel=f"{OFFERED} (rightmost: {findings.plan.full_callers} callers who wait)")


def _band(
    axes: Axes,
    points: Sequence[Point],
    bands: Sequence[Band],
    style: str,
    colour: str,
    label: str,
    *,
    with_range: bool = True,
) -> None:
    rates = [point.rate for point in points]
    if with_range:
        lows, highs = [each.low for each in bands], [each.high for each in bands]
        axes.fill_between(rates, lows, highs, color=colour, alpha=0.16, linewidth=0)
    axes.plot(rates, [each.median for each in bands], style, color=colour, markersize=5, label=label)


def _marks(axes: Axes, findings: Findings, theme: Theme) -> None:
    """The knee, and the highest load that is held."""
    if findings.knee is not None:
        axes.axvline(findings.knee.median, color=theme.series[3], linestyle="-.", linewidth=1.2)
        _upright(axes, findings.knee.median, "knee", theme.series[3])
    if findings.held_rate is not None:
        axes.axvline(findings.held_rate, color=theme.good, linewidth=1.2)
        _upright(axes, findings.held_rate, "held", theme.good)


def _upright(axes: Axes, x: float, text: str, colour: str) -> None:
    axes.annotate(text, (x, 1), xycoords=("data", "axes fraction"), xytext=(-3, -4), textcoords="offset points",
                  rotation=90, ha="right", va="top", color=colour)  # fmt: skip
