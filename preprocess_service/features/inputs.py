"""The rows of a batch: which stretch of audio and which tokens each holds, and the arrays that a model takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preprocess_service.features import mel, mfcc, picture, text, waveform
from preprocess_service.features.audio import Samples
from preprocess_service.model_spec import MEL, MFCC, PICTURE, WAVEFORM, ModelSpec

AudioFeature = NDArray[np.float32]

_AUDIO_FEATURES: Final[Mapping[str, Callable[[Samples], AudioFeature]]] = {
    MEL.name: lambda samples: mel.multimodal_mel(samples)[..., np.newaxis],
    PICTURE.name: picture.picture,
    MFCC.name: mfcc.mfcc,
    WAVEFORM.name: waveform.waveform,
}


@dataclass(frozen=True)
class Row:
    """One row of a batch: samples [start, end) at 22,050 Hz, and the token ids up to `ids_end`."""

    start: int
    end: int
    ids_end: int


def audio_feature(spec: ModelSpec, samples: Samples) -> AudioFeature:
    """The model's audio tensor, without the batch axis, of at most one window of samples (n,) at 22,050 Hz."""
    return _AUDIO_FEATURES[spec.audio.name](samples)


def windows(spec: ModelSpec, n_samples: int) -> list[tuple[int, int]]:
    """Overlapping windows [start, end) over a recording of that many samples at 22,050 Hz.

    A recording of at most one window is one window; a longer one ends with a whole window at its very end.
    """
    window, hop = (round(seconds * mel.SAMPLE_RATE_HZ) for seconds in (spec.window_s, spec.hop_s))
    if n_samples <= window:
        return [(0, n_samples)]
    starts = list(range(0, n_samples - window, hop))
    return [(start, start + window) for start in [*starts, n_samples - window]]


def rows(spec: ModelSpec, n_samples: int, n_ids: int) -> list[Row]:
    """Pairs every window with the words said up to its end, taking the transcript as spread evenly over the audio.

    Where more words fall between two windows than the model reads at once, the later window is asked several times,
    so that no word goes unread.
    """
    paired: list[Row] = []
    read = 0
    for start, end in windows(spec, n_samples):
        ids_end = round(n_ids * end / n_samples) if spec.tokens else 0
        ends = [*range(read + text.TOKENS, ids_end, text.TOKENS), ids_end]
        paired.extend(Row(start, end, each) for each in ends)
        read = ids_end
    return paired


def batch(
    spec: ModelSpec, samples: Samples, ids: Sequence[int], batch_rows: Sequence[Row]
) -> dict[str, NDArray[np.float32] | NDArray[np.int32]]:
    """The model's input arrays by name, (rows, *shape), from a whole recording and all of its token ids."""
    features: dict[tuple[int, int], AudioFeature] = {}
    for row in batch_rows:
        if (row.start, row.end) not in features:
            features[row.start, row.end] = audio_feature(spec, samples[row.start : row.end])
    arrays: dict[str, NDArray[np.float32] | NDArray[np.int32]] = {
        spec.audio.name: np.stack([features[row.start, row.end] for row in batch_rows])
    }
    if spec.tokens:
        arrays[spec.tokens.name] = np.stack([text.last_tokens(ids[: row.ids_end]) for row in batch_rows])
    return arrays
