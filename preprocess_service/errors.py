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
    grpc_status = "NOT_FOUND"


class Overloaded(TriageError):
    """Refused before any work was done; try again after `retry_after_ms`."""

    grpc_status = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, retry_after_ms: int) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class TritonUnavailable(TriageError):
    """Triton cannot be reached, or refuses work."""

    grpc_status = "UNAVAILABLE"


class DeadlinePassed(TriageError):
    grpc_status = "DEADLINE_EXCEEDED"
