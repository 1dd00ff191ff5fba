"""Which error each gRPC status becomes, and what it carries."""

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from client import (
    MAX_SEND_BYTES,
    AccessDenied,
    AsyncTriageClient,
    AudioFormat,
    CallCancelled,
    DeadlineExceeded,
    InvalidRequest,
    MessageTooLarge,
    ModelNotFound,
    NotImplementedByService,
    Overloaded,
    ServiceFailure,
    ServiceUnavailable,
    TriageClient,
    TriageError,
)
from preprocess_service.proto.wigeup.v1 import triage_pb2
from tests.unit.stub_service import HANGING_MODEL, RETRY_AFTER_MS, Service, StubTriage, serving

AUDIO = b"\xff" * 800
KINDS = pytest.mark.parametrize("kind", ["sync", "aio"])


TOO_LARGE = "1801 s of audio; at most 1800 s are judged"


class _Narrow(StubTriage):
    """Refuses every recording as the service refuses one over its own limits: no word of a wait."""

    def Classify(
        self,
        request: triage_pb2.ClassifyRequest,  # noqa: ARG002 - gRPC's signature
        context: grpc.ServicerContext,
    ) -> triage_pb2.Verdict:
        return context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, TOO_LARGE)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving() as running:
        yield running


def error_of(kind: str, address: str, audio: bytes = AUDIO, **fields: Any) -> TriageError:
    call = call_aio if kind == "aio" else call_sync
    with pytest.raises(TriageError) as caught:
        call(address, audio, fields)
    return caught.value


def call_sync(address: str, audio: bytes, fields: dict[str, Any]) -> None:
    with TriageClient(address) as client:
        client.classify(audio, **fields)


def call_aio(address: str, audio: bytes, fields: dict[str, Any]) -> None:
    async def call() -> None:
        async with AsyncTriageClient(address) as client:
            await client.classify(audio, **fields)

    asyncio.run(call())


@KINDS
@pytest.mark.parametrize(
    ("status", "family"),
    [
        ("INVALID_ARGUMENT", InvalidRequest),
        ("OUT_OF_RANGE", InvalidRequest),
        ("FAILED_PRECONDITION", InvalidRequest),
        ("NOT_FOUND", ModelNotFound),
        ("RESOURCE_EXHAUSTED", Overloaded),
        ("UNAVAILABLE", ServiceUnavailable),
        ("DEADLINE_EXCEEDED", DeadlineExceeded),
        ("CANCELLED", CallCancelled),
        ("UNAUTHENTICATED", AccessDenied),
        ("PERMISSION_DENIED", AccessDenied),
        ("UNIMPLEMENTED", NotImplementedByService),
        ("INTERNAL", ServiceFailure),
        ("UNKNOWN", ServiceFailure),
        ("DATA_LOSS", ServiceFailure),
        ("ABORTED", ServiceFailure),
        ("ALREADY_EXISTS", ServiceFailure),
    ],
)
def test_status_becomes_its_error_with_the_service_s_text(
    kind: str, service: Service, status: str, family: type[TriageError]
) -> None:
    error = error_of(kind, service.address, model=f"fail-{status}")

    assert type(error) is family
    assert error.status is grpc.StatusCode[status]
    assert str(error) == error.message == f"서비스가 {status}(으)로 거절"


@KINDS
def test_overload_says_how_long_to_wait(kind: str, service: Service) -> None:
    error = error_of(kind, service.address, model="fail-RESOURCE_EXHAUSTED")

    assert error.retry_after_ms == RETRY_AFTER_MS
    assert error.to_dict() == {
        "status": "RESOURCE_EXHAUSTED",
        "message": "서비스가 RESOURCE_EXHAUSTED(으)로 거절",
        "retry_after_ms": RETRY_AFTER_MS,
    }


@KINDS
def test_a_size_limit_of_the_service_is_not_taken_for_overload(kind: str) -> None:
    with serving(_Narrow()) as service:
        error = error_of(kind, service.address)

    assert type(error) is MessageTooLarge
    assert isinstance(error, InvalidRequest)
    assert error.to_dict() == {"status": "RESOURCE_EXHAUSTED", "message": TOO_LARGE}


@KINDS
def test_other_refusals_carry_no_wait(kind: str, service: Service) -> None:
    assert error_of(kind, service.address, model="fail-UNAVAILABLE").retry_after_ms is None


@KINDS
def test_an_unanswered_call_ends_at_its_deadline(kind: str, service: Service) -> None:
    error = error_of(kind, service.address, model=HANGING_MODEL, deadline_s=0.2)

    assert type(error) is DeadlineExceeded


@KINDS
def test_refuses_to_send_more_than_the_limit(kind: str, service: Service) -> None:
    asked = len(service.triage.requests)

    error = error_of(kind, service.address, audio=bytes(MAX_SEND_BYTES))

    assert type(error) is MessageTooLarge
    assert str(MAX_SEND_BYTES) in str(error)
    assert len(service.triage.requests) == asked


@KINDS
def test_a_request_over_the_service_s_limit_is_not_taken_for_overload(kind: str) -> None:
    with serving(max_receive_bytes=4096) as narrow:
        error = error_of(kind, narrow.address, audio=bytes(8192))

    assert type(error) is MessageTooLarge


@KINDS
@pytest.mark.parametrize(
    "fields",
    [{"format": AudioFormat.pcm16(-1)}, {"transcript": "\udc80"}, {"model": 7}],
    ids=["rate", "surrogate", "type"],
)
def test_a_value_that_no_message_holds_is_an_invalid_request(
    kind: str, service: Service, fields: dict[str, Any]
) -> None:
    assert type(error_of(kind, service.address, **fields)) is InvalidRequest


@pytest.mark.parametrize("deadline_s", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("make", [TriageClient, AsyncTriageClient])
def test_a_client_needs_a_positive_default_deadline(make: type, deadline_s: float) -> None:
    with pytest.raises(ValueError, match="deadline_s is"):
        make("127.0.0.1:1", deadline_s=deadline_s)


def test_a_client_needs_an_address() -> None:
    with pytest.raises(ValueError, match="address is empty"):
        TriageClient("")


def test_a_closed_client_says_so(service: Service) -> None:
    client = TriageClient(service.address)
    client.close()

    with pytest.raises(RuntimeError, match="closed"):
        client.classify(AUDIO)


async def test_a_closed_asyncio_client_says_so(service: Service) -> None:
    client = AsyncTriageClient(service.address)
    await client.close()

    with pytest.raises(RuntimeError, match="closed"):
        await client.classify(AUDIO)
