"""The errors a caller can cause or meet; each carries the name of its gRPC status code."""

from __future__ import annotations

from typing import ClassVar


class TriageError(Exception):
    """Base of all errors that reach a caller; the message names the value and the rule."""

    grpc_status: ClassVar[str] = "INTERNAL"


class InvalidRequest(TriageError):
    grpc_status = "INVALID_ARGUMENT"


class InvalidAudio(InvalidRequest):
    """The bytes are not audio in the format that the request states."""


class InvalidTranscript(InvalidRequest):
    """The text cannot be a transcript."""


class TooLarge(TriageError):
    """A size limit is passed; trying again will not help."""

    grpc_status = "RESOURCE_EXHAUSTED"


class ModelNotFound(TriageError):
    """No model, or no version of it, of that name can be asked here."""

    grpc_status = "NOT_FOUND"


class ModelNotLoaded(TriageError):
    """Triton has not loaded the model, and this service loads none for a request."""

    grpc_status = "FAILED_PRECONDITION"


class Overloaded(TriageError):
    """Refused before any work was done; try again after `retry_after_ms`."""

    grpc_status = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, retry_after_ms: int) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class TritonUnavailable(TriageError):
    """Triton cannot be reached, or refuses work."""

    grpc_status = "UNAVAILABLE"


class NotServed(TritonUnavailable):
    """Triton has not loaded that version of the model, or not any more."""


class LoadFailed(TritonUnavailable):
    """Triton cannot load the model; its reason stands in the message."""


class WrongAnswer(TritonUnavailable):
    """Triton answers, but not what the contract says: its weights are other ones, or it is broken."""


class DeadlinePassed(TriageError):
    grpc_status = "DEADLINE_EXCEEDED"


class CallIdle(TriageError):
    """Nothing came from a live call for too long."""

    grpc_status = "DEADLINE_EXCEEDED"


class JudgementFailed(TriageError):
    """The service failed at a live call's window."""


class Stopping(TriageError):
    """The service ends; a live call goes on at another, or at this one after its restart."""

    grpc_status = "UNAVAILABLE"
