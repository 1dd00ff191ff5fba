"""Errors of the client, one class a family of gRPC statuses."""

from collections.abc import Iterable, Mapping
from typing import ClassVar, cast

import grpc

# Trailing metadata of a refused call: how long its sender should wait before another try.
RETRY_AFTER_KEY = "retry-after-ms"

Metadata = Iterable[tuple[str, str | bytes]] | None


class TriageError(Exception):
    """A call that gave no result.

    Its text is the service's own. `status` is the gRPC status; `retry_after_ms` is the service's hint, if any.
    """

    default_status: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self, message: str, *, status: grpc.StatusCode | None = None, retry_after_ms: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status or self.default_status
        self.retry_after_ms = retry_after_ms

    def to_dict(self) -> dict[str, object]:
        """Status name, message and, where known, the wait in milliseconds."""
        plain: dict[str, object] = {"status": self.status.name, "message": self.message}
        if self.retry_after_ms is not None:
            plain["retry_after_ms"] = self.retry_after_ms
        return plain


class InvalidRequest(TriageError):
    """The service refused the audio, its format, the transcript or another field; asking again changes nothing."""

    default_status = grpc.StatusCode.INVALID_ARGUMENT


class MessageTooLarge(InvalidRequest):
    """The request or the answer is larger than one side takes; asking again changes nothing."""

    default_status = grpc.StatusCode.RESOURCE_EXHAUSTED


class ModelNotFound(TriageError):
    """The service serves no model of this name; `list_models` names those it serves."""

    default_status = grpc.StatusCode.NOT_FOUND


class Overloaded(TriageError):
    """The service refused the call before any work; `retry_after_ms` says how long to stay away."""

    default_status = grpc.StatusCode.RESOURCE_EXHAUSTED


class ServiceUnavailable(TriageError):
    """No connection, or the service or Triton behind it is not ready. The client never resends by itself."""

    default_status = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(TriageError):
    """The answer did not come within the call's deadline."""

    default_status = grpc.StatusCode.DEADLINE_EXCEEDED


class CallCancelled(TriageError):
    """The call was cancelled before its answer."""

    default_status = grpc.StatusCode.CANCELLED


class AccessDenied(TriageError):
    """The service does not accept this caller."""

    default_status = grpc.StatusCode.PERMISSION_DENIED


class NotImplementedByService(TriageError):
    """The server at this address does not know the method."""

    default_status = grpc.StatusCode.UNIMPLEMENTED


class ServiceFailure(TriageError):
    """The service failed at a request that it had accepted."""

    default_status = grpc.StatusCode.INTERNAL


_CLASS_BY_STATUS: Mapping[grpc.StatusCode, type[TriageError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.FAILED_PRECONDITION: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: ModelNotFound,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNAVAILABLE: ServiceUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: CallCancelled,
    grpc.StatusCode.UNAUTHENTICATED: AccessDenied,
    grpc.StatusCode.PERMISSION_DENIED: AccessDenied,
    grpc.StatusCode.UNIMPLEMENTED: NotImplementedByService,
}


def error_from_rpc(error: grpc.RpcError) -> TriageError:
    """The client's error for a failed call of a sync or asyncio stub."""
    call = cast(grpc.Call, error)  # both stubs raise errors that are also the finished call
    return error_from_status(call.code(), call.details(), call.trailing_metadata())


def error_from_status(status: grpc.StatusCode, details: str | None, metadata: Metadata) -> TriageError:
    """The client's error for a status that is not OK and what came with it."""
    message = details or status.name
    family = _CLASS_BY_STATUS.get(status, ServiceFailure)
    retry_after_ms = _retry_after_ms(metadata)
    # The service always says how long to wait when it is full. The same status without that is a size limit, its own
    # or gRPC's, where waiting does not help.
    if family is Overloaded and retry_after_ms is None:
        family = MessageTooLarge
    return family(message, status=status, retry_after_ms=retry_after_ms)


def _retry_after_ms(metadata: Metadata) -> int | None:
    for key, value in metadata or ():
        if key == RETRY_AFTER_KEY and isinstance(value, str) and value.isdecimal():
            return int(value)
    return None
