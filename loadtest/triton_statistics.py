"""What Triton itself counts: inferences, how they were batched, how long they queued."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

LIMIT_S: Final = 5.0
METRICS: Final = (
    "nv_inference_request_success",
    "nv_inference_request_failure",
    "nv_inference_count",
    "nv_inference_exec_count",
    "nv_inference_queue_duration_us",
    "nv_inference_compute_infer_duration_us",
)
_SAMPLE: Final = re.compile(r"^(?P<name>\w+)\{[^}]*\}\s+(?P<value>\S+)", re.MULTILINE)
_direct: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not reach this loopback


@dataclass
class ModelCounts:
    """Of one model and version, since Triton loaded it."""

    inferences: int = 0  # rows
    executions: int = 0  # batches
    requests: int = 0
    queue_ns: int = 0
    compute_ns: int = 0
    batches: Counter[int] = field(default_factory=Counter)  # executions by their number of rows

    def since(self, before: ModelCounts) -> ModelCounts:
        return ModelCounts(
            self.inferences - before.inferences,
            self.executions - before.executions,
            self.requests - before.requests,
            self.queue_ns - before.queue_ns,
            self.compute_ns - before.compute_ns,
            self.batches - before.batches,
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "inferences": self.inferences,
            "executions": self.executions,
            "requests": self.requests,
            "mean_batch": _ratio(self.inferences, self.executions),
            "mean_queue_ms": _ratio(self.queue_ns / 1e6, self.requests),
            "mean_compute_ms": _ratio(self.compute_ns / 1e6, self.requests),
            "batches": {str(size): count for size, count in sorted(self.batches.items())},
        }


def read_counts(address: str) -> dict[str, ModelCounts]:
    """The counts of all loaded models by "NAME VERSION", by the statistics RPC; raises grpc.RpcError."""
    with grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answer = stub.ModelStatistics(service_pb2.ModelStatisticsRequest(), timeout=LIMIT_S)
    return {f"{each.name} {each.version}": _counts(each) for each in answer.model_stats}


def _counts(model: Any) -> ModelCounts:
    return ModelCounts(
        inferences=model.inference_count,
        executions=model.execution_count,
        requests=model.inference_stats.success.count,
        queue_ns=model.inference_stats.queue.ns,
        compute_ns=model.inference_stats.compute_infer.ns,
        batches=Counter({each.batch_size: each.compute_infer.count for each in model.batch_stats}),
    )


def changes(before: dict[str, ModelCounts], after: dict[str, ModelCounts]) -> dict[str, ModelCounts]:
    """What each model that was asked did between two readings; one that was loaded anew counts from there."""
    deltas = {}
    for name, counts in after.items():
        earlier = before.get(name, ModelCounts())
        fresh = counts.inferences < earlier.inferences
        deltas[name] = counts if fresh else counts.since(earlier)
    return {name: delta for name, delta in deltas.items() if delta.executions}


def read_metrics(url: str) -> dict[str, float]:
    """METRICS of Triton's metrics page, summed over all models; raises OSError where there is no such page."""
    with _direct.open(url, timeout=LIMIT_S) as answer:
        text = answer.read().decode()
    sums = dict.fromkeys(METRICS, 0.0)
    for sample in _SAMPLE.finditer(text):
        if sample["name"] in sums:
            sums[sample["name"]] += float(sample["value"])
    return sums


def _ratio(total: float, count: int) -> float:
    return round(total / count, 3) if count else 0.0
