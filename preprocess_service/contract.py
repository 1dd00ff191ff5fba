"""`contract.json`: what the weights of one model version expect of whoever asks them, and what they are worth."""

from __future__ import annotations

import hashlib
import math
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from preprocess_service.features import audio, mel, mfcc, picture, text, waveform
from preprocess_service.model_spec import KINDS, MFCC, PICTURE, WAVEFORM, ModelSpec, TensorSpec

FILE_NAME: Final = "contract.json"
MODEL_FILE: Final = "model.onnx"  # the graph as it was exported, in single precision
FORMAT_VERSION: Final = 3
# A version with a file of this name answers whoever asks for it by number, and nobody else, until the file is removed.
CANDIDATE_MARKER: Final = "CANDIDATE"
# Probabilities are moved off 0 and 1 before a logit is taken; float32 has no finer steps near 1.
_LEAST_PROBABILITY: Final = 1e-7


class ContractMismatch(Exception):
    """A model version that this code must not serve; the message names the key, its value and the expected one.

    `reason` is the message without the file's path, which is nobody's business but the operator's.
    """

    def __init__(self, reason: str, path: Path | None = None) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.reason, self.path = reason, path


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
    mfcc_coefficients: int | None = None
    waveform_rate_hz: int | None = None
    waveform_level: float | None = None


class TextSettings(_Part):
    tokens: int
    vocabulary: tuple[str, ...]
    stop_words: frozenset[str]

    @cached_property
    def ids_by_word(self) -> dict[str, int]:
        return text.vocabulary_of(self.vocabulary)


