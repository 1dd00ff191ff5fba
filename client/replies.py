"""Results from the service's messages."""

import dataclasses
import struct

from client.results import (
    AudioSpan,
    KindProbability,
    ModelInfo,
    Preprocessed,
    StageTimes,
    Tensor,
    TensorSpec,
    Verdict,
    WindowScore,
)
from preprocess_service.proto.wigeup.v1 import triage_pb2


def verdict(message: triage_pb2.Verdict) -> Verdict:
    """Converts the answer of Classify."""
    return Verdict(
        call_id=message.call_id,
        model=message.model,
        model_version=message.model_version,
        probability=shortest(message.probability),
        threshold=shortest(message.threshold),
        uncertain_from=shortest(message.uncertain_from),
        emergency=message.emergency,
        decision=_decision_name(message),
        kinds=tuple(KindProbability(kind.name, shortest(kind.probability)) for kind in message.kinds),
        audio_s=message.audio_s,
        timeline=tuple(WindowScore(w.start_s, w.end_s, shortest(w.probability)) for w in message.timeline),
        times=stage_times(message.times),
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
        threshold_with_transcript=shortest(message.threshold_with_transcript),
        threshold_without_transcript=shortest(message.threshold_without_transcript),
        uncertain_from_with_transcript=shortest(message.uncertain_from_with_transcript),
        uncertain_from_without_transcript=shortest(message.uncertain_from_without_transcript),
        kinds=tuple(message.kinds),
        loaded=message.loaded,
        precision=message.precision,
        provider=message.provider,
        figures=dict(message.figures),
        corpus=message.corpus,
    )


def stage_times(message: triage_pb2.StageTimes) -> StageTimes:
    """Converts the times of a verdict or an update."""
    return StageTimes(**{f.name: shortest(getattr(message, f.name)) for f in dataclasses.fields(StageTimes)})


def _decision_name(message: triage_pb2.Verdict) -> str:
    if message.decision not in (triage_pb2.DECISION_NORMAL, triage_pb2.DECISION_UNCERTAIN):
        return "emergency" if message.emergency else "normal"  # the most that an older or newer service lets us say
    return triage_pb2.Decision.Name(message.decision).removeprefix("DECISION_").lower()


def _warning_name(number: triage_pb2.Warning.ValueType) -> str:
    try:
        return triage_pb2.Warning.Name(number).removeprefix("WARNING_").lower()
    except ValueError:  # a newer service may warn of what this client does not know
        return f"unknown_{number}"


def shortest(single: float) -> float:
    """The float with fewest digits that is the same single-precision number: 0.93, not 0.9300000071525574."""
    for digits in range(6, 9):
        candidate = float(f"{single:.{digits}g}")
        if struct.pack("<f", candidate) == struct.pack("<f", single):
            return candidate
    return single
