"""Scores of whole clips, by the very graph and rows that are served."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from rich.progress import track

from preprocess_service.contract import Decision
from preprocess_service.features import text
from preprocess_service.model_spec import KINDS, PROBABILITY, ModelSpec
from training.dataset import Rows, silent_window

BATCH: Final = 32


def session(model_file: Path | bytes) -> Any:
    """An ONNX Runtime session, on the GPU where there is one."""
    wanted = ["CPUExecutionProvider"]
    if shutil.which("nvidia-smi"):  # the GPU build lists its provider on every machine, and then fails to load it
        wanted.insert(0, "CUDAExecutionProvider")
    source = model_file if isinstance(model_file, bytes) else str(model_file)
    return onnxruntime.InferenceSession(source, providers=wanted)


@dataclass(frozen=True)
class Judged:
    """What the service would say of some clips: calibrated probabilities with the thresholds that apply, all (n,)."""

    probabilities: NDArray[np.float32]
    thresholds: NDArray[np.float32]
    uncertain_from: NDArray[np.float32]


def clip_scores(
    runtime: Any,
    spec: ModelSpec,
    rows: Rows,
    clips: NDArray[np.int64],
    *,
    with_audio: bool = True,
    with_text: bool = True,
) -> NDArray[np.float32]:
    """The network's greatest answer over the rows of each clip: (len(clips),), uncalibrated.

    Without audio every window is silent; without text every transcript is empty.
    """
    chosen, answers = _row_answers(runtime, spec, rows, clips, with_audio, with_text)
    return _greatest(rows, chosen, answers)[clips]


def judge_clips(
    runtime: Any,
    spec: ModelSpec,
    decision: Decision,
    rows: Rows,
    clips: NDArray[np.int64],
    *,
    with_audio: bool = True,
    with_text: bool = True,
) -> Judged:
    """Clips as the service judges them: a row without words yet, and a clip without any, count as heard only."""
    chosen, answers = _row_answers(runtime, spec, rows, clips, with_audio, with_text)
    row_has_words = words_in_rows(rows)[chosen] & with_text
    calibrated = decision.calibrate(answers, row_has_words)
    has_words = np.zeros(len(rows.is_emergency), np.bool_)
    np.logical_or.at(has_words, rows.clip_of_row[chosen], row_has_words)
    points = [decision.point(bool(each)) for each in has_words[clips]]
    return Judged(
        _greatest(rows, chosen, calibrated)[clips],
        np.array([point.threshold for point in points], np.float32),
        np.array([point.uncertain_from for point in points], np.float32),
    )


def words_in_rows(rows: Rows) -> NDArray[np.bool_]:
    """Which rows have words: (rows,)."""
    if rows.tokens is None:
        return np.zeros(len(rows.clip_of_row), np.bool_)
    return np.asarray((rows.tokens != text.PADDING_ID).any(axis=1))


def clips_with_words(rows: Rows, clips: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of `clips` whose transcript has words that the model can read."""
    return clips[np.isin(clips, rows.clip_of_row[words_in_rows(rows)])]


def _row_answers(
    runtime: Any, spec: ModelSpec, rows: Rows, clips: NDArray[np.int64], with_audio: bool, with_text: bool
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The rows of the clips, and the network's answer to each."""
    chosen = np.flatnonzero(np.isin(rows.clip_of_row, clips))
    if not with_text and spec.tokens:  # rows of one window then differ in nothing
        chosen = chosen[np.unique(rows.window_of_row[chosen], return_index=True)[1]]
    starts = track(range(0, len(chosen), BATCH), f"{spec.name} scores", transient=True, disable=not sys.stderr.isatty())
    batches = (chosen[start : start + BATCH] for start in starts)
    answers = [
        runtime.run([PROBABILITY.name], row_inputs(spec, rows, batch, with_audio, with_text))[0][:, 0]
        for batch in batches
    ]
    return chosen, np.concatenate(answers)


def _greatest(rows: Rows, chosen: NDArray[np.int64], answers: NDArray[np.float32]) -> NDArray[np.float32]:
    greatest = np.zeros(len(rows.is_emergency), np.float32)
    np.maximum.at(greatest, rows.clip_of_row[chosen], answers)
    return greatest


def clip_kinds(runtime: Any, spec: ModelSpec, rows: Rows, clips: NDArray[np.int64]) -> NDArray[np.float32]:
    """The kinds' probabilities in each clip's row of the greatest probability: (len(clips), kinds), uncalibrated."""
    chosen = np.flatnonzero(np.isin(rows.clip_of_row, clips))
    best = np.full(len(rows.is_emergency), -1.0, np.float32)
    kinds = np.zeros((len(rows.is_emergency), KINDS.shape[0]), np.float32)
    for start in range(0, len(chosen), BATCH):
        batch = chosen[start : start + BATCH]
        answers = runtime.run([PROBABILITY.name, KINDS.name], row_inputs(spec, rows, batch))
        for clip, probability, named in zip(rows.clip_of_row[batch], answers[0][:, 0], answers[1], strict=True):
            if probability > best[clip]:
                best[clip], kinds[clip] = probability, named
    return kinds[clips]


def row_inputs(
    spec: ModelSpec, rows: Rows, chosen: NDArray[np.int64], with_audio: bool = True, with_text: bool = True
) -> dict[str, Any]:
    """The input arrays of some rows, with one modality emptied if so wished."""
    audio = rows.audio[rows.window_of_row[chosen]]
    if not with_audio:
        if spec.tokens is None:
            raise ValueError(f"{spec.name} hears only; it has no answer without audio")
        audio = np.broadcast_to(silent_window(spec), audio.shape)
    if rows.tokens is None or spec.tokens is None:
        return {spec.audio.name: audio}
    tokens = rows.tokens[chosen]
    return {spec.audio.name: audio, spec.tokens.name: tokens if with_text else np.zeros_like(tokens)}
