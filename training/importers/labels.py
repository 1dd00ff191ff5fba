"""Label files: JSON as published, and the unit that their times are in."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from training.importers.findings import BadItem
from training.importers.tree import nfc
from training.recording_files import UnreadableRecording, read_recording

MOST_LABEL_BYTES: Final = 16 << 20  # of half an hour of talk they are a hundredth of it
MOST_CHARACTERS: Final = 10_000  # of a transcript, in a request too
END_TOLERANCE_S: Final = 1.0  # annotators round up; a stretch is cut at the recording's end
# Ends in milliseconds are a thousand times the recording's length in seconds where the annotation reaches its end,
# and ten times where it stops after its first hundredth.
LEAST_MS_RATIO: Final = 10.0


def read_label(root: Path, path: str) -> dict[str, Any]:
    """The JSON object of a label file, UTF-8 with or without a byte order mark; raises BadItem."""
    try:
        label = json.loads(read_recording(root, path, MOST_LABEL_BYTES).decode("utf-8-sig"))
    except UnreadableRecording as error:
        raise BadItem("label cannot be read", str(error)) from error
    except UnicodeDecodeError as error:
        raise BadItem("label is not UTF-8", str(error)) from error
    except (ValueError, RecursionError) as error:
        raise BadItem("label is not JSON", str(error)) from error
    if not isinstance(label, dict):
        raise BadItem("label is not a JSON object", f"a {type(label).__name__}")
    return label


def list_of(label: dict[str, Any], key: str) -> list[Any]:
    """A list that must have an element; raises BadItem."""
    value = label.get(key)
    if not isinstance(value, list) or not value:
        raise BadItem(f"label has no {key}", f"{key} is {value!r:.80}")
    return value


def text_of(value: object) -> str:
    """A text cell, composed and on one line; missing is empty. Raises BadItem for one that no request may carry."""
    if value is None:
        return ""
    text = str(value).encode("utf-8", "replace").decode("utf-8")  # JSON may hold halves of characters
    if len(text) > MOST_CHARACTERS:
        raise BadItem(f"text is longer than {MOST_CHARACTERS} characters", f"{len(text)} characters: {text[:40]}")
    return " ".join(nfc(text).split())


def time_of(value: object, key: str) -> float:
    """A time in whatever unit the file uses; numbers written as text are taken. Raises BadItem."""
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise BadItem("time is not a number of at least 0", f"{key} is {value!r:.80}")
    return number


def unit_s(ends: Sequence[float], duration_s: float) -> float:
    """The unit of a file's times in seconds, 1.0 or 0.001, by its latest end and the recording's length.

    The published description does not give it. Raises BadItem where neither unit fits.
    """
    latest = max(ends, default=0.0)
    if latest <= duration_s + END_TOLERANCE_S:
        return 1.0
    if LEAST_MS_RATIO * duration_s <= latest <= 1000 * (duration_s + END_TOLERANCE_S):
        return 0.001
    detail = f"the latest end is {latest:g} and the recording lasts {duration_s:.3f} s"
    raise BadItem("times fit the recording neither in seconds nor in milliseconds", detail)


def stretch_s(start: float, end: float, unit: float, duration_s: float) -> tuple[float, float]:
    """Start and end in seconds, rounded to milliseconds, within the recording; raises BadItem for an empty one."""
    start_s, end_s = round(start * unit, 3), round(min(end * unit, duration_s), 3)
    if start_s >= end_s:
        raise BadItem("stretch is empty", f"from {start * unit:g} s to {end * unit:g} s of {duration_s:.3f} s")
    return start_s, end_s
