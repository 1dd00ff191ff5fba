"""Between the API's messages and the service's own types; nothing else knows both."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from preprocess_service.admission import Priority
from preprocess_service.errors import InvalidAudio, InvalidRequest
from preprocess_service.features import mel
from preprocess_service.features.audio import AudioFormat, Channel, Encoding
from preprocess_service.logs import LONGEST_CALL_ID
from preprocess_service.model_spec import TensorSpec
from preprocess_service.preparation import Prepared, Question
from preprocess_service.proto.wigeup.v1 import triage_pb2 as pb
from preprocess_service.repository import ServedModel
from preprocess_service.triton import Arrays, input_tensors
from preprocess_service.verdict import KindScore, Verdict, VerdictDecision, VerdictWarning, WindowScore

_ENCODINGS: Final = {
    pb.AUDIO_ENCODING_UNSPECIFIED: Encoding.FILE,
    pb.AUDIO_ENCODING_MULAW: Encoding.MULAW,
    pb.AUDIO_ENCODING_ALAW: Encoding.ALAW,
    pb.AUDIO_ENCODING_PCM16: Encoding.PCM16,
}
_CHANNELS: Final = {
    pb.CHANNEL_CHOICE_UNSPECIFIED: Channel.MIX,
    pb.CHANNEL_CHOICE_FIRST: Channel.FIRST,
    pb.CHANNEL_CHOICE_SECOND: Channel.SECOND,
}
_PRIORITIES: Final = {
    pb.PRIORITY_UNSPECIFIED: Priority.NORMAL,
    pb.PRIORITY_NORMAL: Priority.NORMAL,
    pb.PRIORITY_URGENT: Priority.URGENT,
}
_DECISIONS: Final = {decision: pb.Decision.Value(f"DECISION_{decision.name}") for decision in VerdictDecision}
_WARNINGS: Final = {warning: pb.Warning.Value(f"WARNING_{warning.name}") for warning in VerdictWarning}


def checked_call_id(call_id: str) -> str:
    """The caller's name for the call; raises InvalidRequest unless it is short printable ASCII."""
    if len(call_id) > LONGEST_CALL_ID or not (call_id.isascii() and call_id.isprintable()):
        raise InvalidRequest(
            f"call_id of {len(call_id)} characters; it must be at most {LONGEST_CALL_ID} printable ASCII characters"
        )
    return call_id


def classify_question(request: pb.ClassifyRequest) -> Question:
    """Raises InvalidRequest where an enumeration holds an unknown value."""
    priority = priority_of(request.priority)
    stated = audio_format(request.format)
    return Question(request.audio, stated, request.transcript, request.model, request.model_version, priority)


def preprocess_question(request: pb.PreprocessRequest) -> Question:
    stated = audio_format(request.format)
    return Question(request.audio, stated, request.transcript, request.model, request.model_version)


def priority_of(value: pb.Priority.ValueType) -> Priority:
    """Raises InvalidRequest for a value that the API does not name."""
    if value not in _PRIORITIES:
        raise InvalidRequest(f"priority {value} is unknown; it must be one of {pb.Priority.keys()}")
    return _PRIORITIES[value]


def audio_format(message: pb.AudioFormat) -> AudioFormat:
    """Raises InvalidAudio for an encoding or a channel that the API does not name."""
    if message.encoding not in _ENCODINGS:
        raise InvalidAudio(f"encoding {message.encoding} is unknown; it must be one of {pb.AudioEncoding.keys()}")
    if message.channel not in _CHANNELS:
        raise InvalidAudio(f"channel {message.channel} is unknown; it must be one of {pb.ChannelChoice.keys()}")
    return AudioFormat(
        _ENCODINGS[message.encoding], message.sample_rate_hz, message.channels, _CHANNELS[message.channel]
    )


def verdict_message(verdict: Verdict, call_id: str) -> pb.Verdict:
    times = verdict.times
    return pb.Verdict(
        call_id=call_id,
        model=verdict.model,
        model_version=str(verdict.version),
        probability=verdict.probability,
        threshold=verdict.threshold,
        uncertain_from=verdict.uncertain_from,
        emergency=verdict.emergency,
        decision=_DECISIONS[verdict.decision],
        kinds=kind_messages(verdict.kinds),
        audio_s=verdict.audio_s,
        timeline=window_messages(verdict.timeline),
        times=pb.StageTimes(
            load_ms=times.load_ms,
            wait_ms=times.wait_ms,
            decode_ms=times.decode_ms,
            audio_ms=times.audio_ms,
            text_ms=times.text_ms,
            inference_ms=times.inference_ms,
            total_ms=times.total_ms,
        ),
        warnings=[_WARNINGS[warning] for warning in verdict.warnings],
    )


def kind_messages(kinds: Iterable[KindScore]) -> list[pb.KindProbability]:
    return [pb.KindProbability(name=each.name, probability=each.probability) for each in kinds]


def window_messages(windows: Iterable[WindowScore]) -> list[pb.WindowScore]:
    return [pb.WindowScore(start_s=each.start_s, end_s=each.end_s, probability=each.probability) for each in windows]


def preprocess_message(prepared: Prepared, arrays: Arrays) -> pb.PreprocessResponse:
    served = prepared.served
    tensors, contents = input_tensors(served.spec, arrays)
    return pb.PreprocessResponse(
        model=served.spec.name,
        model_version=str(served.version),
        inputs=[
            pb.Tensor(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape, raw_contents=content)
            for tensor, content in zip(tensors, contents, strict=True)
        ],
        rows=[
            pb.WindowScore(start_s=row.start / mel.SAMPLE_RATE_HZ, end_s=row.end / mel.SAMPLE_RATE_HZ)
            for row in prepared.rows
        ],
    )


def model_message(served: ServedModel, *, is_default: bool, loaded: bool) -> pb.Model:
    spec, contract, graph = served.spec, served.contract, served.graph
    decision = contract.decision
    return pb.Model(
        name=spec.name,
        version=str(served.version),
        is_default=is_default,
        window_s=spec.window_s,
        reads_transcript=spec.tokens is not None,
        inputs=[_tensor_message(each) for each in spec.inputs],
        outputs=[_tensor_message(each) for each in spec.outputs],
        threshold_with_transcript=decision.with_transcript.threshold,
        threshold_without_transcript=decision.without_transcript.threshold,
        uncertain_from_with_transcript=decision.with_transcript.uncertain_from,
        uncertain_from_without_transcript=decision.without_transcript.uncertain_from,
        figures=contract.figures,
        corpus=contract.training_data.corpus,
        kinds=contract.kinds.names if contract.kinds else (),
        loaded=loaded,
        precision=graph.precision if graph else "",
        provider=graph.provider if graph else "",
    )


def _tensor_message(tensor: TensorSpec) -> pb.TensorSpec:
    return pb.TensorSpec(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
