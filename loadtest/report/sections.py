"""The parts of the page."""

from __future__ import annotations

from collections.abc import Iterable

from loadtest.report import live_pictures, pictures
from loadtest.report.drawing import Picture
from loadtest.report.findings import Findings
from loadtest.report.headline import answers
from loadtest.report.measuring import LiveStep
from loadtest.report.points import Band, Point
from training.report.html import Markup, element, joined, notice, paragraph, section, table

UNKNOWN = "–"


def answer(findings: Findings) -> Markup:
    """What a reader wants to know first, and what to doubt about it."""
    items = [joined([element("dt", each.figure), element("dd", each.meaning)]) for each in answers(findings)]
    doubts = findings.doubts
    warning = notice("warn", element("strong", "Read with care: "), "; ".join(doubts) + ".") if doubts else Markup("")
    return section("answer", "The answer", _measured_on(findings), element("dl", *items, class_="answers"), warning)


def load(findings: Findings) -> Markup:
    """Unary calls against offered load."""
    head = (
        "offered /s",
        "of saturation",
        "answered /s",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "longest ms",
        "failed",
        "CPU ms",
    )
    note = (
        "Medians of the rounds, of the p99 with the lowest and the highest; failed: calls of all rounds that had no "
        "verdict; CPU: processor time of service and Triton a call that was answered."
    )
    return section(
        "load", "Calls against load",
        pictures.latency(findings).figure(), pictures.throughput(findings).figure(),
        _details("The same in numbers", table("Every load", head, (_row(each) for each in findings.points), note)),
    )  # fmt: skip


def triton(findings: Findings) -> Markup:
    """Batches and times in Triton."""
    drawn = _drawn(pictures.batch_sizes(findings), pictures.triton_times(findings))
    if not drawn:
        return section("triton", "Batches and queue", paragraph("Triton gave no statistics of this model."))
    rows = [(f"{each.rate:g}", each.batching) for each in findings.points]
    rows.append((f"{findings.plan.full_callers} callers who wait", findings.full_batching))
    cells = [
        (label, f"{each.mean_batch:.2f}", f"{each.queue_ms:.2f}", f"{each.compute_ms:.2f}",
         ", ".join(f"{size}: {count}" for size, count in sorted(each.batches.items())))
        for label, each in rows if each
    ]  # fmt: skip
    head = ("offered /s", "mean batch", "queue ms", "computing ms", "executions by batch size")
    return section(
        "triton",
        "Batches and queue",
        *drawn,
        _details("The same in numbers", table("Triton's own counts", head, cells)),
    )


def processor(findings: Findings) -> Markup:
    """Who the cores work for, and where the time of a call goes."""
    drawn = _drawn(pictures.processor_by_process(findings), pictures.call_stages(findings))
    return section("processor", "Where the time goes", *drawn)


def live(findings: Findings) -> Markup:
    """Live calls."""
    found = findings.live
    if found is None:
        return section("live", "Live calls", paragraph("Left out by --live-calls 0."))
    head = ("live calls", "p50 ms", "p90 ms", "p99 ms", "longest ms", "hops skipped", "CPU ms a second", "carried")
    steps = [*found.repeats, *found.searched[1:]]
    note = (
        "Lag of updates while all calls were up, from when the last audio of their window was due. CPU: processor time "
        "of service and Triton for every second of one call."
    )
    measured = table("Every number of calls", head, (_live_row(step) for step in steps), note)
    searched = f"The search for the most ended by: {found.found.ended_by}."
    ended = paragraph(searched if findings.plan.live_search_s else "This short form does not search for the most.")
    stages = findings.live_stages_ms
    by_stage = (
        paragraph(f"Its stages were not measured: {stages}.")
        if isinstance(stages, str)
        else live_pictures.live_stages(stages).figure()
    )
    return section("live", "Live calls", *_drawn(live_pictures.lag(findings)), measured, ended, by_stage)


def _measured_on(findings: Findings) -> Markup:
    around, model = findings.around, findings.model
    machine, commit = around["machine"], around["commit"]
    served = (
        f"{model.name} version {model.version}, {model.precision or 'unknown precision'} by {model.provider or '?'}"
    )
    where = f"{machine['cores']} cores of {machine['processor']}, which made the load as well"
    when = f"{around['date'][:10]}, commit {commit[:10] if commit else 'unknown'}"
    return paragraph(f"{served}, on {where}; {when}.")


def _row(point: Point) -> tuple[str, ...]:
    p99 = point.p99
    return (
        f"{point.rate:g}",
        f"{point.fraction:.0%}",
        f"{point.answered_per_s.median:.1f}",
        f"{point.p50.median:.1f}",
        f"{point.p90.median:.1f}",
        f"{p99.median:.1f} ({p99.low:.0f}–{p99.high:.0f})",
        f"{point.longest.high:.0f}",
        ", ".join(f"{count} {name}" for name, count in sorted(point.failed.items())) or "0",
        _median(point.server_cpu_ms),
    )


def _live_row(step: LiveStep) -> tuple[str, ...]:
    result, each = step.result, step.cost.server_cpu_ms_per(step.result.audio_s)
    lag = result.lag
    verdict = "yes" if not result.shortcomings else "; ".join(result.shortcomings)
    times = (f"{time:.0f}" for time in (lag.p50_ms, lag.p90_ms, lag.p99_ms, lag.max_ms))
    cost = UNKNOWN if each is None else f"{each:.2f}"
    return (str(result.calls), *times, str(result.skipped_hops), cost, verdict if result.is_valid else "generator late")


def _median(band: Band | None) -> str:
    return UNKNOWN if band is None else f"{band.median:.2f}"


def _drawn(*made: Picture | None) -> list[Markup]:
    return [each.figure() for each in made if each is not None]


def _details(summary: str, content: Markup) -> Markup:
    return element("details", element("summary", summary), content)


def contents(entries: Iterable[tuple[str, str]]) -> Markup:
    """Links to the sections."""
    links = [element("li", element("a", title, href=f"#{identifier}")) for identifier, title in entries]
    return element("nav", element("ol", *links), aria_label="Contents")
