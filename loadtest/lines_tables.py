"""The comparison of all lines, as tables in Markdown and as a judgement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from loadtest.lines import LINES, PCMA, Compared
from loadtest.markdown import number, table

MS_A_S: Final = 1000
# Of what bridges count: what went wrong with audio.
FAULTS: Final = (
    *("lost", "late", "lost_frames", "concealed_frames", "dropped_frames", "lost_messages", "late_frames"),
    *("padded_frames", "malformed", "malformed_messages", "incomplete_samples", "clock_restarts", "idle_hangups"),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """By how much lines may differ: probabilities, and seconds of audio. A-law's code words stand for other numbers."""

    probability: float = 0.02
    alaw_probability: float = 0.05
    audio_s: float = 0.1

    def of(self, line: str) -> float:
        """The limit on probabilities of a line."""
        return self.alaw_probability if line == PCMA else self.probability


@dataclass(frozen=True)
class LineResult:
    """One line over all recordings; None where there is nothing to compare."""

    line: str
    calls: int
    updates: int
    most_from_file: float | None  # the last update of recordings of at most a window
    mean_from_stream: float | None  # over all updates
    most_from_stream: float | None
    unmatched: int  # updates that only one of the two has, or that only one has scored
    not_judged: int  # hops that the service skipped, or that no model answered for in time
    audio_apart_s: float  # that arrived, from what was sent
    alerts_alike: int
    faults: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def line_result(line: str, compared: Sequence[Compared]) -> LineResult:
    """What the recordings say of a line."""
    drifts = [each.from_stream(line) for each in compared]
    apart = [value for each in drifts for value in each.probability]
    from_file = [value for each in compared if (value := each.from_file(line)) is not None]
    counts = [each.heard[line].counts for each in compared]
    return LineResult(
        line=line,
        calls=len(compared),
        updates=sum(len(each.heard[line].points) for each in compared),
        most_from_file=max(from_file, default=None),
        mean_from_stream=fmean(apart) if apart else None,
        most_from_stream=max(apart, default=None),
        unmatched=sum(each.unmatched + each.scored_otherwise for each in drifts),
        not_judged=sum(each.heard[line].not_monitored + each.heard[line].skipped_hops for each in compared),
        audio_apart_s=max(abs(each.heard[line].audio_s - each.recording.seconds) for each in compared),
        alerts_alike=sum(each.alerts_as_stream(line) for each in compared),
        faults={name: total for name in FAULTS if (total := sum(each.get(name, 0) for each in counts))},
    )


def shortcomings(results: Sequence[LineResult], compared: Sequence[Compared], limits: Limits) -> list[str]:
    """What differs by more than the limits, in words; empty if nothing does."""
    found = []
    for result in results:
        limit = limits.of(result.line)
        apart = max(result.most_from_file or 0, result.most_from_stream or 0)
        if apart > limit:
            found.append(f"{result.line}: probabilities differ by {apart:.3f}; at most {limit:g}")
        if result.audio_apart_s > limits.audio_s:
            found.append(f"{result.line}: {result.audio_apart_s:.3f} s of audio more or less than was sent")
        if result.unmatched:
            found.append(f"{result.line}: {result.unmatched} updates without a counterpart")
        if result.not_judged:
            found.append(f"{result.line}: {result.not_judged} hops not judged: the service was too slow")
        if result.alerts_alike < result.calls:
            found.append(f"{result.line}: other alerts in {result.calls - result.alerts_alike} calls")
    text = max((value for each in compared if (value := each.text_apart) is not None), default=0.0)
    if text > limits.probability:
        found.append(f"with a transcript, file and stream differ by {text:.3f}; at most {limits.probability:g}")
    return found


def document(results: Sequence[LineResult], compared: Sequence[Compared]) -> str:
    """All tables: the lines, then the recordings."""
    short = [each for each in compared if not each.is_long]
    long = [each for each in compared if each.is_long]
    return "\n\n".join(
        [
            "**Lines**",
            _lines(results),
            "**Recordings of at most a window: probability at the end**",
            _short(short),
            "**Longer calls: greatest probability of any window, and seconds at which an alert was raised**",
            _long(long),
            "**With the transcript: probability at the end**",
            _with_text(short),
        ]
    )


def _lines(results: Sequence[LineResult]) -> str:
    header = (
        *("line", "calls", "updates", "from the file, most", "from the stream, mean", "most"),
        *("audio apart, ms", "alerts alike", "lost, late, made up"),
    )
    rows = [
        (
            *(each.line, str(each.calls), str(each.updates), number(each.most_from_file)),
            *(number(each.mean_from_stream, 4), number(each.most_from_stream)),
            number(each.audio_apart_s * MS_A_S, 0),
            f"{each.alerts_alike} of {each.calls}",
            ", ".join(f"{name} {count}" for name, count in each.faults.items()) or "nothing",
        )
        for each in results
    ]
    return table(header, rows)


def _short(compared: Sequence[Compared]) -> str:
    header = ("recording", "label", "s", "file", *LINES, "apart, most", "audio apart, ms", "alerts alike")
    rows = []
    for each in compared:
        apart = [value for line in LINES if (value := each.from_file(line)) is not None]
        last = [number(each.heard[line].last) for line in LINES]
        probabilities = [number(each.file.probability), *last, number(max(apart, default=None))]
        rows.append((*_named(each), *probabilities, _audio_apart(each), _alerts_alike(each)))
    return table(header, rows, texts=2)


def _long(compared: Sequence[Compared]) -> str:
    header = ("recording", "label", "s", "file", *LINES, "updates apart, most", "audio apart, ms", "alerts alike")
    rows = []
    for each in compared:
        apart = [value for line in LINES for value in each.from_stream(line).probability]
        strongest = [f"{each.heard[line].strongest:.3f} ({number(each.heard[line].raised_at_s, 0)})" for line in LINES]
        probabilities = [number(each.file.probability), *strongest, number(max(apart, default=None))]
        rows.append((*_named(each), *probabilities, _audio_apart(each), _alerts_alike(each)))
    return table(header, rows, texts=2)


def _with_text(compared: Sequence[Compared]) -> str:
    rows = []
    for each in compared:
        if each.with_text is not None:
            file, stream = each.with_text
            cells = (number(file.probability), number(stream.last), number(each.text_apart))
            rows.append((*_named(each), *cells))
    return table(("recording", "label", "s", "file", LINES[0], "apart"), rows, texts=2)


def _named(compared: Compared) -> tuple[str, str, str]:
    recording = compared.recording
    return recording.name, recording.label, number(recording.seconds, 1)


def _audio_apart(compared: Compared) -> str:
    seconds = max(abs(heard.audio_s - compared.recording.seconds) for heard in compared.heard.values())
    return number(seconds * MS_A_S, 0)


def _alerts_alike(compared: Compared) -> str:
    others = [line for line in LINES if not compared.alerts_as_stream(line)]
    return "yes" if not others else f"not {', '.join(others)}"
