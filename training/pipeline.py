"""The steps behind `python -m training train` and `evaluate`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from preprocess_service.contract import MODEL_FILE, ContractMismatch, newest_version, read_contract
from preprocess_service.errors import ModelNotFound
from preprocess_service.model_spec import MODELS, ModelSpec, model_spec
from training.dataset import Corpus, load_rows, read_corpus
from training.synthetic.plan import SOURCE as SYNTHETIC

# Tables stay readable in a log file, too.
console = Console(width=None if sys.stdout.isatty() else 110)


def train_and_export(arguments: argparse.Namespace) -> int:
    """Trains, exports and gates the chosen models; 0 if all are in the repository."""
    specs = _specs(arguments.models)
    if not specs:
        return 2
    corpus = read_corpus(arguments.data)
    for spec in specs:
        newest = newest_version(arguments.repository, spec)
        if arguments.if_missing and newest and _is_kept(spec, newest, corpus, arguments.repository):
            console.print(f"{spec.name}/{newest}: there already")
            continue
        # What was asked for goes beside what is there; only an outdated demo model is replaced.
        version = arguments.version or (newest or 1 if arguments.if_missing else (newest or 0) + 1)
        if not _train_one(spec, corpus, version, arguments):
            return 1
    return 0


def _train_one(spec: ModelSpec, corpus: Corpus, version: int, arguments: argparse.Namespace) -> bool:
    with quiet_tensorflow():
        from training.export import ExportRefused, export
        from training.train import TRAINERS, Options

    started = time.monotonic()
    console.rule(f"training {spec.name}")
    options = Options(
        corpus, arguments.cache, arguments.seed, arguments.workers, arguments.epochs, arguments.vgg16_weights
    )
    trained = TRAINERS[spec.name](options)
    rows = load_rows(corpus, spec, trained.text_settings, arguments.cache, arguments.workers)
    try:
        contract = export(trained, corpus, rows, arguments.repository, version)
    except ExportRefused as error:
        console.print(f"[red]refused:[/] {error}")
        return False
    accuracy, difference = contract.figures["test_accuracy"], contract.figures["onnx_keras_difference"]
    console.print(
        f"{spec.name}/{version}: test accuracy {accuracy:.3f}, ONNX Runtime and Keras differ by at most "
        f"{difference:.1g}, {time.monotonic() - started:.0f} s"
    )
    return True


def evaluate_all(arguments: argparse.Namespace) -> int:
    """Prints and writes the figures of the chosen models."""
    with quiet_tensorflow():
        from training.evaluate import evaluate, show, write_json

    specs = _specs(arguments.models)
    if not specs:
        return 2
    corpus = read_corpus(arguments.data)
    evaluations = [evaluate(spec, corpus, arguments.repository, arguments.cache, arguments.workers) for spec in specs]
    show(evaluations, corpus, console)
    write_json(evaluations, arguments.json)
    return 0


def _specs(names: list[str]) -> list[ModelSpec]:
    try:
        return [model_spec(name) for name in names or MODELS]
    except ModelNotFound as error:
        console.print(f"[red]{error}[/]")
        return []


def _is_kept(spec: ModelSpec, version: int, corpus: Corpus, repository: Path) -> bool:
    """Whether the version can be served and is not a demo model of another synthetic corpus: what was trained on
    somebody's own data is never replaced unasked."""
    folder = repository / spec.name / str(version)
    try:
        data = read_contract(folder, spec).training_data
    except ContractMismatch:
        return False
    own_data = data.corpus != SYNTHETIC
    return (folder / MODEL_FILE).exists() and (own_data or data.fingerprint == corpus.fingerprint)


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
