"""Batches of rows for training and validation, read from disk as they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from preprocess_service.features import text
from preprocess_service.model_spec import KINDS, MEL, MFCC, PROBABILITY, TOKENS, ModelSpec
from training.batches import Batch
from training.dataset import Rows

# Shares of training rows that lose one modality, so that either alone still gives a sound answer.
TEXT_DROPPED: Final = 0.4
AUDIO_DROPPED: Final = 0.1
WORD_LOST: Final = 0.3  # more than recognisers mishear: new sentences are read the better for it
# In a live call an emergency comes up in the midst of talk: a share of the transcripts follows somebody else's calm
# one, and has got no further than its first words, these at least.
PRECEDED: Final = 0.3
LEAST_WORDS: Final = 6
BANDS_SHIFTED: Final = 4  # of 128, up or down
TIME_AXIS: Final = {MEL.name: 1, MFCC.name: 0}  # of a window; other tensors are not moved

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Rows with what a network takes for their sound: the windows themselves, or a frozen base's features of them."""

    spec: ModelSpec
    rows: Rows
    kind_of_clip: NDArray[np.int64]  # (clips,) index of the emergency's kind, -1 for a normal clip
    audio: tuple[Any, ...]  # the windows, then augmented variants of them
    audio_name: str
    silence: NDArray[np.float32]  # a window without any sound, as the network takes it

    def arrays(self, chosen: NDArray[np.int64], variant: NDArray[np.int64] | None = None) -> Arrays:
        """Copies of the inputs of some rows."""
        windows = self.rows.window_of_row[chosen]
        found = self.audio[0][windows] if variant is None else self._mixed(windows, variant)
        arrays: Arrays = {self.audio_name: np.array(found)}
        if self.spec.tokens:
            assert self.rows.tokens is not None  # noqa: S101 - a model that reads has rows with tokens
            arrays[TOKENS.name] = self.rows.tokens[chosen]
        return arrays

    def targets(self, chosen: NDArray[np.int64]) -> tuple[Arrays, Arrays]:
        """Targets and their weights: the kind counts for emergencies only."""
        labels = self.rows.labels(chosen)
        targets: Arrays = {PROBABILITY.name: labels[:, np.newaxis]}
        weights: Arrays = {PROBABILITY.name: np.ones(len(chosen), np.float32)}
        if self.spec.names_kind:
            targets[KINDS.name] = np.maximum(self.kind_of_clip[self.rows.clip_of_row[chosen]], 0)[:, np.newaxis]
            weights[KINDS.name] = labels
        return targets, weights

    def _mixed(self, windows: NDArray[np.int64], variant: NDArray[np.int64]) -> NDArray[np.float32]:
        mixed = np.empty((len(windows), *self.silence.shape), np.float32)
        for index, audio in enumerate(self.audio):
            of_variant = variant == index
            if of_variant.any():
                mixed[of_variant] = audio[windows[of_variant]]
        return mixed


class TrainingBatches:
    """All training rows in a new order every pass, over the whole split; changed at random as calls differ: an
    augmented variant of the sound, moved in time and pitch, or no sound or no text at all.

    The first `heard_only` passes have no text: words are learnt so much faster than sound that the sound would not be
    learnt beside them.
    """

    def __init__(self, source: Source, batch: int, seed: int, heard_only: int = 0) -> None:
        self._source, self._batch = source, batch
        self._heard_only, self._pass = heard_only, 0
        self._random = np.random.default_rng(seed)
        self._order = self._random.permutation(source.rows.rows_of("train"))
        self._calm = self._order[source.rows.labels(self._order) == 0]

    def __len__(self) -> int:
        return -(-len(self._order) // self._batch)

    def __getitem__(self, index: int) -> Batch:
        chosen = self._order[index * self._batch : (index + 1) * self._batch]
        source, random = self._source, self._random
        arrays = source.arrays(chosen, random.integers(0, len(source.audio), len(chosen)))
        self._move(arrays[source.audio_name])
        if TOKENS.name in arrays:
            self._precede(arrays[TOKENS.name])
            self._forget(arrays[source.audio_name], arrays[TOKENS.name])
        return arrays, *source.targets(chosen)

    def shuffle(self) -> None:
        self._pass += 1
        self._order = self._random.permutation(self._order)

    def _move(self, windows: NDArray[np.float32]) -> None:
        axis = TIME_AXIS.get(self._source.audio_name)
        if axis is None:
            return
        for window in windows:
            window[:] = np.roll(window, self._random.integers(window.shape[axis]), axis)
            if self._source.audio_name == MEL.name:
                _shift_bands(window, int(self._random.integers(-BANDS_SHIFTED, BANDS_SHIFTED + 1)))

    def _precede(self, tokens: NDArray[np.int32]) -> None:
        all_tokens = self._source.rows.tokens
        assert all_tokens is not None  # noqa: S101 - a model that reads has rows with tokens
        for row in np.flatnonzero(self._random.random(len(tokens)) < PRECEDED):
            said = tokens[row][tokens[row] != text.PADDING_ID]
            if len(said) < LEAST_WORDS or not len(self._calm):
                continue
            heard = said[: self._random.integers(LEAST_WORDS, len(said) + 1)]
            before = all_tokens[self._random.choice(self._calm)]
            tokens[row] = text.last_tokens([*before[before != text.PADDING_ID], *heard])

    def _forget(self, windows: NDArray[np.float32], tokens: NDArray[np.int32]) -> None:
        lost = (self._random.random(tokens.shape) < WORD_LOST) & (tokens != text.PADDING_ID)
        tokens[lost] = text.UNKNOWN_ID
        if 0 < self._pass <= self._heard_only:
            tokens[:] = text.PADDING_ID
            return
        lot = self._random.random(len(tokens))
        tokens[lot < TEXT_DROPPED] = text.PADDING_ID
        windows[lot > 1 - AUDIO_DROPPED] = self._source.silence


class ValidationBatches:
    """Every validation row as it is; where the model reads, once more without its transcript."""

    def __init__(self, source: Source, batch: int) -> None:
        self._source, self._batch = source, batch
        self._order = source.rows.rows_of("validation")
        self._views = 2 if source.spec.tokens else 1
        self._per_view = -(-len(self._order) // batch)

    def __len__(self) -> int:
        return self._per_view * self._views

    def shuffle(self) -> None:
        """Every pass is the same."""

    def __getitem__(self, index: int) -> Batch:
        view, at = divmod(index, self._per_view)
        chosen = self._order[at * self._batch : (at + 1) * self._batch]
        arrays = self._source.arrays(chosen)
        if view:
            arrays[TOKENS.name] = np.full_like(arrays[TOKENS.name], text.PADDING_ID)
        return arrays, *self._source.targets(chosen)


def _shift_bands(window: NDArray[np.float32], bands: int) -> None:
    """Moves a mel window (bands, ...) up or down, the outermost band repeated: another throat says the same."""
    if bands:
        window[:] = window[np.clip(np.arange(len(window)) - bands, 0, len(window) - 1)]
