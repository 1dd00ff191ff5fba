"""Output for people: panels and tables."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from client.command.batch import Outcome
from client.results import ModelInfo, StageTimes, Verdict, WindowScore

BAR_CELLS = 30
LONGEST_TITLE = 60
MAX_BARS = 20
SHOWN_LOAD_MS = 1.0  # less is no load
ALARM, DOUBT, CALM = "bold red", "bold yellow", "green"
STYLES = {"emergency": ALARM, "uncertain": DOUBT, "normal": CALM}
WORDS = {"emergency": "EMERGENCY", "uncertain": "UNCERTAIN", "normal": "no emergency"}

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
    if verdict.decision == "uncertain":
        parts.append(Text("A human must decide.", style=DOUBT))
    if verdict.kinds:
        parts.append(_kinds(verdict))
    if len(verdict.timeline) > 1:
        parts += [Text(), _timeline(verdict)]
    if verdict.warnings:
        parts.append(Text())
        parts += [Text(f"! {warning_words(warning)}", style="yellow") for warning in verdict.warnings]
    parts += [Text(), Text(_footer(verdict), style="dim")]
    return Panel(Group(*parts), title=Text(_title(name)), title_align="left", border_style=STYLES[verdict.decision])


def _title(name: str) -> str:
    """The end of a long path tells more than its beginning."""
    return name if len(name) <= LONGEST_TITLE else f"…{name[1 - LONGEST_TITLE :]}"


def _headline(verdict: Verdict) -> Text:
    return Text.assemble(
        (verdict_word(verdict), STYLES[verdict.decision]),
        f"   probability {verdict.probability:.3f}   threshold {verdict.threshold:.3f}"
        f"   uncertain from {verdict.uncertain_from:.3f}",
    )


def _kinds(verdict: Verdict) -> Text:
    """What it would be; quietly where the call is none."""
    listed = ", ".join(f"{kind.name} {kind.probability:.2f}" for kind in verdict.kinds)
    return Text(f"if an emergency: {listed}", style="dim" if verdict.decision == "normal" else "")


def verdict_word(verdict: Verdict) -> str:
    """The verdict in words."""
    return WORDS[verdict.decision]


def _window_style(verdict: Verdict, probability: float) -> str:
    if probability >= verdict.threshold:
        return ALARM
    return DOUBT if probability >= verdict.uncertain_from else CALM


def _timeline(verdict: Verdict) -> Table:
    bars = Table.grid(padding=(0, 1))
    bars.add_column(justify="right")
    for window in strongest(verdict.timeline, MAX_BARS):
        filled = round(BAR_CELLS * min(max(window.probability, 0.0), 1.0))
        bars.add_row(
            f"{window.start_s:.1f}-{window.end_s:.1f} s",
            Text("█" * filled + "·" * (BAR_CELLS - filled), style=_window_style(verdict, window.probability)),
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
    loading = (f"load {times.load_ms:.1f}",) if times.load_ms >= SHOWN_LOAD_MS else ()
    parts = ", ".join([*loading, *(f"{stage} {getattr(times, f'{stage}_ms'):.1f}" for stage in stages)])
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
            Text(verdict_word(verdict), style=STYLES[verdict.decision]),
            f"{verdict.probability:.3f}",
            f"{verdict.audio_s:.1f} s",
            Text(", ".join(_remarks(verdict))),
        )
    return table


def _remarks(verdict: Verdict) -> list[str]:
    kind = [verdict.kinds[0].name] if verdict.kinds and verdict.decision != "normal" else []
    return kind + [warning.replace("_", " ") for warning in verdict.warnings]


def model_list(models: Sequence[ModelInfo]) -> Text:
    """A few lines a model."""
    lines: list[str | tuple[str, str]] = []
    for model in models:
        default = " (default)" if model.is_default else ""
        text = "reads text" if model.reads_transcript else "reads no text"
        state = f"loaded, {model.precision} by {model.provider}" if model.loaded else "not loaded"
        lines += [
            (model.name, "bold"),
            f"{default}   version {model.version}   ",
            (state, "" if model.loaded else "dim"),
        ]
        lines.append(f"\n   {model.window_s:g} s window, {text}\n")
        without = _band(model.uncertain_from_without_transcript, model.threshold_without_transcript)
        if model.reads_transcript:
            with_text = _band(model.uncertain_from_with_transcript, model.threshold_with_transcript)
            lines.append(f"   emergency {with_text} with a transcript, {without} without\n")
        else:
            lines.append(f"   emergency {without}\n")
        if model.kinds:
            lines.append(f"   names {len(model.kinds)} kinds: {', '.join(model.kinds)}\n")
        if model.figures:
            figures = ", ".join(f"{name} {value:.4g}" for name, value in sorted(model.figures.items()))
            lines.append(f"   measured on {model.corpus or 'an unnamed corpus'}: {figures}\n")
    return Text.assemble(*lines, end="")


def _band(uncertain_from: float, threshold: float) -> str:
    return f"from {threshold:.3f} (uncertain from {uncertain_from:.3f})"
