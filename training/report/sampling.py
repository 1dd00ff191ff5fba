"""How much is measured of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from preprocess_service.model_spec import PICTURE, ModelSpec


@dataclass(frozen=True)
class Sizes:
    """How many clips and calls at most; clips are drawn where there are more."""

    test_clips: int
    validation_clips: int
    ablation_clips: int
    long_calls: int
    long_call_s: float
    emergency_calls: int


PROBED_CLIPS: Final = 2000
USUAL: Final = Sizes(2000, 1000, 400, long_calls=3, long_call_s=600, emergency_calls=60)
COSTLY: Final = Sizes(1000, 500, 150, long_calls=1, long_call_s=600, emergency_calls=25)
QUICK: Final = Sizes(200, 200, 40, long_calls=1, long_call_s=60, emergency_calls=6)


def sizes_for(spec: ModelSpec, *, quick: bool) -> Sizes:
    """Fewer for VGG-16's convolutions: a row takes them 60 ms on two cores, ten times what the other networks need."""
    if quick:
        return QUICK
    return COSTLY if spec.audio == PICTURE else USUAL
