"""`python -m training report`: measures what is in the repository and writes the page and its numbers."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.markup import escape

from preprocess_service.contract import MODEL_FILE, ContractMismatch, newest_version, read_contract
from preprocess_service.errors import ModelNotFound
from preprocess_service.model_spec import MODELS, ModelSpec, model_spec
from training.dataset import Corpus, drawn_from, load_rows, open_lines, read_corpus
from training.recordings import Scorer
from training.report.findings import Findings, Model, surroundings
from training.report.headline import headline
from training.report.history import MalformedHistory, read_history
from training.report.listening import listen
from training.report.measurement import measure_model
from training.report.page import page
from training.report.record import to_json
from training.report.sampling import PROBED_CLIPS, sizes_for
from training.report.shortcuts import Shortcuts, find_shortcuts
from training.scoring import session

INVALID_STATUS: Final = 3  # exit code where the shortcut probes say that no figure may be believed
PAGE_NAME: Final = "report.html"
RECORD_NAME: Final = "report.json"


# Lines stay whole in a log file, too.
console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)


def run(arguments: argparse.Namespace) -> int:
    """Writes both files into `arguments.out`; 0, or INVALID_STATUS where the class can be told without words. Writes
    nothing and returns 2 for an unknown model, 1 for a version that this code cannot serve."""
    try:
        specs = [model_spec(name) for name in arguments.models or MODELS]
    except ModelNotFound as error:
        console.print(f"[red]{error}[/]")
        return 2
    corpus = read_corpus(arguments.data)
    console.print("looking for shortcuts")
    shortcuts = _shortcuts(corpus, arguments)
    models, missing = {}, []
    for number, spec in enumerate(specs, start=1):
        if newest_version(arguments.repository, spec) is None:
            console.print(f"{spec.name}: not trained")
            missing.append(spec.name)
            continue
        console.rule(f"{spec.name} ({number} of {len(specs)})")
        try:
            models[spec.name] = _model(spec, corpus, arguments)
        except (ContractMismatch, MalformedHistory) as error:
            console.print(f"[red]{escape(str(error))}[/]")
            return 1
    findings = Findings(surroundings(corpus, quick=arguments.quick), shortcuts, models, tuple(missing))
    page_file = _write(arguments.out, findings)
    console.print(f"[bold]{findings.status}[/]", " ".join(headline(findings)))
    console.print(f"{page_file} and {RECORD_NAME} beside it")
    return INVALID_STATUS if findings.status == "INVALID" else 0


def _shortcuts(corpus: Corpus, arguments: argparse.Namespace) -> Shortcuts:
    bad = open_lines(corpus, arguments.cache, arguments.workers).bad
    usable = np.array([index for index in range(len(corpus.clips)) if index not in bad], dtype=np.int64)
    is_emergency = np.array([corpus.clips[index].label == "emergency" for index in usable])
    chosen = drawn_from(usable, is_emergency, PROBED_CLIPS)  # never fewer: chance alone would find shortcuts
    return find_shortcuts(listen(corpus, chosen, arguments.workers), [corpus.clips[index] for index in chosen])


def _model(spec: ModelSpec, corpus: Corpus, arguments: argparse.Namespace) -> Model:
    folder = arguments.repository / spec.name / str(newest_version(arguments.repository, spec))
    contract = read_contract(folder, spec)
    rows = load_rows(corpus, spec, contract.text, arguments.cache, arguments.workers, splits=("validation", "test"))
    scorer = Scorer(session(folder / MODEL_FILE), spec, contract)
    sizes = sizes_for(spec, quick=arguments.quick)
    measured, judgement = measure_model(scorer, corpus, rows, sizes, console.print)
    same_corpus = contract.training_data.fingerprint == corpus.fingerprint
    return Model(contract, measured, read_history(folder), judgement, same_corpus)


def _write(folder: Path, findings: Findings) -> Path:
    """Both files, complete or not at all; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = json.dumps(to_json(findings), ensure_ascii=False, indent=1, allow_nan=False)
    for name, text in ((RECORD_NAME, numbers + "\n"), (PAGE_NAME, page(findings))):
        partial = folder / f".{name}.{os.getpid()}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / name)
    return folder / PAGE_NAME
