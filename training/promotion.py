"""A candidate into service, and back: proven with golden clips first, undone by itself when anything fails."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from preprocess_service.contract import (
    CANDIDATE_MARKER,
    ContractMismatch,
    newest_version,
    read_contract,
    version_numbers,
)
from preprocess_service.model_spec import ModelSpec
from training.golden import GoldenCall
from training.interruption import Interrupted, Interruption
from training.serving import Serving, ServingFailed
from training.staging import flush_entry, remove
from training.versions import candidate_contract, install, next_version, retire

READY_LIMIT_S: Final = 10.0  # for those that should be ready already
# What a step can meet; anything else is a fault of this code, and undone all the same.
EXPECTED = (ContractMismatch, Interrupted, OSError, ServingFailed)


class Refused(Exception):
    """Nothing has changed, in the repository as in service; the message says why."""


class RolledBack(Exception):
    """What was in service before is again; the message says why."""


class RollbackUnproven(Exception):
    """Nobody can say what is in service; the message says what has failed and what to do."""


@dataclass(frozen=True)
class Place:
    """One model's versions, and how they are served."""

    repository: Path
    spec: ModelSpec
    rejected: Path  # where versions go that are taken out
    serving: Serving
    interruption: Interruption
    say: Callable[[str], None]

    @property
    def model_folder(self) -> Path:
        return self.repository / self.spec.name

    def folder(self, version: int) -> Path:
        return self.model_folder / str(version)

    def in_service(self, below: int | None = None) -> int | None:
        """The highest version that is no candidate, of those below a number where one is given."""
        if below is None:
            return newest_version(self.repository, self.spec)
        older = [each for each in version_numbers(self.repository, self.spec) if each < below]
        return max((each for each in older if not (self.folder(each) / CANDIDATE_MARKER).exists()), default=None)


@contextmanager
def exclusive(repository: Path, spec: ModelSpec) -> Iterator[None]:
    """Only one at a time changes which versions of a model there are; raises Refused for the second. Ends with the
    process."""
    try:
        lock = os.open(repository / spec.name, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise Refused(f"{repository / spec.name}: {error.strerror}; it must hold the model's configuration") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Refused(f"another promotion or rollback of {spec.name} is under way") from None
    try:
        yield
    finally:
        os.close(lock)


def promote(place: Place, candidate: Path, calls: Sequence[GoldenCall]) -> int:
    """Brings the candidate into service and returns its version; raises Refused, RolledBack, RollbackUnproven.

    The removal of the marker is the step that counts: before it nobody is answered by the new version who has not asked
    for it by number; after it everybody is, as soon as each service has looked.
    """
    before, version = place.in_service(), next_version(place.repository, place.spec)
    _check_ready(place, candidate, before)
    clean_up(place)
    folder = install(candidate, place.repository, place.spec, version, as_candidate=True)
    try:
        place.say(f"{place.spec.name}/{version}: in place, as a candidate")
        place.serving.load([version] if before is None else [version, before])
        place.serving.check(calls, folder, by_number=True)
        place.say(f"{place.spec.name}/{version}: {len(calls)} golden clips are answered right; taking over")
        place.interruption.check()
        _unmark(folder)
        place.serving.await_default(version)
        place.serving.check(calls, folder, by_number=False)
    except BaseException as error:
        place.interruption.defer()
        _restore(place, before, version, error, undo=lambda: _reject(place, version))
        now = f"version {before} is" if before else "no version is"
        raise RolledBack(f"{place.spec.name}/{version}: {_reason(error)}. As before, {now} in service") from error
    return version


def roll_back(place: Place, calls_of: Callable[[Path], Sequence[GoldenCall]]) -> int:
    """Takes the newest version out of service and returns the one before it, which answers again; raises Refused,
    RolledBack where that one cannot, RollbackUnproven. `calls_of` a version folder are its golden calls."""
    newest = place.in_service()
    before = None if newest is None else place.in_service(below=newest)
    if newest is None or before is None:
        raise Refused(f"{place.spec.name} has no version before {newest or 'the first one'} to go back to")
    calls = calls_of(place.folder(before))
    clean_up(place)
    try:
        if not place.serving.serves(before):
            place.serving.load([before])
        place.serving.check(calls, place.folder(before), by_number=True)
        place.say(f"{place.spec.name}/{before}: {len(calls)} golden clips are answered right; taking over")
        place.interruption.check()
        _mark(place.folder(newest))
        place.serving.await_default(before)
        place.serving.check(calls, place.folder(before), by_number=False)
    except BaseException as error:
        place.interruption.defer()
        _restore(place, newest, None, error, undo=lambda: _unmark(place.folder(newest)))
        raise RolledBack(
            f"{place.spec.name}/{before}: {_reason(error)}. As before, version {newest} is in service"
        ) from error
    place.interruption.defer()
    _restore(place, before, newest, None, undo=lambda: _reject(place, newest))
    return before


def clean_up(place: Place) -> None:
    """Takes out candidates that a promotion left which was killed."""
    for version in version_numbers(place.repository, place.spec):
        if (place.folder(version) / CANDIDATE_MARKER).exists():
            place.say(f"{place.spec.name}/{version}: a candidate that an unfinished promotion has left")
            _reject(place, version)


def prune(place: Place, keep: int) -> list[int]:
    """Removes the oldest versions beyond `keep`, but none that Triton still serves; returns those that went."""
    surplus = version_numbers(place.repository, place.spec)[:-keep]
    gone = [version for version in surplus if not place.serving.serves(version)]
    for version in gone:
        remove(place.folder(version))
    return gone


def _check_ready(place: Place, candidate: Path, before: int | None) -> None:
    """Raises Refused unless the candidate is a new one, and all is well before anything is changed: what fails later is
    then the candidate's doing."""
    contract = candidate_contract(candidate)
    if before and contract == read_contract(place.folder(before), place.spec).model_copy(
        update={"version": contract.version}
    ):
        raise Refused(f"{candidate} is in service already, as version {before}")
    place.serving.await_default(before, READY_LIMIT_S)
    if not place.serving.serves(before or 1) and before:
        raise Refused(f"this Triton does not serve version {before} of {place.spec.name}, by which the service answers")
    place.interruption.check()


def _restore(
    place: Place, version: int | None, gone: int | None, error: BaseException | None, *, undo: Callable[[], None]
) -> None:
    """Undoes, waits until default traffic is answered by `version`, and has Triton drop `gone`.

    In this order: a version leaves Triton's memory when nobody asks for it any more. Raises RollbackUnproven.
    """
    try:
        undo()
        if version is not None:
            place.serving.await_default(version)
        if gone is not None and place.serving.serves(gone):
            place.serving.load([] if version is None else [version])
        place.serving.await_default(version)
    except EXPECTED as failure:
        cause = f"{_reason(error)}. Then, on the way back: " if error else ""
        raise RollbackUnproven(
            f"{place.spec.name}: {cause}{failure}. The newest version in the repository is "
            f"{place.in_service() or 'none'}; start Triton and the service anew and ask for a verdict"
        ) from failure


def _reject(place: Place, version: int) -> None:
    folder = place.folder(version)
    _mark(folder)  # should it not let itself be moved
    went = retire(folder, place.rejected)
    place.say(f"{place.spec.name}/{version}: taken out, kept in {went}")


def _mark(folder: Path) -> None:
    (folder / CANDIDATE_MARKER).touch()
    flush_entry(folder)


def _unmark(folder: Path) -> None:
    with suppress(FileNotFoundError):
        (folder / CANDIDATE_MARKER).unlink()
    flush_entry(folder)


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, EXPECTED) else repr(error)
