"""What a batch costs Triton, by its rows: asked past the service, with tensors that the service made."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from client import Preprocessed, TriageClient
from client.recordings import format_of
from loadtest.clips import Clip
from loadtest.servers import Servers
from loadtest.sizing.batcher import BatcherShape
from loadtest.sizing.inputs import triton_cpu_s
from loadtest.sizing.path import TritonCosts, between
from loadtest.triton_channel import CHANNEL_OPTIONS
from loadtest.triton_statistics import ModelCounts, changes, read_counts

RECORDINGS: Final = 16
EACH_S: Final = 1.5  # time for each number of rows
TOGETHER_S: Final = 2.0
LIMIT_S: Final = 30.0
US_A_S, NS_A_MS = 1e6, 1e6


def row_requests(address: str, clips: Sequence[Clip], model: str) -> list[Any]:
    """ModelInferRequests of one row each; raises TriageError."""
    requests = []
    with TriageClient(address, deadline_s=LIMIT_S) as triage:
        for clip in clips[:RECORDINGS]:
            made = triage.preprocess(
                clip.path.read_bytes(), format=format_of(clip.path), transcript=clip.text, model=model
            )
            requests.append(_first_row(made))
    return requests


def read_shape(triton_address: str, model: str) -> BatcherShape:
    """How Triton batches a model, as it was told; raises grpc.RpcError."""
    with grpc.insecure_channel(triton_address, options=CHANNEL_OPTIONS) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        config = stub.ModelConfig(service_pb2.ModelConfigRequest(name=model), timeout=LIMIT_S).config
    instances = sum(group.count for group in config.instance_group)
    delay_us = config.dynamic_batching.max_queue_delay_microseconds
    return BatcherShape(max(1, instances), max(1, config.max_batch_size), delay_us / US_A_S)


def measure_triton(
    servers: Servers, requests: Sequence[Any], shape: BatcherShape, speeds: Sequence[float]
) -> tuple[TritonCosts, dict[int, float]]:
    """Costs, and the milliseconds on the clock that Triton says it computes a batch, by rows."""
    with grpc.insecure_channel(servers.triton_address, options=CHANNEL_OPTIONS) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        batch_s: dict[int, float] = {}
        computing_ms: dict[int, float] = {}
        for rows in _sizes(shape.max_batch):
            together = [_join([requests[(at + k) % len(requests)] for k in range(rows)]) for at in range(len(requests))]
            spent_s, count, counts = _spend(servers, EACH_S, partial(_ask, stub, together))
            batch_s[rows] = spent_s / count
            computing_ms[rows] = counts.compute_ns / NS_A_MS / max(1, counts.requests)
        width = shape.instances * shape.max_batch
        spent_s, _, counts = _spend(servers, TOGETHER_S, partial(_ask_together, stub, requests, width))
    # With all cores busy each second of processor time does less; what is left beyond the batches is of the requests.
    spent_s *= speeds[-1] / len(speeds)
    of_batches_s = sum(count * between(batch_s, rows) for rows, count in counts.batches.items())
    further = counts.requests - counts.executions
    request_s = (spent_s - of_batches_s) / further if further else 0.0
    return TritonCosts(batch_s, min(max(0.0, request_s), batch_s[1] / 2)), computing_ms


def _sizes(max_batch: int) -> list[int]:
    """1, 2, 4 ... and the largest."""
    sizes = [1 << power for power in range(max_batch.bit_length())]
    return sizes if sizes[-1] == max_batch else [*sizes, max_batch]


def _spend(servers: Servers, seconds: float, act: Callable[[int], None]) -> tuple[float, int, ModelCounts]:
    """Does something again and again; Triton's processor time, how often it was, and what Triton counted."""
    act(0)
    counted, spent_s, until, at = read_counts(servers.triton_address), triton_cpu_s(servers), 0.0, 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        act(at)
        at += 1
    spent_s = triton_cpu_s(servers) - spent_s
    made = changes(counted, read_counts(servers.triton_address))
    return spent_s, at, max(made.values(), key=lambda each: each.inferences)


def _ask(stub: Any, requests: Sequence[Any], at: int) -> None:
    stub.ModelInfer(requests[at % len(requests)], timeout=LIMIT_S)


def _ask_together(stub: Any, requests: Sequence[Any], width: int, at: int) -> None:
    for each in [stub.ModelInfer.future(requests[(at + k) % len(requests)], timeout=LIMIT_S) for k in range(width)]:
        each.result()


def _first_row(made: Preprocessed) -> Any:
    """The ModelInferRequest that the service would send for the first row of a recording."""
    request = service_pb2.ModelInferRequest(model_name=made.model, model_version=made.model_version)
    for tensor in made.inputs:
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=[1, *tensor.shape[1:]])
        request.raw_input_contents.append(tensor.raw_contents[: len(tensor.raw_contents) // tensor.shape[0]])
    return request


def _join(requests: Sequence[Any]) -> Any:
    """One request with the rows of all."""
    joined = service_pb2.ModelInferRequest(model_name=requests[0].model_name, model_version=requests[0].model_version)
    for index, tensor in enumerate(requests[0].inputs):
        joined.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=[len(requests), *tensor.shape[1:]])
        joined.raw_input_contents.append(b"".join(each.raw_input_contents[index] for each in requests))
    return joined
