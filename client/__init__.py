"""Python client of the emergency-call triage service.

    from client import AudioFormat, TriageClient

    with TriageClient("127.0.0.1:50051") as client:
        verdict = client.classify(audio, format=AudioFormat.mulaw(), transcript="집에 불이 났어요")

Importing it loads gRPC, protobuf and the standard library, nothing else.
"""

from client.aio import AsyncTriageClient
from client.bridges.calls import Audio, Transcript
from client.channel import DEFAULT_ADDRESS, DEFAULT_DEADLINE_S, MAX_RECEIVE_BYTES, MAX_SEND_BYTES
from client.errors import (
    AccessDenied,
    CallCancelled,
    DeadlineExceeded,
    InvalidRequest,
    MessageTooLarge,
    ModelNotFound,
    NotImplementedByService,
    Overloaded,
    ServiceFailure,
    ServiceUnavailable,
    TriageError,
)
from client.formats import AudioFormat, Channel, Encoding, Priority
from client.live.call import LiveCall
from client.live.options import LiveOptions
from client.results import (
    AudioSpan,
    CallState,
    CallSummary,
    CallUpdate,
    Health,
    KindProbability,
    ModelInfo,
    PartyScore,
    Preprocessed,
    StageTimes,
    Tensor,
    TensorSpec,
    Verdict,
    WindowScore,
)
from client.sync import TriageClient

__all__ = [
    "DEFAULT_ADDRESS",
    "DEFAULT_DEADLINE_S",
    "MAX_RECEIVE_BYTES",
    "MAX_SEND_BYTES",
    "AccessDenied",
    "AsyncTriageClient",
    "Audio",
    "AudioFormat",
    "AudioSpan",
    "CallCancelled",
    "CallState",
    "CallSummary",
    "CallUpdate",
    "Channel",
    "DeadlineExceeded",
    "Encoding",
    "Health",
    "InvalidRequest",
    "KindProbability",
    "LiveCall",
    "LiveOptions",
    "MessageTooLarge",
    "ModelInfo",
    "ModelNotFound",
    "NotImplementedByService",
    "Overloaded",
    "PartyScore",
    "Preprocessed",
    "Priority",
    "ServiceFailure",
    "ServiceUnavailable",
    "StageTimes",
    "Tensor",
    "TensorSpec",
    "Transcript",
    "TriageClient",
    "TriageError",
    "Verdict",
    "WindowScore",
]
