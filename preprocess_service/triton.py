"""Triton's gRPC interface, as far as the service needs it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from preprocess_service.admission import Priority
from preprocess_service.deadline import Deadline
from preprocess_service.errors import DeadlinePassed, Overloaded, TritonUnavailable
from preprocess_service.model_spec import PROBABILITY, ModelSpec

Arrays = Mapping[str, NDArray[np.float32] | NDArray[np.int32]]

RETRY_AFTER_MS: Final = 250
RECONNECT_PAUSE_S: Final = 1.0
PATIENCE_S: Final = 1.0  # an answer that takes longer than this is Triton's failing, less is the caller's haste
ANSWER_MARGIN_S: Final = 0.05  # kept back of the caller's deadline, to tell the caller why there is no answer
_CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    ("grpc.enable_http_proxy", 0),  # Triton is a neighbour, whatever proxy the machine has for the world
    ("grpc.use_local_subchannel_pool", 1),  # else a new channel inherits the old one's dead connections
    ("grpc.keepalive_time_ms", 300_000),  # more often, and Triton hangs up
)


def input_tensors(spec: ModelSpec, arrays: Arrays) -> tuple[list[Any], list[bytes]]:
    """Arrays (rows, *shape) as ModelInferRequest's `inputs` and `raw_input_contents`."""
    tensors = [
        service_pb2.ModelInferRequest.InferInputTensor(
            name=each.name, datatype=each.datatype, shape=arrays[each.name].shape
        )
        for each in spec.inputs
    ]
    return tensors, [arrays[each.name].tobytes() for each in spec.inputs]


class TritonClient:
    """One channel to one Triton, reused for everything until Triton is lost."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self._address, self._timeout_s = address, timeout_s
        self._closing: set[asyncio.Task[None]] = set()
        self._connect()

    async def close(self) -> None:
        await asyncio.gather(self._channel.close(), *self._closing)

    def _connect(self) -> None:
        self._channel = grpc.aio.insecure_channel(self._address, options=_CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._connected_at = time.monotonic()

    def _reconnect(self) -> None:
        """Opens a channel anew: one that lost its server goes on asking for it at the old address, and a container
        that was restarted has another. Calls under way on the old channel may end."""
        if time.monotonic() - self._connected_at < RECONNECT_PAUSE_S:
            return
        task = asyncio.create_task(self._channel.close(self._timeout_s + 1))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        self._connect()

    async def infer(
        self, spec: ModelSpec, version: int, arrays: Arrays, priority: Priority, deadline: Deadline
    ) -> NDArray[np.float32]:
        """The network's probabilities (rows,) for a batch, uncalibrated.

        Raises TritonUnavailable, Overloaded where Triton's queue is full, DeadlinePassed where time ran out in it.
        """
        budget_s = min(self._timeout_s, deadline.remaining_s() - ANSWER_MARGIN_S)
        if budget_s <= 0:
            raise DeadlinePassed("too little of the request's deadline is left to ask Triton")
        tensors, contents = input_tensors(spec, arrays)
        request = service_pb2.ModelInferRequest(
            model_name=spec.name, model_version=str(version), inputs=tensors, raw_input_contents=contents
        )
        # Triton does not look at the gRPC deadline while a request waits in its queue, so it is told separately.
        request.parameters["timeout"].int64_param = round(budget_s * 1e6)
        request.parameters["priority"].uint64_param = priority
        response = await self._call("ModelInfer", request, budget_s)
        if [output.name for output in response.outputs] != [PROBABILITY.name]:
            raise TritonUnavailable(f"Triton answered {[each.name for each in response.outputs]} for {spec.name}")
        answers = np.frombuffer(response.raw_output_contents[0], dtype="<f4")
        if not np.all((answers >= 0) & (answers <= 1)):  # also false where an answer is not a number
            raise TritonUnavailable(f"Triton's answer for {spec.name} is no probability")
        return answers

    async def metadata(self, model: str, version: int, deadline: Deadline) -> Any:
        """ModelMetadataResponse of one version."""
        request = service_pb2.ModelMetadataRequest(name=model, version=str(version))
        return await self._call("ModelMetadata", request, min(self._timeout_s, deadline.remaining_s()))

    async def max_batch_size(self, model: str, version: int, deadline: Deadline) -> int:
        """The most rows that Triton takes in one request."""
        request = service_pb2.ModelConfigRequest(name=model, version=str(version))
        response = await self._call("ModelConfig", request, min(self._timeout_s, deadline.remaining_s()))
        return int(response.config.max_batch_size)

    async def _call(self, method: str, request: Any, timeout_s: float) -> Any:
        try:
            return await getattr(self._stub, method)(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise self._translated(error, timeout_s) from error

    def _translated(self, error: grpc.aio.AioRpcError, timeout_s: float) -> Exception:
        details = (error.details() or "").strip()
        # Triton reports a full queue, and a request that waited too long in it, with the same code as its absence.
        if "maximum queue size" in details.lower():
            return Overloaded("Triton's queue is full", RETRY_AFTER_MS)
        if "timeout expired" in details.lower():
            return DeadlinePassed("the request's deadline passed in Triton's queue")
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            if timeout_s < PATIENCE_S:
                return DeadlinePassed("the request's deadline passed before Triton answered")
            self._reconnect()
            return TritonUnavailable(f"Triton at {self._address} did not answer within {timeout_s:.2f} s")
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            self._reconnect()
        return TritonUnavailable(f"Triton at {self._address} refuses: {error.code().name}: {details}")
