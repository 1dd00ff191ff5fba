"""How pip inside an image build reaches packages: just as the pip of this machine does."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Final

from deploy.compose_check.commands import run

# The index's own options, where certificates lie, patience. Others (a cache, a target folder) mean this machine only.
_NAMES: Final = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "cert", "timeout", "proxy")
_SPELLINGS: Final = {"default-timeout": "timeout"}
FILE_URL: Final = "file://"


def build_options(scratch: Path) -> list[str]:
    """Options of `podman build` that lend it this machine's network, pip settings and local packages.

    Nothing of it stays in the image but the empty places where it was mounted.
    """
    settings = _settings()
    lines = [f"{name} = {value}" for name, value in settings.items()]
    configuration = scratch / "pip.conf"
    configuration.write_text("\n".join(["[global]", *lines, ""]), encoding="utf-8")
    mounts = [f"--volume={configuration}:/etc/pip.conf:ro"]
    mounts += [f"--volume={path}:{path}:ro" for path in sorted(_local_places(settings))]
    return ["--network=host", *mounts]


def _settings() -> dict[str, str]:
    """What counts for this machine's pip; `pip config list` puts variables before files, so the first one wins."""
    found: dict[str, str] = {}
    for line in run([sys.executable, "-m", "pip", "config", "list"], timeout_s=60).stdout.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        name = _SPELLINGS.get(name, name)
        if name in _NAMES:
            found.setdefault(name, " ".join(str(ast.literal_eval(value)).split()))
    return found


def _local_places(settings: dict[str, str]) -> set[Path]:
    """Files and folders of this machine that the settings name."""
    places: set[Path] = set()
    for word in " ".join(settings.values()).split():
        if word.startswith(FILE_URL):
            # An index refers to files beside it: mount the folder that holds both.
            places.add(Path(word.removeprefix(FILE_URL)).parent)
        elif word.startswith("/"):
            places.add(Path(word))
    return {place for place in places if place.exists()}
