"""How a version was trained, from the `training.json` that training leaves in its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

TRAINING_FILE: Final = "training.json"


class MalformedHistory(ValueError):
    """A training.json that cannot be read; the message names the file and the rule."""


@dataclass(frozen=True)
class History:
    """`curves` are the figures of every epoch, such as loss and val_accuracy; what is unknown is empty."""

    curves: dict[str, list[float]]
    seconds: float | None = None
    machine: str = ""
    date: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def read_history(version_folder: Path) -> History | None:
    """The history of one version; None where it left none. Raises MalformedHistory."""
    path = version_folder / TRAINING_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise MalformedHistory(f"{path}: {error}; it must be JSON") from error
    try:
        curves = {str(name): [float(each) for each in values] for name, values in found["history"].items()}
        seconds = found.get("seconds")
        return History(
            curves=curves,
            seconds=None if seconds is None else float(seconds),
            machine=str(found.get("machine", "")),
            date=str(found.get("date", "")),
            options=dict(found.get("options", {})),
            versions={str(name): str(version) for name, version in found.get("versions", {}).items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedHistory(f"{path}: {error!r}; history must map names to one number an epoch") from error
