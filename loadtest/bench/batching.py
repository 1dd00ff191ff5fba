"""Triton alone beside bare ONNX Runtime: the same graph, provider and threads, single rows against ready batches."""

from __future__ import annotations

from statistics import median
from typing import Any, Final

from tritonclient.grpc import service_pb2

from client import AudioFormat, Preprocessed, TriageClient
from loadtest import triton_statistics
from loadtest.bench.measured import ratios
from loadtest.bench.rows import BATCHING, Row
from loadtest.bench.saturation import Loaded, saturate, triton_user
from loadtest.bench.setting import PROBE_S, Setting

BATCHES: Final = (1, 2, 4, 8, 16)
TRITON_USERS: Final = (8, 16, 32)
REQUESTS: Final = 64  # different ones


def batching(setting: Setting) -> list[Row]:
    """Rows a second through Triton, which makes its batches of single requests, and through one session a core."""
    requests = tensors(setting)
    workers, plan, turn = setting.workers, setting.plan, 0

    def ask(users: int, seconds: float) -> Loaded:
        nonlocal turn
        turn += 1
        pids = {"triton": setting.stack.pids["triton"]}
        return saturate(
            lambda: triton_user(setting.stack.triton_address, requests), users, seconds, pids, first=13 * turn
        )

    best = max(BATCHES, key=lambda batch: workers.do("graph", batch=batch, seconds=PROBE_S).per_s)
    users = setting.best_users("triton", ask, TRITON_USERS)
    before = triton_statistics.read_counts(setting.stack.triton_address)
    ours, bare = [], []
    for _ in range(plan.rounds):
        ours.append(ask(users, plan.stretch_s))
        bare.append(workers.do("graph", batch=best, seconds=plan.stretch_s))
    asked = triton_statistics.changes(before, triton_statistics.read_counts(setting.stack.triton_address))
    each, most = [loaded.work.per_s for loaded in ours], [work.per_s for work in bare]
    mean = sum(counts.inferences for counts in asked.values()) / sum(counts.executions for counts in asked.values())
    spent = median(1000 * loaded.work.generator_s / loaded.work.units for loaded in ours)
    cpu_ms = [median(work.cpu_ms for work in works) for works in ([loaded.work for loaded in ours], bare)]
    notes = [
        f"{median(each):.0f}/s in batches of {mean:.1f} on average, against {median(most):.0f}/s in batches of {best}",
        f"processor time a row: Triton {cpu_ms[0]:.2f} ms, the load {spent:.2f}, bare {cpu_ms[1]:.2f}",
    ]
    behind = [
        setting.figure("batching", "triton", "1/s", "higher", each),
        setting.figure("batching", "bare", "1/s", "higher", most),
    ]
    return [Row(BATCHING, setting.graph.precision, ratios(each, most), notes, (), behind)]


def tensors(setting: Setting) -> list[bytes]:
    """Serialised ModelInferRequests of one row, as the service would send them."""
    stated = AudioFormat.mulaw()
    made: list[bytes] = []
    with TriageClient(setting.stack.address) as triage:
        for each in setting.plan.questions[:REQUESTS]:
            prepared = triage.preprocess(each.audio, format=stated, transcript=each.transcript)
            if all(tensor.shape[0] == 1 for tensor in prepared.inputs):
                made.append(_infer_request(prepared).SerializeToString())
    return made


def _infer_request(prepared: Preprocessed) -> Any:
    """As in `loadtest.triton_user`, whose import has gevent take the threads over."""
    inputs = [
        service_pb2.ModelInferRequest.InferInputTensor(name=each.name, datatype=each.datatype, shape=each.shape)
        for each in prepared.inputs
    ]
    contents = [each.raw_contents for each in prepared.inputs]
    return service_pb2.ModelInferRequest(model_name=prepared.model, inputs=inputs, raw_input_contents=contents)
