"""What a load balancer hears that watches a service's health."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health, health_pb2


class HealthWatch:
    """Keeps every status that grpc.health.v1's Watch tells of one name, from the first SERVING on; a context manager,
    which waits for that."""

    def __init__(self, address: str, name: str) -> None:
        self.told: list[str] = []
        self._channel = grpc.insecure_channel(address)
        watch = self._channel.unary_stream(
            f"/{health.SERVICE_NAME}/Watch",  # the stub's types know Check only
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        self._statuses = watch(health_pb2.HealthCheckRequest(service=name))
        self._serving = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._serving.wait(60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._statuses.cancel()
        self._thread.join(60)
        self._channel.close()

    def _listen(self) -> None:
        try:
            for status in self._statuses:
                name = health_pb2.HealthCheckResponse.ServingStatus.Name(status.status)
                if name == "SERVING" or self._serving.is_set():
                    self.told.append(name)
                    self._serving.set()
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.CANCELLED:
                raise
