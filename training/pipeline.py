"""The steps behind `python -m training train` and `evaluate`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.markup import escape

from preprocess_service.contract import FILE_NAME, MODEL_FILE, ContractMismatch, newest_version, read_contract
from preprocess_service.errors import ModelNotFound
from preprocess_service.model_spec import MODELS, ModelSpec, ProfileName, model_spec
from training.dataset import Corpus, read_corpus, read_matched
from training.promotion import Refused, exclusive
from training.synthetic.plan import SOURCE as SYNTHETIC
from training.versions import install, next_version, retire

if TYPE_CHECKING:
    from training.train import Trainer

PROFILES: Final[tuple[ProfileName, ...]] = ("cpu", "gpu")

# Tables stay readable in a log file, too.
console = Console(width=None if sys.stdout.isatty() else 110)


def train_and_export(arguments: argparse.Namespace) -> int:
    """Trains the chosen models and leaves those that pass the gate as candidates, or with `--if-missing` in the
    repository; 0 if all passed."""
    specs = _specs(arguments.models)
    if not specs:
        return 2
    corpus = read_corpus(arguments.data)
    trainer = None  # made for the first model that is missing
    for spec in specs:
        newest = newest_version(arguments.repository, spec)
        if arguments.if_missing and newest and _is_kept(spec, newest, corpus, arguments.repository):
            console.print(f"{spec.name}/{newest}: there already")
            continue
        trainer = trainer or _trainer(corpus, arguments)
        if not _train_one(spec, trainer, corpus, arguments):
            return 1
        if arguments.if_missing:
            if not _install_demo(spec, newest, arguments):
                return 1
        else:
            console.print(f"`python -m training promote {spec.name}` puts it into service")
    return 0


def _trainer(corpus: Corpus, arguments: argparse.Namespace) -> Trainer:
    with quiet_tensorflow():
        from training.train import Options, Trainer

    options = Options(
        corpus,
        arguments.cache,
        arguments.seed,
        arguments.workers,
        epochs=arguments.epochs,
        most_clips=arguments.clips,
        vgg16_weights=arguments.vgg16_weights,
        yamnet_weights=arguments.yamnet_weights,
        variants=arguments.variants,
        dtype=arguments.dtype,
        head=arguments.head,
        precision=arguments.precision,
    )
    return Trainer(options)


def _train_one(spec: ModelSpec, trainer: Trainer, corpus: Corpus, arguments: argparse.Namespace) -> bool:
    with quiet_tensorflow():
        from training.export import ExportRefused, export
        from training.precision.served import GraphFailed

    started = time.monotonic()
    console.rule(f"training {spec.name}")
    trained, rows = trainer.train(spec)
    version = next_version(arguments.repository, spec)
    try:
        contract = export(trained, corpus, rows, arguments.candidates / spec.name, version)
    except (ExportRefused, GraphFailed) as error:
        console.print(f"[red]refused:[/] {error}")
        return False
    accuracy, difference = contract.figures["test_accuracy"], contract.figures["onnx_keras_difference"]
    served = {name: contract.graphs[spec.profile(name).graph_file].precision for name in PROFILES}
    console.print(
        f"{spec.name}: test accuracy {accuracy:.3f}, ONNX Runtime and Keras differ by at most {difference:.1g}, "
        f"served as {served['cpu']} on CPU and {served['gpu']} on GPU, {time.monotonic() - started:.0f} s"
    )
    return True


def _install_demo(spec: ModelSpec, outdated: int | None, arguments: argparse.Namespace) -> bool:
    """Puts the candidate into the repository as its newest version, and takes out a demo model that is outdated; False,
    and nothing changed, where a promotion is under way or was since."""
    candidate, repository = arguments.candidates / spec.name, arguments.repository
    (repository / spec.name).mkdir(parents=True, exist_ok=True)
    try:
        with exclusive(repository, spec):
            newest = newest_version(repository, spec)
            if newest != outdated:
                raise Refused(f"{spec.name}/{newest} has gone into service meanwhile")
            version = next_version(repository, spec)
            install(candidate, repository, spec, version, as_candidate=False)
            console.print(f"{spec.name}/{version}: in {repository}")
            if outdated:
                went = retire(repository / spec.name / str(outdated), arguments.candidates.parent / "rejected")
                console.print(f"{spec.name}/{outdated}: the demo model of before, now in {went}")
    except Refused as error:
        console.print(f"[red]refused:[/] {error}; the new model stays in {candidate}")
        return False
    return True


def evaluate_all(arguments: argparse.Namespace) -> int:
    """Prints and writes the figures of the chosen models."""
    with quiet_tensorflow():
        from training.evaluate import evaluate, table, write_json

    specs = _specs(arguments.models)
    if not specs:
        return 2
    corpus = read_corpus(arguments.data)
    if not arguments.models:  # all that there are
        specs = [spec for spec in specs if newest_version(arguments.repository, spec)]
    matched = read_matched(arguments.matched, corpus) if arguments.matched else None
    evaluations = []
    for spec in specs:
        console.print(f"{spec.name}: measuring")
        evaluations.append(evaluate(spec, corpus, matched, arguments.repository, arguments.cache, arguments.workers))
    console.print(table(evaluations, corpus), markup=False, highlight=False, soft_wrap=True)
    write_json(evaluations, arguments.json)
    return 0


def _specs(names: list[str]) -> list[ModelSpec]:
    try:
        return [model_spec(name) for name in names or MODELS]
    except ModelNotFound as error:
        console.print(f"[red]{error}[/]")
        return []


def _is_kept(spec: ModelSpec, version: int, corpus: Corpus, repository: Path) -> bool:
    """Whether the version stays: one of this synthetic corpus that can be served, and whatever was trained, or may have
    been, on somebody's own data."""
    folder = repository / spec.name / str(version)
    try:
        data = read_contract(folder, spec).training_data
        if not (folder / MODEL_FILE).exists():
            raise ContractMismatch(f"{MODEL_FILE} is missing", folder)
    except ContractMismatch as error:
        if _said_corpus(folder) == SYNTHETIC:
            return False
        console.print(
            f"[red]{spec.name}/{version} cannot be served by this code[/] and is left alone, as it may have been "
            f"trained on your own data. `python -m training train {spec.name} --data ...` and `promote` put a new "
            f"version before it. What does not fit: {escape(str(error))}"
        )
        return True
    return data.corpus != SYNTHETIC or data.fingerprint == corpus.fingerprint


def _said_corpus(folder: Path) -> object:
    """What a contract of any format says it was trained on; None where it says nothing."""
    try:
        return json.loads((folder / FILE_NAME).read_bytes())["training_data"]["corpus"]
    except (OSError, ValueError, LookupError, TypeError):
        return None


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Keeps TensorFlow's greetings off standard error while it is imported; no setting of its own does."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
