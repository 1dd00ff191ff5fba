"""The frozen parts of `vgg16`, `vgg16_lstm` and `yamnet`: where their weights come from, and their output, computed
once for every window."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from training import models, shards, yamnet
from training.feature_store import WindowStore, derive

FEATURES_BATCH: Final = 16
SETTLING_WINDOWS: Final = 128

# A weights file or None, and some windows of sound: the frozen network, and whether it is trained.
Base = Callable[[Path | None, NDArray[np.float32]], tuple[models.Model, bool]]

console: Final = Console(stderr=True)


def vgg16_base(weights: Path | None, _windows: NDArray[np.float32]) -> tuple[models.Model, bool]:
    """VGG-16's convolutions from a file, from Keras, or untrained where neither is at hand."""
    if weights is not None:
        return models.vgg16_base(weights), True
    try:
        return models.vgg16_base("imagenet"), True
    except Exception as error:  # Keras raises bare Exception where it cannot fetch a file
        if not str(error).startswith("URL fetch failure"):
            raise
    _say_untrained("VGG-16: ImageNet weights cannot be fetched and no file was named (--vgg16-weights)")
    return models.vgg16_base(None), False


def yamnet_base(weights: Path | None, windows: NDArray[np.float32]) -> tuple[models.Model, bool]:
    """YAMNet's body from a file, or untrained; its weights are published as a file only."""
    base = yamnet.yamnet_base(weights)
    if weights is None:
        _say_untrained("YAMNet: no weights file was named (--yamnet-weights yamnet.h5)")
        yamnet.settle(base, windows)
    return base, weights is not None


def frozen_features(base: models.Model, audio: WindowStore, cache: Path) -> WindowStore:
    """The base's output (*features) for every window, from `cache` where it is there already."""
    code = shards.code_digest(*(Path(module.__file__ or "") for module in (models, yamnet)))
    folder = cache / f"{base.name}-{_digest(base)}-{code[:16]}"
    return derive(audio, folder, base.predict_on_batch, FEATURES_BATCH, f"{base.name} features")


def _say_untrained(what: str) -> None:
    console.print(
        f"[bold yellow]{what}:[/] its convolutions are UNTRAINED. The model works, but its figures are far below the "
        "design's."
    )


def _digest(base: models.Model) -> str:
    digest = hashlib.sha256()
    for weights in base.get_weights():
        digest.update(weights.tobytes())
    return digest.hexdigest()[:16]
