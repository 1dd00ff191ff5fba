"""The figures of the work that this project follows, as published there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Original:
    """`accuracy` is that of its test clips; None where the model was given up."""

    model: str
    accuracy: float | None
    loss: float | None
    remark: str


ORIGINAL: Final = (
    Original("cnn", 0.95, 0.13, "worked"),
    Original("lstm", 0.92, 0.27, "worked"),
    Original("vgg16", 0.9917, 0.0440, "worked"),
    Original("multimodal", 0.9920, 0.0261, "its final model"),
    Original("cnn_lstm", None, None, "given up: the two could not be connected"),
    Original("yamnet", None, None, "given up: accuracy stayed at 0.5"),
    Original("vgg16_lstm", None, None, "given up: accuracy stayed at 0.5"),
)
_WARNING: Final = (
    "The two columns must not be compared. There, all emergencies came from one corpus and all normal clips from "
    "another, so that sampling rate, bit depth, noise floor, padding and length all gave the class away; clips of one "
    "speaker could be on both sides of the split. Here, both classes take one path, splits share no recording or "
    "sentence, {}, and the shortcut section says whether the class can still be heard without words."
)


def warning(without_speaker: float) -> str:
    """Why the columns are not comparable, where the corpus does not say the speaker of that share of its clips."""
    if not without_speaker:
        return _WARNING.format("nor any speaker")
    if without_speaker == 1:
        return _WARNING.format("but the corpus names no speakers, so that one may be on both sides here, too")
    return _WARNING.format(
        f"nor any speaker that the corpus names ({without_speaker:.1%} of its clips name none, and theirs may be on "
        "both sides)"
    )
