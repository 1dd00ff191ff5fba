"""What the service answers, as frozen dataclasses."""

import base64
import dataclasses
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from preprocess_service.proto.wigeup.v1 import triage_pb2


class Result:
    """Base of all results."""

    __slots__ = ()

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: tuples as lists, bytes in base64, numbers that JSON lacks as None."""
        plain = _plain(self)
        assert isinstance(plain, dict)  # noqa: S101 - narrows the type: every result is a dataclass
        return plain


@dataclass(frozen=True, slots=True)
class AudioSpan(Result):
    """A stretch of the recording, in seconds from its start."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class WindowScore(AudioSpan):
    """Calibrated probability of an emergency, 0 to 1, in one window."""

    probability: float


@dataclass(frozen=True, slots=True)
class StageTimes(Result):
    """Milliseconds that the service spent on the request, by stage."""

    wait_ms: float
    decode_ms: float
    audio_ms: float
    text_ms: float
    inference_ms: float
    total_ms: float
    load_ms: float


@dataclass(frozen=True, slots=True)
class KindProbability(Result):
    """A kind of emergency by its Korean name, and how likely it is, given that the call is an emergency."""

    name: str
    probability: float


@dataclass(frozen=True, slots=True)
class Verdict(Result):
    """The answer for one recording.

    `decision` is "emergency" from `threshold` on, "uncertain" (for a human to decide) from `uncertain_from` on, else
    "normal", as the service judged it; `emergency` stands for the first. `kinds` are the three likeliest, likeliest
    first, of a model that names kinds. `warnings` are the API's names in lower case, such as "clipped" or
    "no_transcript".
    """

    call_id: str
    model: str
    model_version: str
    probability: float
    threshold: float
    uncertain_from: float
    emergency: bool
    decision: str
    kinds: tuple[KindProbability, ...]
    audio_s: float
    timeline: tuple[WindowScore, ...]
    times: StageTimes
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TensorSpec(Result):
    """Name, Triton datatype and shape (without the batch axis) of a model's input or output."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor(TensorSpec):
    """One input as Triton takes it: shape with the batch axis first, contents row-major and little-endian."""

    raw_contents: bytes


@dataclass(frozen=True, slots=True)
class Preprocessed(Result):
    """The tensors that Classify would send to Triton, and the stretch of audio behind each row of the batch."""

    model: str
    model_version: str
    inputs: tuple[Tensor, ...]
    rows: tuple[AudioSpan, ...]


@dataclass(frozen=True, slots=True)
class ModelInfo(Result):
    """A model that the service can ask; `figures` were measured on the test split of `corpus`.

    `precision` and `provider` are those of the graph that Triton serves, empty while it is not `loaded`.
    """

    name: str
    version: str
    is_default: bool
    window_s: float
    reads_transcript: bool
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    threshold_with_transcript: float
    threshold_without_transcript: float
    uncertain_from_with_transcript: float
    uncertain_from_without_transcript: float
    kinds: tuple[str, ...]
    loaded: bool
    precision: str
    provider: str
    figures: Mapping[str, float]
    corpus: str


@dataclass(frozen=True, slots=True)
class Health(Result):
    """Status of the standard gRPC health service, such as "SERVING" or "NOT_SERVING"."""

    status: str

    @property
    def serving(self) -> bool:
        """Whether the service takes calls."""
        return self.status == "SERVING"


def verdict(message: triage_pb2.Verdict) -> Verdict:
    """Converts the answer of Classify."""
    return Verdict(
        call_id=message.call_id,
        model=message.model,
        model_version=message.model_version,
        probability=_shortest(message.probability),
        threshold=_shortest(message.threshold),
        uncertain_from=_shortest(message.uncertain_from),
        emergency=message.emergency,
        decision=_decision_name(message),
        kinds=tuple(KindProbability(kind.name, _shortest(kind.probability)) for kind in message.kinds),
        audio_s=message.audio_s,
        timeline=tuple(WindowScore(w.start_s, w.end_s, _shortest(w.probability)) for w in message.timeline),
        times=_stage_times(message.times),
        warnings=tuple(_warning_name(number) for number in message.warnings),
    )


def preprocessed(message: triage_pb2.PreprocessResponse) -> Preprocessed:
    """Converts the answer of Preprocess."""
    return Preprocessed(
        model=message.model,
        model_version=message.model_version,
        inputs=tuple(Tensor(t.name, t.datatype, tuple(t.shape), t.raw_contents) for t in message.inputs),
        rows=tuple(AudioSpan(row.start_s, row.end_s) for row in message.rows),
    )


def model_infos(message: triage_pb2.ListModelsResponse) -> tuple[ModelInfo, ...]:
    """Converts the answer of ListModels."""
    return tuple(_model_info(model) for model in message.models)


def _model_info(message: triage_pb2.Model) -> ModelInfo:
    return ModelInfo(
        name=message.name,
        version=message.version,
        is_default=message.is_default,
        window_s=message.window_s,
        reads_transcript=message.reads_transcript,
        inputs=tuple(TensorSpec(t.name, t.datatype, tuple(t.shape)) for t in message.inputs),
        outputs=tuple(TensorSpec(t.name, t.datatype, tuple(t.shape)) for t in message.outputs),
        threshold_with_transcript=_shortest(message.threshold_with_transcript),
        threshold_without_transcript=_shortest(message.threshold_without_transcript),
        uncertain_from_with_transcript=_shortest(message.uncertain_from_with_transcript),
        uncertain_from_without_transcript=_shortest(message.uncertain_from_without_transcript),
        kinds=tuple(message.kinds),
        loaded=message.loaded,
        precision=message.precision,
        provider=message.provider,
        figures=dict(message.figures),
        corpus=message.corpus,
    )


def _stage_times(message: triage_pb2.StageTimes) -> StageTimes:
    return StageTimes(**{f.name: _shortest(getattr(message, f.name)) for f in dataclasses.fields(StageTimes)})


def _decision_name(message: triage_pb2.Verdict) -> str:
    if message.decision not in (triage_pb2.DECISION_NORMAL, triage_pb2.DECISION_UNCERTAIN):
        return "emergency" if message.emergency else "normal"  # the most that an older or newer service lets us say
    return triage_pb2.Decision.Name(message.decision).removeprefix("DECISION_").lower()


def _warning_name(number: triage_pb2.Warning.ValueType) -> str:
    try:
        return triage_pb2.Warning.Name(number).removeprefix("WARNING_").lower()
    except ValueError:  # a newer service may warn of what this client does not know
        return f"unknown_{number}"


def _shortest(single: float) -> float:
    """The float with fewest digits that is the same single-precision number: 0.93, not 0.9300000071525574."""
    for digits in range(6, 9):
        candidate = float(f"{single:.{digits}g}")
        if struct.pack("<f", candidate) == struct.pack("<f", single):
            return candidate
    return single


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
