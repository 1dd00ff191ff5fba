"""`python -m training quantize`: the newest version of a model, with graphs of lower precision, as a candidate."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from preprocess_service.contract import FILE_NAME, MODEL_FILE, Contract, ContractMismatch, newest_version, read_contract
from preprocess_service.errors import ModelNotFound
from preprocess_service.model_spec import MODELS, ModelSpec, model_spec
from training.dataset import Corpus, load_rows, read_corpus
from training.precision.attempt import Attempt
from training.precision.gate import Comparison
from training.precision.served import GraphFailed, TritonEnvironmentMissing
from training.precision.timing import BATCHES, Timing, measure_ms
from training.quantize import attempt_precisions
from training.scoring import row_inputs
from training.staging import staged
from training.versions import next_version

ROOT: Final = Path(__file__).resolve().parent.parent.parent

# Tables stay readable in a log file, too.
console: Final = Console(width=None if sys.stdout.isatty() else 110)


@dataclass(frozen=True)
class Result:
    """What came of one model."""

    version: int
    attempts: tuple[Attempt, Attempt]
    timings: list[Timing]
    exported_size: int  # bytes

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "exported_size": self.exported_size,
            "timings": [asdict(each) for each in self.timings],
            "attempts": [
                {
                    "precision": each.precision,
                    "provider": each.provider,
                    "objections": each.objections,
                    "served": each.served,
                    "size": each.size,
                    **(each.comparison.to_dict() if each.comparison else {}),
                }
                for each in self.attempts
            ],
        }


def run(arguments: argparse.Namespace) -> int:
    """Writes a candidate for every chosen model and prints a table; 0 if all could be judged."""
    there = [spec.name for spec in MODELS.values() if newest_version(arguments.repository, spec)]
    try:
        specs = [model_spec(name) for name in arguments.models or there]
        corpus = read_corpus(arguments.data)
        results = {spec.name: _quantize(spec, corpus, arguments) for spec in specs}
    except (ModelNotFound, ContractMismatch, GraphFailed) as error:
        console.print(f"[red]{error}[/]")
        return 1
    show(results)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        written = {name: each.to_dict() for name, each in results.items()}
        arguments.json.write_text(json.dumps(written, indent=1), encoding="utf-8")
    return 0


def _quantize(spec: ModelSpec, corpus: Corpus, arguments: argparse.Namespace) -> Result:
    """Writes the candidate folder of one model, which appears whole or not at all."""
    version = newest_version(arguments.repository, spec)
    if version is None:
        raise FileNotFoundError(f"{arguments.repository / spec.name} holds no version; train {spec.name} first")
    source = arguments.repository / spec.name / str(version)
    contract = read_contract(source, spec)
    if contract.training_data.fingerprint != corpus.fingerprint:
        console.print(
            f"[bold yellow]{spec.name}/{version} was trained on another corpus than {corpus.folder}[/]: the gate's "
            "test clips may be among those that it learnt from."
        )
    rows = load_rows(corpus, spec, contract.text, arguments.cache, arguments.workers)
    candidate = arguments.candidates / spec.name
    with staged(candidate) as partial:
        for path in source.iterdir():
            if path.is_file() and path.name != FILE_NAME and path.name not in contract.graphs:
                shutil.copy2(path, partial)
        shutil.copy2(source / MODEL_FILE, partial)
        contract, attempts = attempt_precisions(
            partial, spec, rows, _bare(contract, next_version(arguments.repository, spec))
        )
        (partial / FILE_NAME).write_text(contract.model_dump_json(indent=1), encoding="utf-8")
    console.print(f"{spec.name}: {candidate} holds what would be version {contract.version}")
    try:
        timings = measure_ms(candidate, spec, row_inputs(spec, rows, rows.rows_of("test")[: max(BATCHES)]))
    except TritonEnvironmentMissing as error:
        console.print(f"no times: {error}")
        timings = []
    return Result(contract.version, attempts, timings, (candidate / MODEL_FILE).stat().st_size)


def _bare(contract: Contract, version: int) -> Contract:
    """The contract of the exported graph alone."""
    return contract.model_copy(
        update={
            "version": version,
            "graphs": {MODEL_FILE: contract.graphs[MODEL_FILE]},
            "figures": {
                name: value for name, value in contract.figures.items() if not name.startswith(("int8_", "fp16_"))
            },
            "files": {name: digest for name, digest in contract.files.items() if name not in contract.graphs}
            | {MODEL_FILE: contract.files[MODEL_FILE]},
        }
    )


def show(results: dict[str, Result]) -> None:
    """Prints the judgements and the times."""
    judged = Table(title="Against model.onnx on the test split")
    for heading in ("model", "precision", "provider"):
        judged.add_column(heading)
    for heading in ("clips", "labels agree", "decisions agree", "recall change", "lost", "difference", "MB"):
        judged.add_column(heading, justify="right")
    judged.add_column("gate")
    timed = Table(title="Processor time per item, one thread")
    for heading in ("model", "graph", "provider", *(f"ms, batch {size}" for size in BATCHES)):
        timed.add_column(heading, justify="left" if heading in ("model", "graph", "provider") else "right")
    for name, result in results.items():
        judged.add_row(name, "fp32", "CPU", *[""] * 6, f"{result.exported_size / 1e6:.1f}")
        for attempt in result.attempts:
            cells = _cells(attempt.comparison)
            size = f"{attempt.size / 1e6:.1f}"
            judged.add_row(name, attempt.precision, _plain(attempt.provider), *cells, size, attempt.verdict)
        for timing in result.timings:
            cells = [f"{ms:.2f}" for ms in timing.ms_by_batch.values()]
            timed.add_row(name, timing.graph_file, _plain(timing.provider), *cells)
    console.print(judged)
    console.print(timed)


def _cells(comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return [""] * 6
    return [
        str(comparison.clips),
        f"{comparison.label_agreement:.2%}",
        f"{comparison.decision_agreement:.2%}",
        f"{comparison.recall_change:+.3f}",
        f"{comparison.lost_emergency_change:+.3f}",
        f"{comparison.greatest_difference:.2g}",
    ]


def _plain(provider: str) -> str:
    return provider.removesuffix("ExecutionProvider")
