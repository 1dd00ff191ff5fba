"""Training: the published tables, early stopping, seeds, modality dropout."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from preprocess_service.contract import TextSettings
from preprocess_service.model_spec import MEL, MULTIMODAL, PROBABILITY, TOKENS, VGG16, ModelSpec
from training import models
from training.dataset import VOCABULARY_SIZE, Corpus, Rows, cached_audio, learn_text_settings, load_rows

MULTIMODAL_EPOCHS: Final = 20
MULTIMODAL_BATCH: Final = 64
MULTIMODAL_PATIENCE: Final = 4
MULTIMODAL_RATE: Final = 5e-4  # at twice that the text is learnt so fast that the audio half dies
VGG16_EPOCHS: Final = 50
VGG16_BATCH: Final = 32
VGG16_PATIENCE: Final = 5
BOTTLENECK_BATCH: Final = 16
# Shares of training rows that lose one modality, so that either alone still gives a sound answer.
TEXT_DROPPED: Final = 0.4
AUDIO_DROPPED: Final = 0.1
SILENT_MEL_DB: Final = 0.0  # of a window without any sound: decibels against its own maximum

console: Final = Console(stderr=True)


@dataclass(frozen=True)
class Trained:
    """A trained network with what else its contract needs."""

    spec: ModelSpec
    network: models.Model
    text_settings: TextSettings | None
    pretrained_base: bool | None


@dataclass(frozen=True)
class Options:
    corpus: Corpus
    cache: Path
    seed: int
    workers: int
    epochs: int | None = None
    vgg16_weights: Path | None = None


class MultimodalBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of training rows, shuffled over the whole split every epoch, some without text or without sound."""

    def __init__(self, rows: Rows, seed: int) -> None:
        super().__init__()
        self._rows = rows
        self._random = np.random.default_rng(seed)
        self._order = self._random.permutation(rows.rows_of("train"))

    def __len__(self) -> int:
        return -(-len(self._order) // MULTIMODAL_BATCH)

    def __getitem__(self, index: int) -> tuple[dict[str, Any], dict[str, Any]]:
        chosen = self._order[index * MULTIMODAL_BATCH : (index + 1) * MULTIMODAL_BATCH]
        batch_inputs, targets = multimodal_arrays(self._rows, chosen)
        lot = self._random.random(len(chosen))
        batch_inputs[TOKENS.name][lot < TEXT_DROPPED] = 0
        batch_inputs[MEL.name][lot > 1 - AUDIO_DROPPED] = SILENT_MEL_DB
        return batch_inputs, targets

    def on_epoch_end(self) -> None:
        self._order = self._random.permutation(self._order)


def multimodal_arrays(rows: Rows, chosen: NDArray[np.int64]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Copies of the inputs and targets of the chosen rows."""
    assert rows.tokens is not None  # noqa: S101 - `multimodal` reads text
    batch_inputs = {MEL.name: rows.audio[rows.window_of_row[chosen]], TOKENS.name: rows.tokens[chosen]}
    return batch_inputs, {PROBABILITY.name: rows.labels(chosen)[:, np.newaxis]}


def train_multimodal(options: Options) -> Trained:
    """Trains the multimodal network; validation counts every row with and without its transcript."""
    keras.utils.set_random_seed(options.seed)
    text_settings = learn_text_settings(options.corpus.clips)
    rows = load_rows(options.corpus, MULTIMODAL, text_settings, options.cache, options.workers)
    network = models.multimodal(VOCABULARY_SIZE)
    network.compile(keras.optimizers.Adam(MULTIMODAL_RATE), "binary_crossentropy", metrics=["accuracy"])
    network.fit(
        MultimodalBatches(rows, options.seed),
        validation_data=_validation(rows),
        epochs=options.epochs or MULTIMODAL_EPOCHS,
        callbacks=[keras.callbacks.EarlyStopping("val_loss", patience=MULTIMODAL_PATIENCE, restore_best_weights=True)],
        verbose=_verbosity(),
    )
    return Trained(MULTIMODAL, network, text_settings, pretrained_base=None)


def train_vgg16(options: Options) -> Trained:
    """Trains VGG-16's head on the frozen part's output, which is computed once for every picture."""
    keras.utils.set_random_seed(options.seed)
    base, pretrained = load_vgg16_base(options.vgg16_weights)
    rows = load_rows(options.corpus, VGG16, None, options.cache, options.workers)
    folder = cached_audio(options.corpus, VGG16, options.cache, options.workers)
    features = bottleneck(base, rows.audio, folder / f"bottleneck-{_digest(base)}.npy")
    head = models.vgg16_head()
    head.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    arrays = {}
    for split in ("train", "validation"):
        chosen = rows.rows_of(split)
        arrays[split] = (features[rows.window_of_row[chosen]], rows.labels(chosen))
    head.fit(
        *arrays["train"],
        validation_data=arrays["validation"],
        batch_size=VGG16_BATCH,
        epochs=options.epochs or VGG16_EPOCHS,
        callbacks=[
            keras.callbacks.EarlyStopping(
                "val_accuracy", mode="max", patience=VGG16_PATIENCE, restore_best_weights=True
            )
        ],
        verbose=_verbosity(),
    )
    return Trained(VGG16, models.vgg16(base, head), None, pretrained_base=pretrained)


def load_vgg16_base(weights: Path | None) -> tuple[models.Model, bool]:
    """The frozen convolutions, and whether they are trained: from a file, from Keras, or not at all."""
    if weights is not None:
        return models.vgg16_base(weights), True
    try:
        return models.vgg16_base("imagenet"), True
    except Exception as error:  # Keras raises bare Exception where it cannot fetch a file
        if not str(error).startswith("URL fetch failure"):
            raise
    console.print(
        "[bold yellow]VGG-16: ImageNet weights cannot be fetched and no file was named (--vgg16-weights):[/] "
        "the convolutions are UNTRAINED. The model works, but its figures are far below the design's."
    )
    return models.vgg16_base(None), False


def bottleneck(base: models.Model, pictures: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    """The frozen part's output (n, 4, 4, 512) for pictures (n, 150, 150, 3), from `path` where it is there."""
    if not path.exists():
        starts = range(0, len(pictures), BOTTLENECK_BATCH)
        done = [
            base.predict_on_batch(pictures[start : start + BOTTLENECK_BATCH])
            for start in track(starts, "VGG-16 convolutions", console=console)
        ]
        partial = path.with_suffix(f".{os.getpid()}.partial.npy")
        np.save(partial, np.concatenate(done))
        partial.rename(path)
    loaded: NDArray[np.float32] = np.load(path, mmap_mode="r")
    return loaded


def _validation(rows: Rows) -> tuple[dict[str, Any], dict[str, Any]]:
    whole, targets = multimodal_arrays(rows, rows.rows_of("validation"))
    without_text = {MEL.name: whole[MEL.name], TOKENS.name: np.zeros_like(whole[TOKENS.name])}
    return (
        {name: np.concatenate([whole[name], without_text[name]]) for name in whole},
        {name: np.concatenate([target, target]) for name, target in targets.items()},
    )


def _digest(base: models.Model) -> str:
    digest = hashlib.sha256()
    for weights in base.get_weights():
        digest.update(weights.tobytes())
    return digest.hexdigest()[:16]


def _verbosity() -> Any:
    return "auto" if console.is_terminal else 2


TRAINERS: Final = {MULTIMODAL.name: train_multimodal, VGG16.name: train_vgg16}
