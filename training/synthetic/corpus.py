"""The synthetic corpus on disk: `clips/<id>.wav`, `manifest.csv` and the settings they were made with."""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.manifest import MANIFEST_NAME, Clip, check_splits, read_manifest, write_manifest
from training.synthetic.plan import PlanError, PlannedClip, plan_corpus, plan_matched
from training.synthetic.render import render_to

SETTINGS: Final = "settings.json"
CLIPS: Final = "clips"
BATCH: Final = 25  # clips a worker takes at a time

ProgressCallback = Callable[[int, int], None]  # clips done, clips in all


class CorpusError(ValueError):
    """A folder that holds another corpus; the message names it and both settings."""


def _sources() -> str:
    """A digest of the code that makes the corpus: other code makes other clips from the same seed."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _settings(clips: int, seed: int, beside: Path | None) -> dict[str, str | int]:
    settings: dict[str, str | int] = {"clips": clips, "seed": seed, "sources": _sources()}
    if beside is not None:
        settings["beside"] = hashlib.sha256((beside / MANIFEST_NAME).read_bytes()).hexdigest()[:16]
    return settings


def _claim(out_dir: Path, settings: dict[str, str | int]) -> None:
    """Mark `out_dir` as the place of this corpus, or refuse."""
    (out_dir / CLIPS).mkdir(parents=True, exist_ok=True)
    path = out_dir / SETTINGS
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found != settings:
            rule = "give another folder or empty it"
            raise CorpusError(f"{out_dir} holds a corpus of {found}, not of {settings}; {rule}")
        return
    if any((out_dir / CLIPS).iterdir()):
        raise CorpusError(f"{out_dir / CLIPS} holds files of an unknown corpus; give another folder or empty it")
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(settings) + "\n", encoding="utf-8")
    partial.replace(path)


def _remove_other(out_dir: Path, settings: dict[str, str | int]) -> None:
    """Empty `out_dir` if it holds a synthetic corpus of other settings; nothing else is ever removed."""
    path = out_dir / SETTINGS
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != settings:
        shutil.rmtree(out_dir / CLIPS, ignore_errors=True)
        (out_dir / MANIFEST_NAME).unlink(missing_ok=True)
        path.unlink()


def _is_complete(out_dir: Path, clips: Sequence[Clip]) -> bool:
    manifest = out_dir / MANIFEST_NAME
    return manifest.exists() and all((out_dir / clip.path).exists() for clip in clips)


def _render_batch(out_dir: Path, batch: Sequence[PlannedClip]) -> int:
    for planned in batch:
        render_to(out_dir, planned)
    return len(batch)


def _batches(planned: Sequence[PlannedClip]) -> Iterator[Sequence[PlannedClip]]:
    # Clips of one background take together, so that a worker makes few takes more than once.
    ordered = sorted(planned, key=lambda item: (item.clip.background_group, item.clip.clip_id))
    for start in range(0, len(ordered), BATCH):
        yield ordered[start : start + BATCH]


def _render_all(out_dir: Path, planned: Sequence[PlannedClip], workers: int) -> Iterator[int]:
    """Render every clip, giving the size of each finished batch."""
    batches = list(_batches(planned))
    if workers == 1:
        yield from (_render_batch(out_dir, batch) for batch in batches)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(batches)), mp_context=context) as pool:
        jobs = [pool.submit(_render_batch, out_dir, batch) for batch in batches]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:
            pool.shutdown(cancel_futures=True)


def synthesize(
    out_dir: Path,
    *,
    clips: int,
    seed: int,
    workers: int,
    beside: Path | None = None,
    progress: ProgressCallback | None = None,
) -> list[Clip]:
    """Make the corpus of `clips` clips below `out_dir` and give its manifest's rows; with `beside`, test clips only, in
    the voices and backgrounds of that corpus's training clips.

    The same arguments give the same bytes whatever `workers` is. Clips that are there are kept: a stopped run goes
    on, and a finished one is left alone. Raises PlanError for impossible arguments and CorpusError where the folder
    holds another corpus.
    """
    if workers < 1:
        raise PlanError(f"workers {workers} must be at least 1")
    if beside is None:
        planned = plan_corpus(clips, seed)
    else:
        planned = plan_matched(clips, seed, read_manifest(beside / MANIFEST_NAME))
    rows = [item.clip for item in planned]
    _claim(out_dir, _settings(clips, seed, beside))
    if _is_complete(out_dir, rows):
        return read_manifest(out_dir / MANIFEST_NAME)
    done = 0
    for finished in _render_all(out_dir, planned, workers):
        done += finished
        if progress is not None:
            progress(done, clips)
    check_splits(rows)
    write_manifest(out_dir / MANIFEST_NAME, rows)
    return rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `synthesize` on the command line."""
    parser.add_argument("--out", type=Path, default=Path("data/synthetic"), help="folder (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=3000, help="how many, half of each class (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another corpus (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument(
        "--beside",
        type=Path,
        metavar="FOLDER",
        help="test clips only, as this synthetic corpus's training clips are recorded; its seed is taken",
    )
    parser.add_argument("--replace", action="store_true", help="remove a corpus of other arguments or older code first")


def run(args: argparse.Namespace) -> int:
    """Make the corpus that `args` asks for; 0 when it is there, 1 when it cannot be made."""
    console = Console(stderr=True)
    columns = (TextColumn("clips"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    if args.beside:
        args.seed = json.loads((args.beside / SETTINGS).read_text(encoding="utf-8"))["seed"]
    if args.replace:
        _remove_other(args.out, _settings(args.clips, args.seed, args.beside))
    try:
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("clips", total=args.clips)
            clips = synthesize(
                args.out,
                clips=args.clips,
                seed=args.seed,
                workers=args.workers,
                beside=args.beside,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
            bar.update(task, completed=len(clips))
    except (PlanError, CorpusError) as error:
        console.print(f"synthesize: {error}", style="red", markup=False)
        return 1
    console.print(f"{len(clips)} clips, {sum(clip.duration_s for clip in clips) / 60:.0f} min, in {args.out}")
    return 0
