"""One measured gRPC call, reported through Locust's request event."""

import time

import grpc
from locust.env import Environment

from preprocess_service.proto.wigeup.v1 import triage_pb2, triage_pb2_grpc

REQUEST_TYPE = "grpc"


class CallFailed(Exception):
    """A call that ended with a gRPC status; its text is the status alone, by which Locust counts failures."""


def measured_classify(
    environment: Environment,
    stub: triage_pb2_grpc.TriageStub,
    request: triage_pb2.ClassifyRequest,
    deadline_s: float,
) -> None:
    """Sends one Classify and reports its time in ms and the size of its answer in bytes, or its status."""
    size_bytes, failure = 0, None
    started_at, started = time.time(), time.perf_counter()
    try:
        size_bytes = stub.Classify(request, timeout=deadline_s).ByteSize()
    except grpc.RpcError as error:
        failure = CallFailed(error.code().name if isinstance(error, grpc.Call) else type(error).__name__)
    environment.events.request.fire(  # type: ignore[no-untyped-call]
        request_type=REQUEST_TYPE,
        name="Classify",
        response_time=(time.perf_counter() - started) * 1000,
        response_length=size_bytes,
        exception=failure,
        context={},
        start_time=started_at,
    )
