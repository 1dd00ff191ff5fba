"""Output for programs: JSON lines and CSV, in UTF-8, Hangul as it is."""

import contextlib
import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TextIO

from client.command.batch import Outcome

STDOUT = "-"
CSV_COLUMNS = (
    "file",
    "call_id",
    "model",
    "model_version",
    "probability",
    "threshold",
    "uncertain_from",
    "decision",
    "emergency",
    "kind",
    "audio_s",
    "windows",
    "warnings",
    "total_ms",
    "error_status",
    "error",
)


def write_json(document: object, stream: TextIO | None = None) -> None:
    """One JSON document on one line, by default to standard output."""
    target = stream or stdout_utf8()
    target.write(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
    target.flush()


def stdout_utf8() -> TextIO:
    """Standard output in UTF-8 whatever the locale; what UTF-8 cannot say is written as an escape."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    return sys.stdout


@contextlib.contextmanager
def open_output(name: str) -> Iterator[TextIO]:
    """A file, or standard output for "-"; raises OSError."""
    if name == STDOUT:
        yield stdout_utf8()
        return
    with Path(name).open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        yield stream


def json_lines(stream: TextIO) -> Callable[[Outcome], None]:
    """A writer of one JSON object a recording."""
    return lambda outcome: write_json(outcome.to_dict(), stream)


def csv_rows(stream: TextIO) -> Callable[[Outcome], None]:
    """A writer of one row a recording, below a header that it writes at once."""
    rows = csv.DictWriter(stream, CSV_COLUMNS, restval="", lineterminator="\n")
    rows.writeheader()

    def write(outcome: Outcome) -> None:
        rows.writerow(csv_row(outcome))
        stream.flush()

    return write


def csv_row(outcome: Outcome) -> Mapping[str, object]:
    """The columns of one recording; those that an error leaves without a value are missing."""
    if outcome.failure is not None:
        return {"file": outcome.file, "error_status": outcome.failure.status, "error": outcome.failure.message}
    fields = outcome.to_dict()
    row = {name: fields[name] for name in CSV_COLUMNS if name in fields}
    if outcome.verdict is not None:
        row["emergency"] = str(outcome.verdict.emergency).lower()
        row["kind"] = outcome.verdict.kinds[0].name if outcome.verdict.kinds else ""
        row["windows"] = len(outcome.verdict.timeline)
        row["warnings"] = ";".join(outcome.verdict.warnings)
        row["total_ms"] = outcome.verdict.times.total_ms
    return row
