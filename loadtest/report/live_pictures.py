"""The pictures of live calls."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes

from loadtest.report.drawing import Picture, Theme, bars, logarithmic, note_limit, picture
from loadtest.report.findings import Findings


def lag(findings: Findings) -> Picture | None:
    """Lag of updates against the number of live calls; None where none were held."""
    if findings.live is None:
        return None
    steps = [*findings.live.repeats, *findings.live.searched[1:]]
    results = [step.result for step in steps if step.result.lag.count]
    if not results:
        return None
    limit_ms = results[0].limits.lag_ms

    def draw(axes: Axes, theme: Theme) -> None:
        for name, style, colour in (("p99_ms", "s", theme.series[1]), ("p50_ms", "o", theme.series[0])):
            values = [getattr(each.lag, name) for each in results]
            axes.plot([each.calls for each in results], values, style, color=colour, label=name.removesuffix("_ms"))
        for each in results:
            if each.shortcomings:
                axes.plot([each.calls], [each.lag.p99_ms], "x", color=theme.bad, markersize=13, label="not carried")
        times = [time for each in results for time in (each.lag.p50_ms, each.lag.p99_ms)]
        logarithmic(axes, min(times) / 1.6, max(*times, limit_ms) * 1.6)
        note_limit(axes, theme, f"limit of the p99: {limit_ms:g} ms", limit_ms)
        axes.set(xlabel="live calls at once", ylabel="milliseconds (logarithmic)")
        axes.set(xlim=(0, max(each.calls for each in results) * 1.1))
        axes.grid(axis="y")
        handles, labels = axes.get_legend_handles_labels()
        once = dict(zip(labels, handles, strict=True))
        axes.legend(once.values(), once.keys(), frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))

    told = "; ".join(f"{each.calls} calls: {each.lag.p50_ms:.0f} and {each.lag.p99_ms:.0f} ms" for each in results)
    return picture(
        draw, 3.6, f"p50 and p99 of the lag by number of live calls. {told}.",
        "How long after the last audio of a window its update arrives, with so many calls at once; the first number of "
        "calls was held several times. A cross marks calls that were not carried: too late, or hops were skipped.",
    )  # fmt: skip


def live_stages(stages_ms: Mapping[str, float]) -> Picture:
    """Processor time of a second of live call, by stage."""
    names, values = list(stages_ms), list(stages_ms.values())
    told = ", ".join(f"{name} {value:.2f}" for name, value in zip(names, values, strict=True))
    return picture(
        lambda axes, theme: bars(axes, theme, names, values, "milliseconds of processor time a second of call"),
        2.6, f"Processor time of a second of live call, by stage: {told}.",
        "What the service's own arithmetic costs for every second of a live call, by stage: one thread, without gRPC "
        "and without Triton. What the processes cost beyond it, in the table above, is gRPC, event loop and inference.",
    )  # fmt: skip
