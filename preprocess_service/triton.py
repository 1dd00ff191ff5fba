"""Triton's gRPC interface, as far as the service needs it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from preprocess_service.admission import Priority
from preprocess_service.contract import MODEL_FILE
from preprocess_service.deadline import Deadline
from preprocess_service.errors import DeadlinePassed, LoadFailed, NotServed, Overloaded, TritonUnavailable
from preprocess_service.model_spec import KINDS, PROBABILITY, TensorSpec

Arrays = Mapping[str, NDArray[np.float32] | NDArray[np.int32] | NDArray[np.int16]]

RETRY_AFTER_MS: Final = 250
RECONNECT_PAUSE_S: Final = 1.0
PATIENCE_S: Final = 1.0  # an answer that takes longer than this is Triton's failing, less is the caller's haste
ANSWER_MARGIN_S: Final = 0.05  # kept back of the caller's deadline, to tell the caller why there is no answer
INFER_METHOD: Final = f"/{service_pb2.DESCRIPTOR.services_by_name['GRPCInferenceService'].full_name}/ModelInfer"
_LENGTH_DELIMITED: Final = 2  # protobuf's wire type of bytes
_CONTENTS_TAG: Final = bytes(
    [service_pb2.ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number << 3 | _LENGTH_DELIMITED]
)
# What Triton says when it has understood a question and answers no; anything else may pass by itself.
_REFUSALS: Final = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL, grpc.StatusCode.NOT_FOUND})
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


class Asked(Protocol):
    """A model, or the ensemble of the front end and a model."""

    @property
    def name(self) -> str: ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def names_kind(self) -> bool: ...


@dataclass(frozen=True)
class Answer:
    """What the network says of a batch, uncalibrated."""

    probabilities: NDArray[np.float32]  # (rows,)
    kinds: NDArray[np.float32] | None  # (rows, kinds) of a model that names them


@dataclass(frozen=True)
class ServedConfig:
    """What Triton was told of a model that it has loaded."""

    max_batch_size: int  # rows in one request
    graph_file: str


def input_tensors(spec: Asked, arrays: Arrays) -> tuple[list[Any], list[bytes]]:
    """Arrays (rows, *shape) as ModelInferRequest's `inputs` and `raw_input_contents`."""
    return _tensors(spec, arrays), [arrays[each.name].tobytes() for each in spec.inputs]


def infer_request(spec: Asked, version: int, arrays: Arrays, budget_s: float, priority: Priority) -> bytes:
    """A ModelInferRequest as it goes over the wire.

    Every tensor is copied once, from its array into the message; by way of protobuf's own objects it would be three
    times. The order of a message's fields is free.
    """
    head = service_pb2.ModelInferRequest(
        model_name=spec.name, model_version=str(version), inputs=_tensors(spec, arrays)
    )
    # Triton does not look at the gRPC deadline while a request waits in its queue, so it is told separately.
    head.parameters["timeout"].int64_param = round(budget_s * 1e6)
    head.parameters["priority"].uint64_param = priority
    parts: list[bytes | memoryview] = [head.SerializeToString()]
    for tensor in spec.inputs:
        content = np.ascontiguousarray(arrays[tensor.name])
        parts += [_CONTENTS_TAG, _varint(content.nbytes), content.data.cast("B")]
    return b"".join(parts)


def _tensors(spec: Asked, arrays: Arrays) -> list[Any]:
    """Names, types and shapes."""
    return [
        service_pb2.ModelInferRequest.InferInputTensor(
            name=each.name, datatype=each.datatype, shape=arrays[each.name].shape
        )
        for each in spec.inputs
    ]


