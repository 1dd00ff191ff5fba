"""How a network is fitted to rows: its steps, their rate, and a record of how it went."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import keras
from rich.console import Console

from preprocess_service.model_spec import KINDS, PROBABILITY
from training import models
from training.batches import read_ahead
from training.recipes import Recipe
from training.row_batches import Source, TrainingBatches, ValidationBatches

Precision = Literal["float32", "mixed_bfloat16"]

TOTALS: Final = frozenset({"loss", "val_loss"})  # of both outputs together
HEARD_ONLY: Final = 0.3  # of the passes, of models that learn to read and to hear at once
FIRST_RATE: Final = 0.01  # of the greatest learning rate, from which it rises during the first pass
LAST_RATE: Final = 0.05  # of the greatest learning rate, at the end of the cosine
LARGEST_STEP: Final = 1.0  # norm of a gradient
SMALLEST_BATCH: Final = 16

console: Final = Console(stderr=True)


@dataclass(frozen=True)
class Schedule:
    """A recipe's schedule on so many rows."""

    recipe: Recipe
    epochs: int
    batch: int
    seed: int

    @property
    def heard_only(self) -> int:
        """Passes without text."""
        return 0 if self.recipe.listener else round(HEARD_ONLY * self.epochs)


def schedule(recipe: Recipe, rows: int, seed: int, epochs: int | None = None) -> Schedule:
    """The recipe's schedule on so many training rows, with at most `epochs` passes."""
    batch = recipe.batch
    while batch > SMALLEST_BATCH and recipe.epochs * rows < recipe.least_steps * batch:
        batch //= 2
    passes = max(recipe.epochs, -(-recipe.least_steps * batch // rows))
    return Schedule(recipe, min(passes, epochs or passes), batch, seed)


def fit_in(
    precision: Precision, build: Callable[[], models.Model], schedule: Schedule, source: Source
) -> tuple[models.Model, dict[str, Any]]:
    """Builds and trains a network in that precision; what comes back is in single precision, whatever it was trained
    in, beside its curves, the seconds of every epoch, validation included, and the size and number of its batches."""
    keras.config.set_dtype_policy(precision)
    try:
        trained = build()
        fitted = _fit(trained, schedule, source)
    finally:
        keras.config.set_dtype_policy("float32")
    network = build()
    network.set_weights(trained.get_weights())
    return network, fitted


def _fit(network: models.Model, schedule: Schedule, source: Source) -> dict[str, Any]:
    recipe, epochs = schedule.recipe, schedule.epochs
    batches = TrainingBatches(source, schedule.batch, schedule.seed, heard_only=schedule.heard_only)
    rate = _rate(recipe.rate, epochs, len(batches))
    losses = {PROBABILITY.name: "binary_crossentropy"}
    if source.spec.names_kind:
        losses[KINDS.name] = "sparse_categorical_crossentropy"
    network.compile(
        keras.optimizers.Adam(rate, clipnorm=LARGEST_STEP),
        losses,
        weighted_metrics={name: ["accuracy"] for name in losses},
    )
    # With one output Keras calls the loss just so, and the weighted accuracy by its own name.
    several = len(losses) > 1
    watched = f"val_{PROBABILITY.name}_{recipe.watch}" if several else f"val_{recipe.watch}"
    clock = EpochClock()
    callbacks: list[keras.callbacks.Callback] = [clock]
    if recipe.patience is not None:
        mode = "min" if recipe.watch == "loss" else "max"
        callbacks.append(
            keras.callbacks.EarlyStopping(watched, mode=mode, patience=recipe.patience, restore_best_weights=True)
        )
    fitted = network.fit(
        read_ahead(batches),
        validation_data=read_ahead(ValidationBatches(source, recipe.batch)),
        epochs=epochs,
        shuffle=False,  # every pass of the batches is a permutation already
        callbacks=callbacks,
        verbose="auto" if console.is_terminal else 2,
    )
    curves = {name: [float(each) for each in values] for name, values in fitted.history.items()}
    history = _plain(curves) if several else curves
    return {"history": history, "epoch_seconds": clock.seconds, "batch": schedule.batch, "steps": len(batches)}


def _rate(rate: float, epochs: int, steps: int) -> Any:
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
