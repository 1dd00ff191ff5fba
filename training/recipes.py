"""How each of the seven models is built and trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from preprocess_service.model_spec import CNN, CNN_LSTM, LSTM, MULTIMODAL, VGG16, VGG16_LSTM, YAMNET
from training import models
from training.bases import Base, vgg16_base, yamnet_base


@dataclass(frozen=True)
class Recipe:
    """A network and its schedule; `build` takes the vocabulary's size and makes the whole network, or the head on a
    frozen part: a `base`, or the sound half of a `listener`."""

    build: Callable[[int], models.Model]
    epochs: int
    batch: int
    rate: float
    patience: int | None  # epochs that do not better what is watched on validation; None: the last one's weights stay
    watch: Literal["loss", "accuracy"] = "loss"
    base: Base | None = None
    least_steps: int = 600  # a small corpus gets smaller batches, and then more passes: steps teach
    listener: str | None = None  # the model that is trained first, whose sound half this one keeps as it is


def _reads_nothing(build: Callable[[], models.Model]) -> Callable[[int], models.Model]:
    return lambda _vocabulary_size: build()


RECIPES: Final = {
    # Words are learnt so much faster than sound that beside them the sound would not be learnt.
    # Its passes are cheap, and the kinds need many steps. It is trained to the end of the cosine: half of the
    # validation rows have no text, and what their loss does by chance would choose the pass.
    MULTIMODAL.name: Recipe(
        models.multimodal_head, epochs=20, batch=128, rate=1e-3, patience=None, least_steps=2600, listener=CNN.name
    ),
    CNN.name: Recipe(_reads_nothing(models.cnn), epochs=4, batch=32, rate=5e-4, patience=4),
    LSTM.name: Recipe(_reads_nothing(models.lstm), epochs=12, batch=64, rate=1e-3, patience=5),
    CNN_LSTM.name: Recipe(_reads_nothing(models.cnn_lstm), epochs=6, batch=64, rate=1e-3, patience=5),
    VGG16.name: Recipe(
        _reads_nothing(models.vgg16_head), epochs=50, batch=32, rate=2e-4, patience=5, watch="accuracy", base=vgg16_base
    ),
    VGG16_LSTM.name: Recipe(models.vgg16_lstm_head, epochs=30, batch=32, rate=5e-4, patience=5, base=vgg16_base),
    YAMNET.name: Recipe(
        _reads_nothing(models.yamnet_head), epochs=50, batch=64, rate=5e-4, patience=8, base=yamnet_base
    ),
}