class OperatingPoint(_Part):
    """Platt scaling, `sigmoid(scale * logit(p) + offset)`, and two thresholds on its result: an emergency from
    `threshold` on, and uncertain, for a human to decide, from `uncertain_from` on."""

    scale: float = Field(gt=0)
    offset: float
    threshold: float = Field(gt=0, lt=1)
    uncertain_from: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.uncertain_from > self.threshold:
            raise ValueError(f"uncertain_from {self.uncertain_from} is above threshold {self.threshold}")
        return self

    def calibrate(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Network outputs to calibrated probabilities of the same shape."""
        return _platt(probabilities, self.scale, self.offset)


class Decision(_Part):
    """One operating point for calls with a transcript and one for calls without: their scores spread differently."""

    with_transcript: OperatingPoint
    without_transcript: OperatingPoint

    def point(self, has_transcript: bool) -> OperatingPoint:
        return self.with_transcript if has_transcript else self.without_transcript

    def calibrate(self, probabilities: NDArray[np.float32], has_words: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Network outputs (rows,) to calibrated probabilities; a row without words (rows,) counts as heard only."""
        read, heard = self.with_transcript, self.without_transcript
        scale, offset = np.where(has_words, read.scale, heard.scale), np.where(has_words, read.offset, heard.offset)
        return _platt(probabilities, scale, offset)


def _platt(
    probabilities: NDArray[np.float32], scale: float | NDArray[np.float64], offset: float | NDArray[np.float64]
) -> NDArray[np.float32]:
    clipped = np.clip(probabilities.astype(np.float64), _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    logits = scale * np.log(clipped / (1 - clipped)) + offset
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


class AlertFigures(_Part):
    """What a policy made of calls put together from validation clips; times are medians and 90th percentiles over the
    calls with an emergency, the missed ones as infinitely late, and None where that is not reached."""

    hours: float = Field(ge=0)  # of normal calls, and of others before their emergency
    false_alarms: int = Field(ge=0)
    # No more false alarms an hour, at 95 %: the exact Poisson bound; None without an hour to count in.
    at_most_per_hour: float | None = Field(ge=0)
    emergency_calls: int = Field(ge=0)
    raised_before: int = Field(ge=0)  # of these, before the emergency began: neither found nor missed
    missed: int = Field(ge=0)
    median_delay_s: float | None
    p90_delay_s: float | None


class AlertLevels(_Part):
    """A smoothed probability raises an alert from `raise_at` on; below `clear_at` it may be cleared."""

    raise_at: float = Field(gt=0, lt=1)
    clear_at: float = Field(gt=0, lt=1)
    validation: AlertFigures

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.clear_at >= self.raise_at:
            raise ValueError(f"clear_at {self.clear_at} is not below raise_at {self.raise_at}")
        return self


class AlertSettings(_Part):
    """When a live call raises an alert; `preprocess_service.alert` says how. Chosen on validation calls, for at most
    `false_alarms_per_hour` of normal calls where that could be reached."""

    time_constant_s: float = Field(gt=0, allow_inf_nan=False)  # of the smoothing, in seconds of audio
    clear_after_s: float = Field(gt=0, allow_inf_nan=False)  # below `clear_at` before an alert is cleared
    with_transcript: AlertLevels
    without_transcript: AlertLevels
    false_alarms_per_hour: float = Field(gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        """Else the first word, which changes the levels, could raise anew what has just been cleared."""
        raise_at = min(self.with_transcript.raise_at, self.without_transcript.raise_at)
        clear_at = max(self.with_transcript.clear_at, self.without_transcript.clear_at)
        if clear_at >= raise_at:
            raise ValueError(f"clear_at {clear_at} is not below raise_at {raise_at} of calls with and without words")
        return self

    def levels(self, has_words: bool) -> AlertLevels:
        return self.with_transcript if has_words else self.without_transcript


class TrainingData(_Part):
    corpus: str
    fingerprint: str
    clips: int


class KindSettings(_Part):
    """The names behind the `kinds` output, and the temperature that its log-probabilities are divided by."""

    names: tuple[str, ...]
    temperature: float = Field(gt=0)

    def calibrate(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Network outputs (..., kinds) to calibrated probabilities of the same shape."""
        logits = np.log(np.maximum(probabilities.astype(np.float64), _LEAST_PROBABILITY)) / self.temperature
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=-1, keepdims=True), dtype=np.float32)


class Canary(_Part):
    """The network's probability for `canary_inputs`: a served graph that answers otherwise is broken."""

    probability: float
    tolerance: float


class Graph(_Part):
    """A file that Triton may serve: its precision, the ONNX Runtime provider that its figures and its canary come from,
    and by how much it differs from the exported graph."""

    precision: Literal["fp32", "fp16", "int8"]
    provider: str
    canary: Canary
    gate: dict[str, float]


class _Format(BaseModel):
    """What a contract of any format says."""

    format_version: int = FORMAT_VERSION


class Contract(_Part):
    format_version: int = FORMAT_VERSION
    model: str
    version: int = Field(ge=1)
    labels: tuple[str, str] = ("normal", "emergency")
    features: FeatureSettings
    text: TextSettings | None
    decision: Decision
    alert: AlertSettings
    kinds: KindSettings | None = None
    training_data: TrainingData
    pretrained_base: bool | None  # None for a model without a pretrained part
    figures: dict[str, float]
    graphs: dict[str, Graph]  # by file name
    files: dict[str, str]  # name to SHA-256


def feature_settings(spec: ModelSpec) -> FeatureSettings:
    """The settings of the running code for that model."""
    return FeatureSettings(
        window_s=spec.window_s,
        picture_size=picture.SIZE if spec.audio == PICTURE else None,
        mfcc_coefficients=mfcc.COEFFICIENTS if spec.audio == MFCC else None,
        waveform_rate_hz=waveform.SAMPLE_RATE_HZ if spec.audio == WAVEFORM else None,
        waveform_level=waveform.LEVEL if spec.audio == WAVEFORM else None,
    )


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def version_numbers(repository: Path, spec: ModelSpec) -> list[int]:
    """The model's version folders in the repository, candidates included, in order."""
    return sorted(int(path.name) for path in (repository / spec.name).glob("[0-9]*") if path.name.isdigit())


def newest_version(repository: Path, spec: ModelSpec) -> int | None:
    """The model's highest version number in the repository that is no candidate; None where there is none."""
    numbers = version_numbers(repository, spec)
    promoted = [each for each in numbers if not (repository / spec.name / str(each) / CANDIDATE_MARKER).exists()]
    return max(promoted, default=None)


def read_contract(version_folder: Path, spec: ModelSpec) -> Contract:
    """Reads and checks the contract of one version; raises ContractMismatch naming what does not fit."""
    path = version_folder / FILE_NAME
    try:
        written = path.read_bytes()
        _check(path, "format_version", _Format.model_validate_json(written).format_version, FORMAT_VERSION)
        contract = Contract.model_validate_json(written)
    except OSError as error:
        raise ContractMismatch(f"cannot be read: {error.strerror}", path) from error
    except ValidationError as error:
        raise ContractMismatch(_told(error), path) from error
    _check(path, "model", contract.model, spec.name)
    _check(path, "version", contract.version, int(version_folder.name))
    expected = feature_settings(spec).model_dump()
    for key, value in contract.features.model_dump().items():
        _check(path, f"features.{key}", value, expected[key])
    _check(path, "text", contract.text is not None, spec.tokens is not None)
    if contract.text is not None:
        _check(path, "text.tokens", contract.text.tokens, text.TOKENS)
    _check(
        path, "number of kinds", len(contract.kinds.names) if contract.kinds else 0, KINDS.shape[0] * spec.names_kind
    )
    for part in ("graphs", "files"):
        for name in (MODEL_FILE, spec.cpu.graph_file, spec.gpu.graph_file):
            if name not in getattr(contract, part):
                raise ContractMismatch(f"{part} lacks {name!r}", path)
    for name, digest in contract.files.items():
        if (version_folder / name).exists():
            _check(path, f"SHA-256 of {name}", sha256_of(version_folder / name), digest)
    return contract


def canary_inputs(spec: ModelSpec) -> dict[str, NDArray[np.float32] | NDArray[np.int32]]:
    """One fixed row for every input, of values that occur: a ripple in samples, dB or colour, and unknown words."""
    return {tensor.name: _canary_array(tensor)[np.newaxis] for tensor in spec.inputs}


def _canary_array(tensor: TensorSpec) -> NDArray[np.float32] | NDArray[np.int32]:
    count = math.prod(tensor.shape)
    if tensor.datatype == "INT32":
        return np.full(tensor.shape, text.UNKNOWN_ID, np.int32)
    ripple = np.sin(np.arange(count, dtype=np.float64) * 0.37)
    ripple = ripple * 0.1 if tensor == WAVEFORM else ripple * 40 - 40
    return ripple.astype(np.float32).reshape(tensor.shape)


def _told(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'the whole'}: {each['msg']}" for each in error.errors())


def _check(path: Path, key: str, value: object, expected: object) -> None:
    if value != expected:
        raise ContractMismatch(f"{key} is {value!r}; this service needs {expected!r}", path)
