"""The front end's graph, and the versions of the ensembles, into a model repository."""

from __future__ import annotations

from pathlib import Path

import onnx

from preprocess_service.contract import MODEL_FILE, version_numbers
from preprocess_service.front_end import ENSEMBLES, FRONT_END
from training.front_end.graph import build
from training.staging import staged


def install(repository: Path) -> list[Path]:
    """Writes the graph, and a folder for every version of every model that has an ensemble; returns what is new.

    An ensemble has no files, but Triton serves only versions that have a folder; `training.versions` makes one for each
    version that is promoted from then on. Nothing here is trained: it may be run again at any time.
    """
    version_folder = repository / FRONT_END.name / str(FRONT_END.version)
    with staged(version_folder) as partial:
        onnx.save(build(), partial / MODEL_FILE)
    made = [version_folder / MODEL_FILE]
    for ensemble in ENSEMBLES.values():
        for version in version_numbers(repository, ensemble.model):
            folder = repository / ensemble.name / str(version)
            if not folder.is_dir():
                folder.mkdir(parents=True)
                made.append(folder)
    return made
