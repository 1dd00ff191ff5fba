"""Measured gRPC calls, reported through Locust's request event."""

import time
from collections.abc import Callable

import grpc
from locust.env import Environment

REQUEST_TYPE = "grpc"


class CallFailed(Exception):
    """A call that ended with a gRPC status; its text is the status alone, by which Locust counts failures."""


def measure(environment: Environment, name: str, call: Callable[[], int]) -> None:
    """Makes a call, which returns the bytes of its answer, and reports its time and that size, or its status."""
    size_bytes, failure = 0, None
    started_at, started = time.time(), time.perf_counter()
    try:
        size_bytes = call()
    except grpc.RpcError as error:
        failure = failed(error)
    took_s = time.perf_counter() - started
    report(environment, name, took_s=took_s, size_bytes=size_bytes, failure=failure, started_at=started_at)


def report(
    environment: Environment,
    name: str,
    *,
    took_s: float,
    size_bytes: int = 0,
    failure: CallFailed | None = None,
    started_at: float | None = None,
) -> None:
    """Gives one figure to Locust; `started_at` is a time of day, now if left out."""
    environment.events.request.fire(  # type: ignore[no-untyped-call]
        request_type=REQUEST_TYPE,
        name=name,
        response_time=took_s * 1000,
        response_length=size_bytes,
        exception=failure,
        context={},
        start_time=time.time() if started_at is None else started_at,
    )


def failed(error: grpc.RpcError) -> CallFailed:
    """The failure under the name of its status."""
    return CallFailed(error.code().name if isinstance(error, grpc.Call) else type(error).__name__)
