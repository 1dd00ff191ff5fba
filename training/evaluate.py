"""The figures of the served models on the test split, with one modality taken away in turn."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from preprocess_service.contract import MODEL_FILE, Contract, newest_version, read_contract
from preprocess_service.model_spec import ModelSpec
from training.dataset import Corpus, load_rows
from training.decision import Figures, figures
from training.recordings import CLIPS_PER_CALL, LongCalls, Scorer, coding_differences, long_calls
from training.scoring import clip_scores, session

# name: with audio, with text
ABLATIONS: Final = {"audio and text": (True, True), "audio only": (True, False), "text only": (False, True)}

CODED_CLIPS: Final = 100


@dataclass(frozen=True)
class Result:
    """The figures of one model with the modalities that it was given."""

    model: str
    version: int
    given: str
    figures: Figures


@dataclass(frozen=True)
class Evaluation:
    """All results of one model, how far other codings of the same recordings move its probability, and what it says
    of calls of a minute."""

    contract: Contract
    results: list[Result]
    coding_differences: dict[str, NDArray[np.float64]]
    long_calls: LongCalls | None


def newest_folder(repository: Path, spec: ModelSpec) -> Path:
    """The folder of the highest version; raises FileNotFoundError where the model was not exported yet."""
    version = newest_version(repository, spec)
    if version is None:
        raise FileNotFoundError(f"{repository / spec.name} holds no version; train and export {spec.name} first")
    return repository / spec.name / str(version)


def evaluate(spec: ModelSpec, corpus: Corpus, repository: Path, cache: Path, workers: int) -> Evaluation:
    """Scores every clip of the test split with the exported graph, and CODED_CLIPS of them in other codings."""
    folder = newest_folder(repository, spec)
    contract = read_contract(folder, spec)
    rows = load_rows(corpus, spec, contract.text, cache, workers)
    runtime = session(folder / MODEL_FILE)
    clips = np.flatnonzero(rows.splits == "test")
    results = []
    for given, (with_audio, with_text) in ABLATIONS.items():
        if not spec.tokens and given != "audio only":
            continue
        point = contract.decision.point(with_text)
        scores = clip_scores(runtime, spec, rows, clips, with_audio=with_audio, with_text=with_text)
        measured = figures(point.calibrate(scores), rows.is_emergency[clips], point)
        results.append(Result(spec.name, contract.version, given, measured))
    scorer = Scorer(runtime, spec, contract)
    is_emergency = rows.is_emergency[clips]
    return Evaluation(
        contract,
        results,
        coding_differences(scorer, corpus, clips[:CODED_CLIPS]),
        long_calls(scorer, corpus, clips[~is_emergency], clips[is_emergency]),
    )


def show(evaluations: list[Evaluation], corpus: Corpus, console: Console) -> None:
    """Prints tables of the results, saying what they were measured on."""
    results = [result for each in evaluations for result in each.results]
    table = Table(title=f"Test split of {corpus.sources}: {results[0].figures.clips} clips")
    for heading in ("model", "given", "accuracy", "recall", "false positives", "recall at 1 % FPR", "AUC"):
        table.add_column(heading, justify="left" if heading in ("model", "given") else "right")
    for result in results:
        f = result.figures
        cells = (f.accuracy, f.recall, f.false_positive_rate, f.recall_at_1pct_fpr, f.auc)
        table.add_row(f"{result.model}/{result.version}", result.given, *(f"{cell:.3f}" for cell in cells))
    console.print(table)
    console.print(_coding_table(evaluations))
    for each in evaluations:
        if (long := each.long_calls) is None:
            continue
        console.print(
            f"{each.contract.model}, {long.calls} calls of {CLIPS_PER_CALL} normal clips ({long.mean_s:.0f} s): "
            f"{long.normal_flagged:.0%} judged an emergency; with one emergency clip among them "
            f"{long.emergency_flagged:.0%}."
        )
    for contract in (each.contract for each in evaluations):
        if contract.pretrained_base is False:
            console.print(f"{contract.model}: its convolutions are untrained (no ImageNet weights at hand).")
    console.print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Python {platform.python_version()}")


def _coding_table(evaluations: list[Evaluation]) -> Table:
    clips = len(next(iter(evaluations[0].coding_differences.values())))
    table = Table(title=f"Change of the probability when {clips} of these recordings come in another coding")
    for heading in ("model", "coding", "median", "greatest"):
        table.add_column(heading, justify="left" if heading in ("model", "coding") else "right")
    for each in evaluations:
        for coding, differences in each.coding_differences.items():
            size = np.abs(differences)
            table.add_row(each.contract.model, coding, f"{np.median(size):.2g}", f"{size.max():.2g}")
    return table


def write_json(evaluations: list[Evaluation], path: Path) -> None:
    """Writes the results as a list of objects, one for every model and set of modalities."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "model": each.model,
            "version": each.version,
            "given": each.given,
            **each.figures.to_dict(),
            "greatest_coding_difference": {
                coding: float(np.abs(differences).max())
                for coding, differences in evaluation.coding_differences.items()
            },
            "long_calls": evaluation.long_calls and asdict(evaluation.long_calls),
        }
        for evaluation in evaluations
        for each in evaluation.results
    ]
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
