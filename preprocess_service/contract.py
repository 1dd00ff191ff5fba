"""`contract.json`: what the weights of one model version expect of whoever asks them, and what they are worth."""

from __future__ import annotations

import hashlib
import math
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from preprocess_service.features import audio, mel, picture, text
from preprocess_service.model_spec import ModelSpec, TensorSpec

FILE_NAME: Final = "contract.json"
MODEL_FILE: Final = "model.onnx"
# Probabilities are moved off 0 and 1 before a logit is taken; float32 has no finer steps near 1.
_LEAST_PROBABILITY: Final = 1e-7


class ContractMismatch(Exception):
    """A model version that this code must not serve; the message names the key, its value and the expected one."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class FeatureSettings(_Part):
    """The constants behind the audio tensor; they must equal those of the running code."""

    telephone_rate_hz: int = audio.TELEPHONE_RATE_HZ
    sample_rate_hz: int = mel.SAMPLE_RATE_HZ
    fft_size: int = mel.FFT_SIZE
    hop: int = mel.HOP
    bands: int = mel.BANDS
    top_db: float = mel.TOP_DB
    window_s: float
    picture_size: int | None = None


class TextSettings(_Part):
    tokens: int
    vocabulary: tuple[str, ...]
    stop_words: frozenset[str]

    @cached_property
    def ids_by_word(self) -> dict[str, int]:
        return text.vocabulary_of(self.vocabulary)


class OperatingPoint(_Part):
    """Platt scaling, `sigmoid(scale * logit(p) + offset)`, and the threshold on its result."""

    scale: float = Field(gt=0)
    offset: float
    threshold: float = Field(gt=0, lt=1)

    def calibrate(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Network outputs to calibrated probabilities of the same shape."""
        clipped = np.clip(probabilities.astype(np.float64), _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
        logits = self.scale * np.log(clipped / (1 - clipped)) + self.offset
        return (1 / (1 + np.exp(-logits))).astype(np.float32)


class Decision(_Part):
    """One operating point for calls with a transcript and one for calls without: their scores spread differently."""

    with_transcript: OperatingPoint
    without_transcript: OperatingPoint

    def point(self, has_transcript: bool) -> OperatingPoint:
        return self.with_transcript if has_transcript else self.without_transcript


class TrainingData(_Part):
    corpus: str
    fingerprint: str
    clips: int


class Canary(_Part):
    """The network's answer to `canary_inputs`: a served model that answers otherwise is broken."""

    probability: float
    tolerance: float


class Contract(_Part):
    format_version: int = 1
    model: str
    version: int = Field(ge=1)
    labels: tuple[str, str] = ("normal", "emergency")
    features: FeatureSettings
    text: TextSettings | None
    decision: Decision
    training_data: TrainingData
    pretrained_base: bool | None  # None for a model without a pretrained part
    figures: dict[str, float]
    canary: Canary
    files: dict[str, str]  # name to SHA-256


def feature_settings(spec: ModelSpec) -> FeatureSettings:
    """The settings of the running code for that model."""
    drawn = spec.audio.name == "picture"
    return FeatureSettings(window_s=spec.window_s, picture_size=picture.SIZE if drawn else None)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def newest_version(repository: Path, spec: ModelSpec) -> int | None:
    """The model's highest version number in the repository; None where it was not exported yet."""
    numbers = [int(path.name) for path in (repository / spec.name).glob("[0-9]*") if path.name.isdigit()]
    return max(numbers, default=None)


def read_contract(version_folder: Path, spec: ModelSpec) -> Contract:
    """Reads and checks the contract of one version; raises ContractMismatch naming what does not fit."""
    path = version_folder / FILE_NAME
    try:
        contract = Contract.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ContractMismatch(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ContractMismatch(f"{path}: {error}") from error
    _check(path, "model", contract.model, spec.name)
    _check(path, "version", contract.version, int(version_folder.name))
    _check(path, "format_version", contract.format_version, 1)
    expected = feature_settings(spec).model_dump()
    for key, value in contract.features.model_dump().items():
        _check(path, f"features.{key}", value, expected[key])
    _check(path, "text", contract.text is not None, spec.tokens is not None)
    if contract.text is not None:
        _check(path, "text.tokens", contract.text.tokens, text.TOKENS)
    if MODEL_FILE not in contract.files:
        raise ContractMismatch(f"{path}: files lacks {MODEL_FILE!r}")
    for name, digest in contract.files.items():
        if (version_folder / name).exists():
            _check(path, f"SHA-256 of {name}", sha256_of(version_folder / name), digest)
    return contract


def canary_inputs(spec: ModelSpec) -> dict[str, NDArray[np.float32] | NDArray[np.int32]]:
    """One fixed row for every input, of values that occur: a ripple in dB or colour, and unknown words."""
    return {tensor.name: _canary_array(tensor)[np.newaxis] for tensor in spec.inputs}


def _canary_array(tensor: TensorSpec) -> NDArray[np.float32] | NDArray[np.int32]:
    count = math.prod(tensor.shape)
    if tensor.datatype == "INT32":
        return np.full(tensor.shape, text.UNKNOWN_ID, np.int32)
    ripple = np.sin(np.arange(count, dtype=np.float64) * 0.37) * 40 - 40
    return ripple.astype(np.float32).reshape(tensor.shape)


def _check(path: Path, key: str, value: object, expected: object) -> None:
    if value != expected:
        raise ContractMismatch(f"{path}: {key} is {value!r}; this service needs {expected!r}")