def _varint(value: int) -> bytes:
    """A number as protobuf writes lengths: seven bits a byte, the lowest first, the highest bit says that more come."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


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
        self._stub.ModelInfer = self._channel.unary_unary(  # whose requests come as bytes
            INFER_METHOD, response_deserializer=service_pb2.ModelInferResponse.FromString
        )
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

    async def infer(self, spec: Asked, version: int, arrays: Arrays, priority: Priority, deadline: Deadline) -> Answer:
        """What the network says of a batch.

        Raises NotServed where Triton has not loaded that version, TritonUnavailable, Overloaded where Triton's queue is
        full, DeadlinePassed where time ran out in it.
        """
        budget_s = min(self._timeout_s, deadline.remaining_s() - ANSWER_MARGIN_S)
        if budget_s <= 0:
            raise DeadlinePassed("too little of the request's deadline is left to ask Triton")
        request = infer_request(spec, version, arrays, budget_s, priority)
        response = await self._call("ModelInfer", request, budget_s)
        return _answer(spec, response)

    async def ready(self, model: str, version: int, deadline: Deadline) -> bool:
        """Whether that version can be asked."""
        request = service_pb2.ModelReadyRequest(name=model, version=str(version))
        response = await self._call("ModelReady", request, min(self._timeout_s, deadline.remaining_s()))
        return bool(response.ready)

    async def load(self, model: str, timeout_s: float, config: str = "") -> None:
        """Has Triton load the model's newest versions; those that it serves go on answering meanwhile.

        `config` is a whole configuration as JSON, in place of the one in the repository.

        Raises LoadFailed where it cannot, TritonUnavailable where it does not let itself be told.
        """
        request = service_pb2.RepositoryModelLoadRequest(model_name=model)
        if config:
            request.parameters["config"].string_param = config
        try:
            await self._call("RepositoryModelLoad", request, timeout_s)
        except TritonUnavailable as error:
            cause = error.__cause__
            if isinstance(cause, grpc.aio.AioRpcError) and cause.code() in _REFUSALS:
                reason = (cause.details() or "").strip().partition("\n")[0]  # a traceback follows
                raise LoadFailed(f"Triton cannot load {model}: {reason}") from error
            raise

    async def unload(self, model: str) -> None:
        """Has Triton unload the model, once it has answered the requests under way."""
        request = service_pb2.RepositoryModelUnloadRequest(model_name=model)
        await self._call("RepositoryModelUnload", request, self._timeout_s)

    async def metadata(self, model: str, version: int, deadline: Deadline) -> Any:
        """ModelMetadataResponse of one version."""
        request = service_pb2.ModelMetadataRequest(name=model, version=str(version))
        return await self._call("ModelMetadata", request, min(self._timeout_s, deadline.remaining_s()))

    async def config(self, model: str, version: int, deadline: Deadline) -> ServedConfig:
        """What Triton was told of the model."""
        request = service_pb2.ModelConfigRequest(name=model, version=str(version))
        response = await self._call("ModelConfig", request, min(self._timeout_s, deadline.remaining_s()))
        config = response.config
        return ServedConfig(int(config.max_batch_size), config.default_model_filename or MODEL_FILE)

    async def _call(self, method: str, request: Any, timeout_s: float) -> Any:
        try:
            return await getattr(self._stub, method)(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise self._translated(error, timeout_s) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and not task.cancelling():  # by `_reconnect`, which has waited long enough
                raise TritonUnavailable(f"the connection to Triton at {self._address} was lost") from None
            raise

    def _translated(self, error: grpc.aio.AioRpcError, timeout_s: float) -> Exception:
        details = (error.details() or "").strip()
        # Triton reports a full queue, and a request that waited too long in it, with the same code as its absence.
        if "maximum queue size" in details.lower():
            return Overloaded("Triton's queue is full", RETRY_AFTER_MS)
        if "request for unknown model" in details.lower():
            return NotServed(f"Triton at {self._address} refuses: {details}")
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


def _answer(spec: Asked, response: Any) -> Answer:
    contents = {output.name: raw for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)}
    if set(contents) != {each.name for each in spec.outputs}:
        raise TritonUnavailable(f"Triton answered {sorted(contents)} for {spec.name}")
    probabilities = _fractions(spec, PROBABILITY, contents)[:, 0]
    kinds = _fractions(spec, KINDS, contents) if spec.names_kind else None
    return Answer(probabilities, kinds)


def _fractions(spec: Asked, output: TensorSpec, contents: Mapping[str, bytes]) -> NDArray[np.float32]:
    values = np.frombuffer(contents[output.name], dtype="<f4").reshape(-1, *output.shape)
    # Also false where a value is not a number. Probabilities of many kinds, summed in half precision, end above 1.
    if not np.all((values >= 0) & (values <= 1.001)):
        raise TritonUnavailable(f"Triton's answer for {spec.name}: {output.name} is no probability")
    return values
