"""What the service answers, as frozen dataclasses."""

import base64
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass


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


@dataclass(frozen=True, slots=True)
class CallState(Result):
    """What a service must know of a call to go on with it: the API's CallState, field by field."""

    update: int
    position_frames: int
    smoothed: float
    raised: bool
    changed_at_s: float
    below_since_s: float
    alerts: int
    strongest: float
    strongest_at_s: float
    lost_frames: int
    skipped_hops: int


@dataclass(frozen=True, slots=True)
class PartyScore(Result):
    """One party at an update; `probability` is None where no model answered, and that is not "normal".

    `degradations` are the API's names in lower case, such as "audio_gap" or "not_monitored". Where it was not `scored`
    the window carries no evidence, and the smoothed score has not moved.
    """

    probability: float | None
    degradations: tuple[str, ...]
    scored: bool
    kinds: tuple[KindProbability, ...]


@dataclass(frozen=True, slots=True)
class CallUpdate(Result):
    """What the service has found in a live call up to `covered_s`; `alert` is "clear" or "raised".

    `agent` is None where the audio has one channel. `smoothed` is the caller's, by the model's alert policy.
    """

    number: int
    covered_s: float
    acknowledged_sequence: int
    caller: PartyScore
    agent: PartyScore | None
    smoothed: float
    alert: str
    alert_changed_at_s: float
    model: str
    model_version: str
    skipped_hops: int
    lag_ms: float
    times: StageTimes
    state: CallState

    @property
    def raised(self) -> bool:
        """Whether the alert stands."""
        return self.alert == "raised"

    @property
    def monitored(self) -> bool:
        """Whether a model answered. If not, nobody watches the call, whatever `alert` says."""
        return "not_monitored" not in self.caller.degradations


@dataclass(frozen=True, slots=True)
class CallSummary(Result):
    """A live call from its beginning to its end; `timeline` begins at `timeline_from_s`.

    The names in `alert` (at the end) and `degradations` (at any time) are those of CallUpdate.
    """

    call_id: str
    model: str
    model_version: str
    audio_s: float
    probability: float
    strongest_at_s: float
    alerted: bool
    alerts: int
    alert: str
    timeline: tuple[WindowScore, ...]
    timeline_from_s: float
    updates: int
    skipped_hops: int
    lost_s: float
    degradations: tuple[str, ...]


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
