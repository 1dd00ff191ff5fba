"""Scores of whole clips, by the very graph and rows that are served."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from rich.progress import track

from preprocess_service.model_spec import KINDS, PROBABILITY, ModelSpec
from training.dataset import Rows
from training.row_batches import silent_window

BATCH: Final = 32


def session(model_file: Path | bytes) -> Any:
    """An ONNX Runtime session, on the GPU where there is one."""
    wanted = ["CPUExecutionProvider"]
    if shutil.which("nvidia-smi"):  # the GPU build lists its provider on every machine, and then fails to load it
        wanted.insert(0, "CUDAExecutionProvider")
    source = model_file if isinstance(model_file, bytes) else str(model_file)
    return onnxruntime.InferenceSession(source, providers=wanted)


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
    chosen = np.flatnonzero(np.isin(rows.clip_of_row, clips))
    if not with_text and spec.tokens:  # rows of one window then differ in nothing
        chosen = chosen[np.unique(rows.window_of_row[chosen], return_index=True)[1]]
    starts = track(range(0, len(chosen), BATCH), f"{spec.name} scores", transient=True, disable=not sys.stderr.isatty())
    batches = (chosen[start : start + BATCH] for start in starts)
    answers = [
        runtime.run([PROBABILITY.name], row_inputs(spec, rows, batch, with_audio, with_text))[0][:, 0]
        for batch in batches
    ]
    scores = np.zeros(len(rows.is_emergency), np.float32)
    np.maximum.at(scores, rows.clip_of_row[chosen], np.concatenate(answers))
    return scores[clips]


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
