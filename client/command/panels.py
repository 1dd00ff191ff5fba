"""Output for people: panels and tables."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from client.command.batch import Outcome
from client.results import ModelInfo, StageTimes, Verdict, WindowScore

BAR_CELLS = 30
MAX_BARS = 20
ALARM, CALM = "bold red", "green"

WARNING_WORDS = {
    "clipped": "The audio is clipped: more than 1 % of the samples stand at full scale.",
    "silent": "The audio is silent and carries no evidence.",
    "too_short": "There is less than one second of audio.",
    "no_transcript": "The model reads text, but there was no transcript that it could read.",
    "transcript_unused": "The model reads no text: the transcript was not used.",
    "long_recording": "The strongest of many windows decides: a false alarm is likelier. Look at the timeline.",
    "untrained_base": "The model was trained without pretrained weights: expect far less of it than of its design.",
}


def verdict_panel(name: str, verdict: Verdict) -> Panel:
    """Verdict, probability, timeline, warnings and times of one recording."""
    parts: list[RenderableType] = [_headline(verdict)]
    if len(verdict.timeline) > 1:
        parts += [Text(), _timeline(verdict)]
    if verdict.warnings:
        parts.append(Text())
        parts += [Text(f"! {warning_words(warning)}", style="yellow") for warning in verdict.warnings]
    parts += [Text(), Text(_footer(verdict), style="dim")]
    return Panel(Group(*parts), title=Text(name), title_align="left", border_style=_style(verdict.emergency))


def _headline(verdict: Verdict) -> Text:
    return Text.assemble(
        (verdict_word(verdict), _style(verdict.emergency)),
        f"   probability {verdict.probability:.3f}   threshold {verdict.threshold:.3f}",
    )


def verdict_word(verdict: Verdict) -> str:
    """The verdict in words."""
    return "EMERGENCY" if verdict.emergency else "no emergency"


def _style(emergency: bool) -> str:
    return ALARM if emergency else CALM


def _timeline(verdict: Verdict) -> Table:
    bars = Table.grid(padding=(0, 1))
    bars.add_column(justify="right")
    for window in strongest(verdict.timeline, MAX_BARS):
        filled = round(BAR_CELLS * min(max(window.probability, 0.0), 1.0))
        bars.add_row(
            f"{window.start_s:.1f}-{window.end_s:.1f} s",
            Text("█" * filled + "·" * (BAR_CELLS - filled), style=_style(window.probability >= verdict.threshold)),
            f"{window.probability:.3f}",
        )
    return bars


def strongest(timeline: Sequence[WindowScore], count: int) -> list[WindowScore]:
    """At most `count` entries: neighbours are joined, each group under its highest probability."""
    size = -(-len(timeline) // count)
    groups = [timeline[start : start + size] for start in range(0, len(timeline), size)] if size else []
    return [WindowScore(group[0].start_s, group[-1].end_s, max(w.probability for w in group)) for group in groups]


def warning_words(name: str) -> str:
    """A warning as a sentence; one that this client does not know, by its name."""
    return WARNING_WORDS.get(name, name.replace("_", " "))


def _footer(verdict: Verdict) -> str:
    call = f"call {verdict.call_id}   " if verdict.call_id else ""
    model = f"model {verdict.model} version {verdict.model_version}"
    return f"{call}{model}   audio {verdict.audio_s:.1f} s\n{times_line(verdict.times)}"


def times_line(times: StageTimes) -> str:
    """The service's time, in all and by stage, in milliseconds."""
    stages = ("wait", "decode", "audio", "text", "inference")
    parts = ", ".join(f"{stage} {getattr(times, f'{stage}_ms'):.1f}" for stage in stages)
    return f"{times.total_ms:.1f} ms ({parts})"


def verdict_table(outcomes: Sequence[Outcome]) -> Table:
    """One row a recording."""
    table = Table("file", "verdict", "probability", "audio", "remarks")
    table.columns[0].overflow = "fold"
    for outcome in outcomes:
        verdict = outcome.verdict
        if verdict is None:
            message = outcome.failure.message if outcome.failure else ""
            table.add_row(Text(outcome.file), Text("failed", style="yellow"), "", "", Text(message))
            continue
        table.add_row(
            Text(outcome.file),
            Text(verdict_word(verdict), style=_style(verdict.emergency)),
            f"{verdict.probability:.3f}",
            f"{verdict.audio_s:.1f} s",
            Text(", ".join(warning.replace("_", " ") for warning in verdict.warnings)),
        )
    return table


def model_list(models: Sequence[ModelInfo]) -> Text:
    """A few lines a model."""
    lines: list[str | tuple[str, str]] = []
    for model in models:
        default = " (default)" if model.is_default else ""
        text = "reads text" if model.reads_transcript else "reads no text"
        lines += [(model.name, "bold"), f"{default}   version {model.version}   {model.window_s:g} s window, {text}\n"]
        threshold = f"{model.threshold_without_transcript:.3f}"
        if model.reads_transcript:
            threshold = f"{model.threshold_with_transcript:.3f} with a transcript, {threshold} without"
        lines.append(f"   threshold {threshold}\n")
        if model.figures:
            figures = ", ".join(f"{name} {value:.4g}" for name, value in sorted(model.figures.items()))
            lines.append(f"   measured on {model.corpus or 'an unnamed corpus'}: {figures}\n")
    return Text.assemble(*lines, end="")
