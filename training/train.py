"""Training one model: its recipe, early stopping, seeds, and a record of how it went."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import keras
import numpy as np
from rich.console import Console

from preprocess_service.contract import TextSettings
from preprocess_service.model_spec import KINDS, PROBABILITY, VGG16, VGG16_LSTM, YAMNET, ModelSpec
from training import models
from training.bases import SETTLING_WINDOWS, frozen_features
from training.batches import read_ahead
from training.dataset import VOCABULARY_SIZE, Corpus, Rows, learn_text_settings, load_rows, silent_window
from training.feature_store import Dtype
from training.manifest import EMERGENCY_KINDS
from training.recipes import RECIPES, Recipe
from training.row_batches import Source, TrainingBatches, ValidationBatches

Precision = Literal["float32", "mixed_bfloat16"]

KINDS_WEIGHT: Final = 1.0  # of the loss, beside the probability's 1
TOTALS: Final = frozenset({"loss", "val_loss"})  # of both outputs together
HEARD_ONLY: Final = 0.3  # of the passes, of models that read
FIRST_RATE: Final = 0.01  # of the greatest learning rate, from which it rises during the first pass
LAST_RATE: Final = 0.05  # of the greatest learning rate, at the end of the cosine
LARGEST_STEP: Final = 1.0  # norm of a gradient
LEAST_STEPS: Final = 1000  # of a whole run, as far as batches can shrink: steps teach, not passes
SMALLEST_BATCH: Final = 16

console: Final = Console(stderr=True)


@dataclass(frozen=True)
class Options:
    """What a training run is given besides its model."""

    corpus: Corpus
    cache: Path
    seed: int
    workers: int
    epochs: int | None = None
    most_clips: int | None = None
    vgg16_weights: Path | None = None
    yamnet_weights: Path | None = None
    variants: int = 0
    dtype: Dtype = "float32"  # of the features on disk
    head: models.Head = "logit"
    kinds_weight: float = KINDS_WEIGHT
    precision: Precision = "float32"

    def base_weights(self, spec: ModelSpec) -> Path | None:
        return {
            VGG16.name: self.vgg16_weights,
            VGG16_LSTM.name: self.vgg16_weights,
            YAMNET.name: self.yamnet_weights,
        }.get(spec.name)


@dataclass(frozen=True)
class Trained:
    """A trained network with what else its contract needs."""

    spec: ModelSpec
    network: models.Model
    text_settings: TextSettings | None
    pretrained_base: bool | None
    record: dict[str, Any] = field(default_factory=dict)  # training.json


def train(spec: ModelSpec, options: Options) -> tuple[Trained, Rows]:
    """Trains one model by its recipe; returns it with the rows it was trained on, and the other splits'."""
    started = time.monotonic()
    keras.utils.set_random_seed(options.seed)
    recipe = RECIPES[spec.name]
    text_settings = learn_text_settings(options.corpus.clips, options.cache, options.workers) if spec.tokens else None
    variants = 0 if recipe.base else options.variants
    rows = load_rows(
        *(options.corpus, spec, text_settings, options.cache, options.workers, variants),
        seed=options.seed,
        dtype=options.dtype,
        most_clips=options.most_clips,
    )
    if recipe.base is None:
        build, precision = partial(_build, spec, recipe, options), options.precision
        base, pretrained, silence = None, None, silent_window(spec)
        audio, audio_name = (rows.audio, *rows.augmented), spec.audio.name
    else:
        build, precision = partial(recipe.build, VOCABULARY_SIZE), "float32"
        some = rows.audio[rows.window_of_row[rows.rows_of("train")[:SETTLING_WINDOWS]]]
        base, pretrained = recipe.base(options.base_weights(spec), some)
        silence = base.predict_on_batch(silent_window(spec)[np.newaxis])[0]
        audio, audio_name = (frozen_features(base, rows.audio, options.cache),), models.FEATURES
    source = Source(spec, rows, _kinds(options.corpus), audio, audio_name, silence)
    prepared = time.monotonic()
    network, fitted = _fit_in(precision, build, recipe, source, options)
    record = {
        **fitted,
        "feature_seconds": round(prepared - started, 1),
        "seconds": round(time.monotonic() - prepared, 1),  # of the fit alone
        "clips": len(np.unique(rows.clip_of_row[rows.rows_of("train")])),
    }
    if base is not None:
        network = models.joined(base, network, spec)
    used: dict[str, Any] = {"seed": options.seed, "variants": variants, "precision": precision, "dtype": options.dtype}
    if spec.names_kind:
        used |= {"head": options.head, "kinds_weight": options.kinds_weight}
    return Trained(spec, network, text_settings, pretrained, {**record, **_facts(network), "options": used}), rows


