"""The comparison of all models that are in the repository: the table of the README, and its figures as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from preprocess_service.contract import MODEL_FILE, Contract, newest_version, read_contract
from preprocess_service.model_spec import PICTURE, ModelSpec
from training.dataset import Corpus, Rows, load_rows
from training.decision import Figures, figures
from training.export import RECORD_FILE
from training.feature_store import Channel
from training.manifest import Clip, Split
from training.precision.served import TritonEnvironmentMissing
from training.precision.timing import Timing, measure_ms
from training.recordings import Scorer, coding_differences
from training.report.intervals import Estimate, envelope, resampling, wilson
from training.report.shortcuts import group_of
from training.scoring import Judged, judge_clips, session

CODED_CLIPS: Final = 100
TEST: Final[tuple[Split, ...]] = ("test",)
MOST_CLIPS: Final = 4000
MOST_CLIPS_OF_PICTURES: Final = 600  # VGG-16 takes ten times as long
Condition = Literal["unseen", "seen", "shifted"]
# name: recording condition, with audio, with text
VIEWS: Final[dict[str, tuple[Condition, bool, bool]]] = {
    "audio and text": ("unseen", True, True),
    "audio only": ("unseen", True, False),
    "text only": ("unseen", False, True),
    "seen voices and backgrounds": ("seen", True, True),
    "seen voices and backgrounds, audio only": ("seen", True, False),
    "shifted channel": ("shifted", True, True),
    "shifted channel, audio only": ("shifted", True, False),
}
HEADS: Final = (
    "model",
    "parameters",
    "accuracy [95 %]",
    "beats chance",
    "recall at 1 % FPR: unseen voices and backgrounds",
    "seen ones",
    "shifted channel",
    "accuracy, shifted [95 %]",
    "ONNX - Keras",
    "int8 agreement",
    "CPU ms, fp32 → served",
    "training",
)


@dataclass(frozen=True)
class View:
    """What a model makes of the test clips under one condition; the accuracy's interval is the wider of Wilson's and of
    the bootstrap over callers."""

    figures: Figures
    accuracy: Estimate
    beats_chance: bool  # even the interval's lower end is above the share of the larger class


@dataclass(frozen=True)
class Evaluation:
    """One version of one model."""

    contract: Contract
    record: dict[str, Any]
    views: dict[str, View]
    greatest_coding_difference: dict[str, float]
    timings: list[Timing]

    def view(self, condition: Condition) -> View | None:
        """With all that the model takes under that condition; None where it was not measured."""
        names = [name for name, (of, with_audio, _) in VIEWS.items() if of == condition and with_audio]
        return next((self.views[name] for name in names if name in self.views), None)


def newest_folder(repository: Path, spec: ModelSpec) -> Path:
    """The folder of the version in service; raises FileNotFoundError where the model was not exported yet."""
    version = newest_version(repository, spec)
    if version is None:
        raise FileNotFoundError(f"{repository / spec.name} holds no version; train and promote {spec.name} first")
    return repository / spec.name / str(version)


def evaluate(
    spec: ModelSpec, corpus: Corpus, matched: Corpus | None, repository: Path, cache: Path, workers: int
) -> Evaluation:
    """Scores the test clips with the exported graph under every condition that concerns the model, some of them in
    other codings, and times the graph that the CPU profile serves.

    `matched` holds test clips in the voices and backgrounds of training.
    """
    folder = newest_folder(repository, spec)
    contract = read_contract(folder, spec)
    runtime = session(folder / MODEL_FILE)

    def load(of: Corpus, channel: Channel) -> Rows:
        return load_rows(of, spec, contract.text, cache, workers, channel=channel, splits=TEST)

    by_condition: dict[Condition, Rows] = {"unseen": load(corpus, "line"), "shifted": load(corpus, "shifted")}
    if matched is not None:
        by_condition["seen"] = load(matched, "line")
    most = MOST_CLIPS_OF_PICTURES if spec.audio == PICTURE else MOST_CLIPS
    views = {}
    for name, (condition, with_audio, with_text) in VIEWS.items():
        if (spec.tokens is None and with_text) or condition not in by_condition:
            continue
        rows = by_condition[condition]
        clips = rows.drawn("test", most)
        judged = judge_clips(runtime, spec, contract.decision, rows, clips, with_audio=with_audio, with_text=with_text)
        of = matched if condition == "seen" and matched else corpus
        views[name] = _view(judged, rows.is_emergency[clips], [of.clips[clip] for clip in clips])
    coded = by_condition["unseen"].drawn("test", CODED_CLIPS)
    differences = coding_differences(Scorer(runtime, spec, contract), corpus, coded)
    return Evaluation(
        contract,
        json.loads((folder / RECORD_FILE).read_text(encoding="utf-8")),
        views,
        {coding: float(np.abs(each).max()) for coding, each in differences.items()},
        _timings(folder, spec),
    )


def table(evaluations: Sequence[Evaluation], corpus: Corpus) -> str:
    """A Markdown table of the models, and of what each makes of less, saying what they were measured on."""
    lines = [_row(HEADS), _row(["---"] * len(HEADS)), *(_row(_cells(each)) for each in evaluations)]
    lines += ["", _row(("model", "given", "accuracy [95 %]", "recall", "false positives", "uncertain", "AUC"))]
    lines.append(_row(["---"] * 7))
    for each in evaluations:
        for name, view in each.views.items():
            f = view.figures
            shares = (f.recall, f.false_positive_rate, f.uncertain, f.auc)
            lines.append(_row((f"`{each.contract.model}`", name, _accuracy(view), *(f"{x:.3f}" for x in shares))))
    clips = ", ".join(f"{each.contract.model} {next(iter(each.views.values())).figures.clips}" for each in evaluations)
    made = f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Python {platform.python_version()}"
    lines += ["", f"Test clips of {corpus.sources}: {clips}. {made}."]
    return "\n".join(lines)


def write_json(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Writes every figure, one object for a model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    objects = [
        {
            "model": each.contract.model,
            "version": each.contract.version,
            "views": {name: asdict(view) for name, view in each.views.items()},
            "greatest_coding_difference": each.greatest_coding_difference,
            "timings": [asdict(timing) for timing in each.timings],
            "training": {key: value for key, value in each.record.items() if key != "history"},
            "contract_figures": each.contract.figures,
        }
        for each in evaluations
    ]
    path.write_text(json.dumps(objects, indent=1), encoding="utf-8")


def _view(judged: Judged, labels: NDArray[np.bool_], clips: Sequence[Clip]) -> View:
    right = ((judged.probabilities >= 0.5) == labels).astype(np.float64)
    groups = resampling([group_of(clip) for clip in clips])
    by_group = groups.estimate(lambda weights: weights @ right / weights.sum(axis=1))
    accuracy = envelope(wilson(int(right.sum()), len(right)), by_group)
    chance = float(max(labels.mean(), 1 - labels.mean()))
    return View(figures(judged, labels), accuracy, beats_chance=bool(accuracy.low > chance))


def _timings(folder: Path, spec: ModelSpec) -> list[Timing]:
    try:
        return measure_ms(folder, spec)
    except TritonEnvironmentMissing:
        return []


def _cells(each: Evaluation) -> list[str]:
    contract, f = each.contract, each.contract.figures
    agreement = f.get("int8_label_agreement")
    return [
        f"`{contract.model}`",
        f"{each.record['parameters']:,}",
        _accuracy(each.view("unseen")),
        _beats_chance(each.view("unseen")),
        *(_recall(each.view(condition)) for condition in ("unseen", "seen", "shifted")),
        _accuracy(each.view("shifted")),
        f"{f['onnx_keras_difference']:.1g}",
        "-" if agreement is None else f"{agreement:.2%}" + ("" if _serves_int8(contract) else " (refused)"),
        " → ".join(f"{timing.ms_by_batch[1]:.1f}" for timing in (each.timings[:1] + each.timings[1:][-1:])),
        f"{each.record['seconds'] / 60:.1f} min",
    ]


def _serves_int8(contract: Contract) -> bool:
    return any(graph.precision == "int8" for graph in contract.graphs.values())


def _beats_chance(view: View | None) -> str:
    return "-" if view is None else "yes" if view.beats_chance else "**no**"


def _accuracy(view: View | None) -> str:
    if view is None:
        return "-"
    return f"{view.accuracy.value:.3f} [{view.accuracy.low:.3f}, {view.accuracy.high:.3f}]"


def _recall(view: View | None) -> str:
    return "-" if view is None else f"{view.figures.recall_at_1pct_fpr:.3f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
