"""Training models by their recipes: rows, frozen parts, and a record of how it went."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from preprocess_service.contract import TextSettings
from preprocess_service.model_spec import MODELS, VGG16, VGG16_LSTM, YAMNET, ModelSpec
from training import models
from training.bases import SETTLING_WINDOWS, frozen_features
from training.dataset import VOCABULARY_SIZE, Corpus, Rows, learn_text_settings, load_rows, silent_window
from training.feature_store import Dtype
from training.fitting import Precision, fit_in, schedule
from training.manifest import EMERGENCY_KINDS
from training.recipes import RECIPES, Recipe
from training.row_batches import Source


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


class Trainer:
    """Trains models with the same options; a network that others build upon is trained once."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._trained: dict[str, tuple[Trained, Rows]] = {}

    def train(self, spec: ModelSpec) -> tuple[Trained, Rows]:
        """Trains one model by its recipe; returns it with the rows it was trained on, and the other splits'."""
        if spec.name not in self._trained:
            self._trained[spec.name] = self._train(spec)
        return self._trained[spec.name]

    def _train(self, spec: ModelSpec) -> tuple[Trained, Rows]:
        options, recipe = self._options, RECIPES[spec.name]
        listener = self.train(MODELS[recipe.listener])[0] if recipe.listener else None
        started = time.monotonic()
        keras.utils.set_random_seed(options.seed)
        text_settings = None
        if spec.tokens:
            text_settings = learn_text_settings(options.corpus.clips, options.cache, options.workers)
        variants = 0 if recipe.base else options.variants
        rows = load_rows(
            *(options.corpus, spec, text_settings, options.cache, options.workers, variants),
            seed=options.seed,
            dtype=options.dtype,
            most_clips=options.most_clips,
        )
        base, pretrained = _base(recipe, listener, spec, rows, options)
        source = _source(spec, base, rows, options)
        precision: Precision = options.precision if base is None else "float32"
        prepared = time.monotonic()
        of_training = len(rows.rows_of("train"))
        plan = schedule(recipe, of_training, options.seed, options.epochs)
        network, fitted = fit_in(precision, partial(_build, spec, recipe, options), plan, source)
        record = {
            **fitted,
            "feature_seconds": round(prepared - started, 1),
            "seconds": round(time.monotonic() - prepared + (listener.record["seconds"] if listener else 0), 1),
            "clips": len(np.unique(rows.clip_of_row[rows.rows_of("train")])),
        }
        if listener:
            record["listener"] = listener.record
        if base is not None:
            network = models.joined(base, network, spec)
        used: dict[str, Any] = {"seed": options.seed, "variants": variants, "precision": precision}
        used["dtype"] = options.dtype
        if spec.names_kind:
            used["head"] = options.head
        return Trained(spec, network, text_settings, pretrained, {**record, **_facts(network), "options": used}), rows


def _base(
    recipe: Recipe, listener: Trained | None, spec: ModelSpec, rows: Rows, options: Options
) -> tuple[models.Model | None, bool | None]:
    """The part of a network that stays as it is, if any, and whether it is pretrained, if it could be."""
    if listener:
        return models.sound_half(listener.network), None
    if recipe.base is None:
        return None, None
    some = rows.audio[rows.window_of_row[rows.rows_of("train")[:SETTLING_WINDOWS]]]
    return recipe.base(options.base_weights(spec), some)


def _source(spec: ModelSpec, base: models.Model | None, rows: Rows, options: Options) -> Source:
    kinds, silence = _kinds(options.corpus), silent_window(spec)
    audio = (rows.audio, *rows.augmented)
    if base is None:
        return Source(spec, rows, kinds, audio, spec.audio.name, silence)
    features = tuple(frozen_features(base, each, options.cache) for each in audio)
    return Source(spec, rows, kinds, features, models.FEATURES, base.predict_on_batch(silence[np.newaxis])[0])


def _build(spec: ModelSpec, recipe: Recipe, options: Options) -> models.Model:
    if spec.names_kind:
        return models.multimodal_head(VOCABULARY_SIZE, options.head)
    return recipe.build(VOCABULARY_SIZE)


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
