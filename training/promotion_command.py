"""`python -m training promote MODEL` and `python -m training rollback MODEL`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console

from client import TriageClient
from preprocess_service.contract import ContractMismatch
from preprocess_service.model_spec import MODELS, model_spec
from training.dataset import read_corpus
from training.golden import GoldenCall, GoldenUnusable, golden_calls, read_golden
from training.interruption import Interrupted, Interruption
from training.manifest import ManifestError, SplitError
from training.promotion import Place, Refused, RollbackUnproven, RolledBack, exclusive, promote, prune, roll_back
from training.serving import LiveServing, NoServing, Serving, ServingFailed

FAILED: Final = 1  # what was in service before still is
UNPROVEN: Final = 3
# Before anything has changed; a failure of the disk may come while leftovers are taken out.
_EARLY: Final = (
    *(ContractMismatch, GoldenUnusable, Interrupted, ManifestError, OSError, Refused, ServingFailed, SplitError),
)

console = Console(soft_wrap=True, highlight=False)


def add_promote_arguments(command: argparse.ArgumentParser, root: Path) -> None:
    """Of `promote`."""
    _add_arguments(command, root)
    command.add_argument("--candidate", type=Path, metavar="FOLDER", help="default: build/candidates/MODEL")
    command.add_argument("--keep", type=_at_least_two, default=5, metavar="N", help="versions kept (default 5)")
    command.set_defaults(run=run_promote, root=root)


def add_rollback_arguments(command: argparse.ArgumentParser, root: Path) -> None:
    """Of `rollback`."""
    _add_arguments(command, root)
    command.add_argument("--without-golden", action="store_true", help="where the corpus is not at hand")
    command.set_defaults(run=run_rollback, root=root)


def run_promote(arguments: argparse.Namespace) -> int:
    """0: the candidate is in service; 1: it is not, and nothing has changed; 3: nobody can say."""
    candidate = arguments.candidate or arguments.root / "build/candidates" / arguments.model

    def work(place: Place) -> None:
        calls = golden_calls(read_golden(candidate), read_corpus(arguments.data))
        version = promote(place, candidate, calls)
        place.say(f"{arguments.model}/{version}: in {'the repository' if arguments.offline else 'service'}")
        _prune(place, arguments.keep)

    return _run(arguments, work)


def run_rollback(arguments: argparse.Namespace) -> int:
    """0: the version before is in service again; else as `run_promote`."""

    def calls_of(folder: Path) -> Sequence[GoldenCall]:
        return [] if arguments.without_golden else golden_calls(read_golden(folder), read_corpus(arguments.data))

    def work(place: Place) -> None:
        version = roll_back(place, calls_of)
        place.say(f"{arguments.model}/{version}: in {'the repository' if arguments.offline else 'service'} again")

    return _run(arguments, work)


def _add_arguments(command: argparse.ArgumentParser, root: Path) -> None:
    command.add_argument("model", choices=MODELS, metavar="MODEL", help=", ".join(MODELS))
    command.add_argument("--data", type=Path, default=root / "data/synthetic", help="the corpus of its golden clips")
    command.add_argument("--repository", type=Path, default=root / "model_repository")
    command.add_argument("--rejected", type=Path, default=root / "build/rejected", help="where versions taken out go")
    command.add_argument("--triton", default="127.0.0.1:8001", metavar="HOST:PORT", help="Triton's gRPC endpoint")
    command.add_argument("--service", default="127.0.0.1:50051", metavar="HOST:PORT")
    command.add_argument("--tls-roots", type=Path, metavar="PEM", help="ask the service by TLS")
    command.add_argument("--timeout", type=float, default=120.0, metavar="S", help="longest wait in each step")
    command.add_argument(
        "--offline",
        action="store_true",
        help="Triton and the service do not run or cannot be reached from here; one that runs takes over by itself",
    )


def _at_least_two(text: str) -> int:
    if (number := int(text)) < 2:
        raise argparse.ArgumentTypeError(f"{number} is too few: the version before the newest is the way back")
    return number


def _run(arguments: argparse.Namespace, work: Callable[[Place], None]) -> int:
    spec = model_spec(arguments.model)
    with Interruption() as interruption, _serving(arguments, interruption) as serving:
        place = Place(arguments.repository, spec, arguments.rejected, serving, interruption, _say)
        try:
            with exclusive(place.repository, spec):
                work(place)
        except RollbackUnproven as error:
            return _fail("NOT PROVEN", error, UNPROVEN)
        except RolledBack as error:
            return _fail("rolled back", error, FAILED)
        except _EARLY as error:
            return _fail("refused", error, FAILED)
    return 0


@contextmanager
def _serving(arguments: argparse.Namespace, interruption: Interruption) -> Iterator[Serving]:
    spec = model_spec(arguments.model)
    if arguments.offline:
        yield NoServing(spec, arguments.data)
        return
    roots = arguments.tls_roots.read_bytes() if arguments.tls_roots else None
    with TriageClient(arguments.service, root_certificates=roots) as client:
        live = LiveServing(spec, arguments.triton, client, arguments.timeout, interruption.check)
        try:
            yield live
        finally:
            live.close()


def _prune(place: Place, keep: int) -> None:
    try:
        for version in prune(place, keep):
            place.say(f"{place.spec.name}/{version}: removed; {keep} versions are kept")
    except (Interrupted, OSError, ServingFailed) as error:  # the promotion stands
        place.say(f"old versions stay: {error}")


def _fail(word: str, error: Exception, code: int) -> int:
    console.print(f"[red]{word}:[/] ", end="")
    _say(str(error))
    return code


def _say(text: str) -> None:
    console.print(text, markup=False)
