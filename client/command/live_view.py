"""A live call for people: a screen that is redrawn, or plain lines."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from client.command.panels import ALARM, CALM, DOUBT
from client.results import CallSummary, CallUpdate

BLOCKS = " ▁▂▃▄▅▆▇█"
GRAPH_ROWS = 4
NARROWEST, FRAME_CELLS = 20, 18
UNKNOWN = "×"

DEGRADATION_WORDS = {
    "no_transcript": "The model reads text, but there is none of this party yet.",
    "audio_gap": "Audio of the window was lost.",
    "concealed": "Audio of the window was made up to conceal a loss.",
    "silence": "There is no sound: no evidence.",
    "comfort_noise": "There is nothing but steady noise: no evidence.",
    "hold_music": "There is nothing but tones or music: no evidence.",
    "clipped": "More than 1 % of the window's samples stand at full scale.",
    "short_window": "Less than a window of audio is known.",
    "late": "Hops were skipped, since more was due than could be judged.",
    "untrained_base": "The model was trained without pretrained weights: expect far less of it than of its design.",
    "not_monitored": "No model answers: nobody watches the call.",
    "transcript_unused": "The model reads no text: the transcript was not used.",
}


def degradation_words(name: str) -> str:
    """A degradation as a sentence; one that this client does not know, by its name."""
    return DEGRADATION_WORDS.get(name, name.replace("_", " "))


def graph(values: Sequence[float | None], rows: int) -> list[str]:
    """Bars of values from 0 to 1, a column each, from the top row down; what is not known is a cross at the bottom."""
    steps = [None if value is None else max(1, round(min(max(value, 0.0), 1.0) * rows * 8)) for value in values]
    return ["".join(_cell(step, row) for step in steps) for row in reversed(range(rows))]


def _cell(step: int | None, row: int) -> str:
    if step is None:
        return UNKNOWN if row == 0 else " "
    return BLOCKS[min(8, max(0, step - 8 * row))]


def state_of(update: CallUpdate | None, monitored: bool) -> tuple[str, str]:
    """The headline's words and style; a call that nobody watches is never shown as calm."""
    if update is not None and update.raised:
        return ("ALERT" if monitored else "ALERT, NOT MONITORED NOW"), ALARM
    if not monitored:
        return "NOT MONITORED", DOUBT
    return "no alert", CALM


class Screen:
    """A panel on a terminal, redrawn at every update."""

    def __init__(self, name: str, console: Console) -> None:
        self._name, self._console = name, console
        self._updates: list[CallUpdate] = []
        self._monitored, self._reason = False, "connecting"
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> "Screen":
        self._live.start()
        self._redraw()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.stop()

    def monitored(self, monitored: bool, reason: str) -> None:
        """Shows whether anybody watches."""
        self._monitored, self._reason = monitored, reason
        self._redraw()

    def update(self, update: CallUpdate) -> None:
        """Shows what was found."""
        self._updates.append(update)
        self._redraw()

    def summary(self, summary: CallSummary) -> None:
        """Ends the picture with the summary below it."""
        self._live.stop()
        self._console.print(summary_text(summary))

    def _redraw(self) -> None:
        self._live.update(self._panel(), refresh=True)

    def _panel(self) -> Panel:
        last = self._updates[-1] if self._updates else None
        words, style = state_of(last, self._monitored)
        parts: list[RenderableType] = [Text.assemble((words, style), "" if self._monitored else f"   {self._reason}")]
        if last is not None:
            parts += [*self._graphs(), *_details(last)]
        return Panel(Group(*parts), title=Text(self._name), title_align="left", border_style=style)

    def _graphs(self) -> list[Text]:
        width = max(NARROWEST, self._console.width - FRAME_CELLS)
        shown = self._updates[-width:]
        rows = graph([update.caller.probability for update in shown], GRAPH_ROWS)
        labels = ["probability", *[""] * (GRAPH_ROWS - 1)]
        drawn = [Text(f"{label:<12}{row}", no_wrap=True) for label, row in zip(labels, rows, strict=True)]
        (smoothed,) = graph([update.smoothed for update in shown], 1)
        return [*drawn, Text(f"{'smoothed':<12}{smoothed}", no_wrap=True)]


class Lines:
    """One line an update, for output that is no terminal."""

    def __init__(self, name: str, console: Console) -> None:
        self._name, self._console = name, console

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def monitored(self, monitored: bool, reason: str) -> None:
        """Says whether anybody watches."""
        self._console.print(Text(f"{'monitored' if monitored else 'NOT MONITORED'}: {reason}"))

    def update(self, update: CallUpdate) -> None:
        """Says what was found."""
        words, _ = state_of(update, update.monitored)
        probability = update.caller.probability
        shown = "unknown" if probability is None else f"{probability:.3f}"
        line = f"{update.covered_s:7.2f} s   {words}   probability {shown}   smoothed {update.smoothed:.3f}"
        self._console.print(Text("   ".join([line, _lag(update), ", ".join(update.caller.degradations)]).rstrip()))

    def summary(self, summary: CallSummary) -> None:
        """Says how it was."""
        self._console.print(summary_text(summary))


def summary_text(summary: CallSummary) -> Text:
    """A call in two lines."""
    outcome = (
        (f"{summary.alerts} alert{'s' if summary.alerts > 1 else ''}", ALARM) if summary.alerted else ("no alert", CALM)
    )
    lost = f"   lost {summary.lost_s:.1f} s" if summary.lost_s else ""
    return Text.assemble(
        outcome,
        f"   strongest probability {summary.probability:.3f} at {summary.strongest_at_s:.1f} s",
        f"   {summary.updates} updates, {summary.skipped_hops} hops skipped{lost}",
        (f"\nmodel {summary.model} version {summary.model_version}   audio {summary.audio_s:.1f} s", "dim"),
    )


def _details(update: CallUpdate) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if update.raised and update.caller.kinds:
        listed = ", ".join(f"{kind.name} {kind.probability:.2f}" for kind in update.caller.kinds)
        parts.append(Text(f"kind: {listed}"))
    if update.agent is not None and update.agent.probability is not None:
        parts.append(Text(f"agent: probability {update.agent.probability:.3f}", style="dim"))
    parts += [Text(f"! {degradation_words(name)}", style="yellow") for name in update.caller.degradations]
    model = f"model {update.model} version {update.model_version}"
    parts.append(Text(f"{update.covered_s:.1f} s   {_lag(update)}   {model}", style="dim"))
    return parts


def _lag(update: CallUpdate) -> str:
    skipped = f", {update.skipped_hops} hops skipped" if update.skipped_hops else ""
    return f"lag {update.lag_ms:.0f} ms{skipped}"
