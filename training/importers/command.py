"""`python -m training import`: a corpus as found on disk to a folder with manifest, summary and picture."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from rich.console import Console

from training.importers import aihub170, aihub263, aihub71768, merging
from training.importers.findings import Findings, ImportFailed
from training.importers.splitting import Division, divide
from training.importers.summary import SUMMARY_NAME, Summary, print_summary, summarise, write_summary
from training.manifest import MANIFEST_NAME, Clip, check_splits, write_manifest
from training.recording_files import write_corpus


class Importer(Protocol):
    """What a module for one published corpus offers."""

    SOURCE: str

    def add_arguments(self, parser: argparse.ArgumentParser, /) -> None: ...

    def read(self, root: Path, arguments: argparse.Namespace, findings: Findings, /) -> list[Clip]: ...


IMPORTERS: Final[dict[str, Importer]] = {module.SOURCE: module for module in (aihub170, aihub263, aihub71768)}
MERGE: Final = "merge"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand a corpus, and `merge`."""
    corpora = parser.add_subparsers(dest="corpus", required=True)
    for name, module in IMPORTERS.items():
        command = corpora.add_parser(name, help=(module.__doc__ or "").partition(";")[0].partition(":")[0])
        command.add_argument("path", type=Path, help="the corpus as downloaded; archives need not be unpacked")
        command.add_argument("--workers", type=_workers, default=8, help="threads that read (default: %(default)s)")
        module.add_arguments(command)
        _add_common(command)
    command = corpora.add_parser(MERGE, help="several imported corpora as one, split anew")
    command.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="folders with manifest.csv")
    _add_common(command)


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=Path, required=True, help="folder for manifest, summary and picture")
    command.add_argument("--seed", type=int, default=1, help="of the splits (default: %(default)s)")


def _workers(text: str) -> int:
    if not (text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text} must be an integer of at least 1")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Imports what `arguments` ask for; 0 when the manifest is written, bad files or not, 1 when nothing is usable.

    Raises ManifestError and OSError where a manifest to be merged is bad.
    """
    findings = Findings()
    try:
        _claim(arguments.out, getattr(arguments, "folders", ()))
        if arguments.corpus == MERGE:
            root, clips = merging.read(arguments.folders, findings)
        else:
            root, clips = arguments.path, IMPORTERS[arguments.corpus].read(arguments.path, arguments, findings)
    except ImportFailed as error:
        return _fail(str(error))
    division = divide(clips, arguments.seed)
    for clip, owner in division.left_out:
        detail = f"{owner.clip_id} in {owner.split}"
        findings.add("left out", "says what a clip of an earlier split says", clip.clip_id, detail)
    summary = _summary(arguments, division, findings)
    (arguments.out / MANIFEST_NAME).unlink(missing_ok=True)  # of an earlier import
    write_summary(arguments.out, summary)
    print_summary(Console(), summary)
    if not division.clips:
        return _fail(f"no usable clip in {root}; see {arguments.out / SUMMARY_NAME}")
    _write(arguments.out, root, division.clips, summary)
    return 0


def _fail(message: str) -> int:
    Console(stderr=True).print(f"python -m training import: {message}", markup=False, soft_wrap=True)
    return 1


def _claim(folder: Path, inputs: Sequence[Path]) -> None:
    if folder.resolve() in [path.resolve() for path in inputs]:
        raise ImportFailed(f"--out {folder} is a corpus to be merged; give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / MANIFEST_NAME).exists() and not (folder / SUMMARY_NAME).exists():
        raise ImportFailed(f"{folder / MANIFEST_NAME} is of a corpus that no import wrote; give another --out")


def _summary(arguments: argparse.Namespace, division: Division, findings: Findings) -> Summary:
    left_aside = ("corpus", "command", "run")
    options: dict[str, Any] = {
        key: str(value) if isinstance(value, Path) else list(map(str, value)) if isinstance(value, list) else value
        for key, value in vars(arguments).items()
        if key not in left_aside
    }
    components = (division.components, division.largest_component)
    return summarise(arguments.corpus, options, division.clips, findings, components)


def _write(folder: Path, root: Path, clips: list[Clip], summary: Summary) -> None:
    """The manifest comes last: where it is, everything is."""
    from training.importers.picture import write_picture  # matplotlib takes a second to import

    check_splits(clips)
    write_picture(folder, summary)
    write_corpus(folder, root, source=summary.corpus)
    write_manifest(folder / MANIFEST_NAME, clips)
