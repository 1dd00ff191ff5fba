"""Version folders of the model repository: numbered, put in place, taken away."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from preprocess_service.contract import (
    CANDIDATE_MARKER,
    FILE_NAME,
    Contract,
    ContractMismatch,
    read_contract,
    version_numbers,
)
from preprocess_service.front_end import ENSEMBLES, FRONT_END
from preprocess_service.model_spec import ModelSpec
from training.staging import flush_entry, remove, staged

RETIRED_FILE: Final = ".retired"  # beside the version folders: the highest number that was ever taken away
_OWN_FILES: Final = (FILE_NAME, CANDIDATE_MARKER)  # written anew, not linked


def next_version(repository: Path, spec: ModelSpec) -> int:
    """The number after all that are there or were taken away: a number never means two networks."""
    return max(_retired(repository / spec.name), *version_numbers(repository, spec), 0) + 1


def candidate_contract(candidate: Path) -> Contract:
    """The contract in a folder that need not be called by its version's number; what it says is not checked."""
    try:
        return Contract.model_validate_json((candidate / FILE_NAME).read_bytes())
    except OSError as error:
        raise ContractMismatch(f"cannot be read: {error.strerror}", candidate / FILE_NAME) from error
    except ValueError as error:
        raise ContractMismatch(str(error), candidate / FILE_NAME) from error


def install(candidate: Path, repository: Path, spec: ModelSpec, version: int, *, as_candidate: bool) -> Path:
    """Puts the candidate folder's files into the repository as that version and returns its folder.

    Where the repository has the audio front end, the model's ensemble gets that version, too.

    Files are linked where the file system allows it, else copied; the contract gets the version's number. Raises
    ContractMismatch for a candidate that the service would refuse or that lacks a file, and FileExistsError: versions
    are immutable.
    """
    folder = repository / spec.name / str(version)
    if folder.exists():
        raise FileExistsError(errno.EEXIST, "is there already, and is never overwritten", str(folder))
    with staged(folder, replace=False) as partial:
        _write_contract(candidate, partial, version)
        _link_files(candidate, partial)
        if as_candidate:
            (partial / CANDIDATE_MARKER).touch()
        _check_files(partial, read_contract(partial, spec))
    if spec.name in ENSEMBLES and (repository / FRONT_END.name / str(FRONT_END.version)).is_dir():
        (repository / ENSEMBLES[spec.name].name / str(version)).mkdir(parents=True, exist_ok=True)
    return folder


def retire(folder: Path, rejected: Path) -> Path:
    """Takes a version folder out of the repository, in one step for its readers, and keeps its number from being used
    again; returns where it went: a folder in `rejected` named for the model, the version and the time."""
    _note_retired(folder)
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    free = destination = rejected / f"{folder.parent.name}-{folder.name}-{now}"
    for count in itertools.count(2):
        if not free.exists():
            break
        free = destination.with_name(f"{destination.name}-{count}")
    free.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.rename(free)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with staged(free, replace=False) as partial:
            shutil.copytree(folder, partial, dirs_exist_ok=True)
        remove(folder)
    flush_entry(folder.parent)
    return free


def _retired(model_folder: Path) -> int:
    try:
        return int((model_folder / RETIRED_FILE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _note_retired(folder: Path) -> None:
    highest = max(_retired(folder.parent), int(folder.name))
    note = folder.parent / RETIRED_FILE
    partial = note.with_name(f"{note.name}.{os.getpid()}")
    partial.write_text(f"{highest}\n", encoding="ascii")
    partial.replace(note)


def _link_files(source: Path, destination: Path) -> None:
    """Links every file; what are links to each other in `source` stay so where copies must be made."""
    copies: dict[tuple[int, int], Path] = {}
    for path in sorted(each for each in source.iterdir() if each.is_file() and each.name not in _OWN_FILES):
        status = path.stat()
        known = copies.setdefault((status.st_dev, status.st_ino), path)
        try:
            os.link(known, destination / path.name)
        except OSError:
            copies[status.st_dev, status.st_ino] = Path(shutil.copy2(path, destination / path.name))


def _write_contract(candidate: Path, folder: Path, version: int) -> None:
    numbered = candidate_contract(candidate).model_copy(update={"version": version})
    (folder / FILE_NAME).write_text(numbered.model_dump_json(indent=1), encoding="utf-8")


def _check_files(folder: Path, contract: Contract) -> None:
    if missing := sorted(name for name in contract.files if not (folder / name).is_file()):
        raise ContractMismatch(f"the contract names {', '.join(missing)}, which the folder lacks", folder)