def _build(spec: ModelSpec, recipe: Recipe, options: Options) -> models.Model:
    if spec.names_kind:
        return models.multimodal(VOCABULARY_SIZE, options.head)
    return recipe.build(VOCABULARY_SIZE)


def _fit_in(
    precision: Precision, build: Callable[[], models.Model], recipe: Recipe, source: Source, options: Options
) -> tuple[models.Model, dict[str, Any]]:
    """Trains in that precision; the network that comes back is in single precision, whatever it was trained in."""
    keras.config.set_dtype_policy(precision)
    try:
        trained = build()
        fitted = _fit(trained, recipe, source, options)
    finally:
        keras.config.set_dtype_policy("float32")
    network = build()
    network.set_weights(trained.get_weights())
    return network, fitted


def _fit(network: models.Model, recipe: Recipe, source: Source, options: Options) -> dict[str, Any]:
    """Fits `network`; answers its curves and the seconds of every epoch, validation included."""
    epochs = options.epochs or recipe.epochs
    batch = _batch(recipe.batch, epochs * len(source.rows.rows_of("train")))
    batches = TrainingBatches(source, batch, options.seed, heard_only=round(HEARD_ONLY * epochs))
    rate = _schedule(recipe.rate, epochs, len(batches))
    losses, weights = {PROBABILITY.name: "binary_crossentropy"}, {PROBABILITY.name: 1.0}
    if source.spec.names_kind:
        losses[KINDS.name], weights[KINDS.name] = "sparse_categorical_crossentropy", options.kinds_weight
    network.compile(
        keras.optimizers.Adam(rate, clipnorm=LARGEST_STEP),
        losses,
        loss_weights=weights,
        weighted_metrics={name: ["accuracy"] for name in losses},
    )
    # With one output Keras calls the loss just so, and the weighted accuracy by its own name.
    several = len(losses) > 1
    watched = f"val_{PROBABILITY.name}_{recipe.watch}" if several else f"val_{recipe.watch}"
    clock = EpochClock()
    fitted = network.fit(
        read_ahead(batches),
        validation_data=read_ahead(ValidationBatches(source, recipe.batch)),
        epochs=epochs,
        shuffle=False,  # every pass of the batches is a permutation already
        callbacks=[
            clock,
            keras.callbacks.EarlyStopping(
                watched,
                mode="min" if recipe.watch == "loss" else "max",
                patience=recipe.patience,
                restore_best_weights=True,
            ),
        ],
        verbose="auto" if console.is_terminal else 2,
    )
    curves = {name: [float(each) for each in values] for name, values in fitted.history.items()}
    history = _plain(curves) if several else curves
    return {"history": history, "epoch_seconds": clock.seconds, "batch": batch, "steps": len(batches)}


def _batch(largest: int, rows: int) -> int:
    """The largest size, halved while `rows` in all make too few steps of it."""
    batch = largest
    while batch > SMALLEST_BATCH and rows < LEAST_STEPS * batch:
        batch //= 2
    return batch


def _schedule(rate: float, epochs: int, steps: int) -> Any:
    """Rises over the first pass, then falls as a cosine. A dense layer on 24,864 values answers Adam's first full steps
    with a leap that can kill all of its units, and the network stays at 0.5 for good."""
    return keras.optimizers.schedules.CosineDecay(
        FIRST_RATE * rate, max(1, epochs - 1) * steps, LAST_RATE, warmup_target=rate, warmup_steps=steps
    )


class EpochClock(keras.callbacks.Callback):  # type: ignore[misc]
    """Notes how long every epoch takes."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras fixes the arguments
        self._begun = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.seconds.append(round(time.monotonic() - self._begun, 3))


def _plain(curves: dict[str, list[float]]) -> dict[str, list[float]]:
    """The probability's own curves under the names that a model of one output gives them."""
    own = f"{PROBABILITY.name}_"
    return {
        name.replace(own, "") if own in name else name.replace("loss", "total_loss") if name in TOTALS else name: each
        for name, each in curves.items()
    }


def _kinds(corpus: Corpus) -> np.ndarray[Any, np.dtype[np.int64]]:
    index = {kind: position for position, kind in enumerate(EMERGENCY_KINDS)}
    return np.array([index.get(clip.kind, -1) for clip in corpus.clips], np.int64)


def _facts(network: models.Model) -> dict[str, Any]:
    return {
        "parameters": int(network.count_params()),
        "trainable_parameters": sum(int(np.prod(each.shape)) for each in network.trainable_weights),
        "versions": {"python": platform.python_version(), "keras": keras.__version__, "numpy": np.__version__},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }
