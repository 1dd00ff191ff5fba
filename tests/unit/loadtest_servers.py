"""Real servers on loopback ports that the load test's own tests load: a Triage service that gives an update for every
hop of audio, and Triton's gRPC interface with its metrics page."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from client.formats import G711_RATE_HZ
from preprocess_service.proto.wigeup.v1 import triage_pb2, triage_pb2_grpc
from tests.unit.stub_service import StubTriage

LATE_AFTER = 2  # the model "late" skips the hop after this one
SERVICE_LAG_MS = 3.0
# Models that stand for what can go wrong; "fail-STATUS" for a refusal. Others are served well.
LATE, UNWATCHED, BREAKING, HANGING, CURT, DEAF = "late", "unwatched", "breaking", "hanging", "curt", "deaf"
DEAF_S = 1.0


@dataclass
class LiveTriage(StubTriage):
    """Keeps every message of every call, by its name."""

    streams: dict[str, list[triage_pb2.StreamRequest]] = field(default_factory=dict)

    def ClassifyStream(self, request_iterator, context):
        config = next(request_iterator).config
        heard = self.streams[config.call_id] = []
        if config.model.startswith("fail-"):
            context.abort(grpc.StatusCode[config.model.removeprefix("fail-")], "refused")
        if config.model == DEAF:
            threading.Event().wait(DEAF_S)
        frames, number, skipped = 0, 0, 0
        hop = round(config.hop_s * G711_RATE_HZ)
        for request in request_iterator:
            heard.append(request)
            frames += len(request.audio.audio)
            while frames >= (number + skipped + 1) * hop:
                if config.model == LATE and number == LATE_AFTER and not skipped:
                    skipped = 1
                    continue
                number += 1
                if config.model == BREAKING and number == LATE_AFTER:
                    context.abort(grpc.StatusCode.DATA_LOSS, "broken")
                yield triage_pb2.StreamResponse(update=_update(config, number, (number + skipped) * hop, skipped))
        if config.model == HANGING:
            gone = threading.Event()
            context.add_callback(gone.set)
            gone.wait(30)
        if config.model != CURT:
            yield triage_pb2.StreamResponse(summary=triage_pb2.CallSummary(updates=number, skipped_hops=skipped))


def _update(config: triage_pb2.StreamConfig, number: int, position: int, skipped: int) -> triage_pb2.CallUpdate:
    degradations = [triage_pb2.DEGRADATION_NOT_MONITORED] if config.model == UNWATCHED else []
    return triage_pb2.CallUpdate(
        number=number,
        covered_s=position / G711_RATE_HZ,
        caller=triage_pb2.PartyScore(probability=0.1, scored=True, degradations=degradations),
        model="multimodal",
        model_version="1",
        skipped_hops=skipped,
        lag_ms=SERVICE_LAG_MS,
        state=triage_pb2.CallState(update=number, position_frames=position, skipped_hops=skipped),
    )


@contextlib.contextmanager
def live_service() -> Iterator[tuple[str, LiveTriage]]:
    """Runs a LiveTriage until the block ends; its address and itself."""
    triage = LiveTriage()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
    triage_pb2_grpc.add_TriageServicer_to_server(triage, server)
    with _running(server) as address:
        yield address, triage


@dataclass
class Triton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Counts every ModelInfer as a batch of its own with as many rows as its first input."""

    batches: Counter[int] = field(default_factory=Counter)
    asked: list[service_pb2.ModelInferRequest] = field(default_factory=list)

    def ServerMetadata(self, request, context):  # noqa: ARG002 - gRPC's signature
        return service_pb2.ServerMetadataResponse(name="triton", version="2.51.0")

    def ModelInfer(self, request, context):
        if request.model_name.startswith("fail-"):
            context.abort(grpc.StatusCode[request.model_name.removeprefix("fail-")], "refused")
        self.asked.append(request)
        self.batches[request.inputs[0].shape[0]] += 1
        return service_pb2.ModelInferResponse(model_name=request.model_name, raw_output_contents=[b"\0\0\0\0"])

    def ModelStatistics(self, request, context):  # noqa: ARG002
        rows, batches = sum(size * count for size, count in self.batches.items()), self.batches.total()
        statistics = service_pb2.ModelStatistics(name="multimodal", version="1")
        statistics.inference_count, statistics.execution_count = rows, batches
        statistics.inference_stats.success.count = batches
        statistics.inference_stats.queue.ns = batches * 2_000_000
        statistics.inference_stats.compute_infer.ns = batches * 5_000_000
        for size, count in self.batches.items():
            batch = statistics.batch_stats.add()
            batch.batch_size, batch.compute_infer.count = size, count
        return service_pb2.ModelStatisticsResponse(model_stats=[statistics])

    @property
    def page(self) -> str:
        """The metrics page."""
        count = self.batches.total()
        return (
            "# HELP nv_inference_exec_count Number of model executions performed\n"
            f'nv_inference_exec_count{{model="multimodal",version="1"}} {count}\n'
            f'nv_inference_exec_count{{model="vgg16",version="2"}} {count}\n'
            'nv_cpu_utilization 0.5\nnv_gpu_power_usage{gpu_uuid="x"} 1.0\n'
        )


@contextlib.contextmanager
def triton() -> Iterator[tuple[str, str, Triton]]:
    """Runs a Triton until the block ends: its gRPC address, the URL of its metrics and itself."""
    servicer = Triton()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(servicer.page.encode())

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with _running(server) as address, http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as page:
        thread = threading.Thread(target=page.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield address, f"http://127.0.0.1:{page.server_port}/metrics", servicer
        finally:
            page.shutdown()
            thread.join()


@contextlib.contextmanager
def _running(server: grpc.Server) -> Iterator[str]:
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()
