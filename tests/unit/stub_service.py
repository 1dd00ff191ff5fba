"""A real gRPC server on a loopback port whose answers are canned: what the client's own tests talk to."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from preprocess_service.proto.wigeup.v1 import triage_pb2, triage_pb2_grpc

MIB = 1024 * 1024
# A model of the name "fail-STATUS" makes the call end with that status.
FAIL_PREFIX = "fail-"
# A request for this model stays unanswered until its caller gives up.
HANGING_MODEL = "hanging"
EMERGENCY_WORD, UNCERTAIN_WORD = "불", "글쎄"
KINDS = ("화재", "가스사고", "갇힘")
HOP_S = WINDOW_S = 7.0
RETRY_AFTER_MS = 250


@dataclass
class StubTriage(triage_pb2_grpc.TriageServicer):
    """Judges by the transcript: "불" (fire) is an emergency, "글쎄" (well...) uncertain.

    Keeps what it was asked, and how long it had.
    """

    requests: list[triage_pb2.ClassifyRequest] = field(default_factory=list)
    time_remaining_s: list[float] = field(default_factory=list)
    windows: int = 1
    asked: threading.Event = field(default_factory=threading.Event)

    def Classify(self, request: triage_pb2.ClassifyRequest, context: grpc.ServicerContext) -> triage_pb2.Verdict:
        self.requests.append(request)
        self.time_remaining_s.append(context.time_remaining())
        self.asked.set()
        _fail_if_asked(request.model, context)
        if request.model == HANGING_MODEL:
            given_up = threading.Event()
            context.add_callback(given_up.set)
            given_up.wait()
        return self._verdict(request)

    def _verdict(self, request: triage_pb2.ClassifyRequest) -> triage_pb2.Verdict:
        emergency = EMERGENCY_WORD in request.transcript
        uncertain = UNCERTAIN_WORD in request.transcript
        probability = 0.93 if emergency else 0.42 if uncertain else 0.07
        decision = triage_pb2.DECISION_NORMAL
        if emergency or uncertain:
            decision = triage_pb2.DECISION_EMERGENCY if emergency else triage_pb2.DECISION_UNCERTAIN
        return triage_pb2.Verdict(
            call_id=request.call_id,
            model=request.model or "multimodal",
            model_version=request.model_version or "1",
            probability=probability,
            threshold=0.5,
            uncertain_from=0.3,
            emergency=emergency,
            decision=decision,
            kinds=[triage_pb2.KindProbability(name=name, probability=0.6 / (n + 1)) for n, name in enumerate(KINDS)],
            audio_s=self.windows * HOP_S,
            timeline=[
                triage_pb2.WindowScore(start_s=n * HOP_S, end_s=n * HOP_S + WINDOW_S, probability=probability / (n + 1))
                for n in range(self.windows)
            ],
            times=triage_pb2.StageTimes(
                wait_ms=0.5, decode_ms=1, audio_ms=2, text_ms=0.25, inference_ms=4, total_ms=7.75
            ),
            warnings=[] if request.transcript else [triage_pb2.WARNING_NO_TRANSCRIPT],
        )

    def ClassifyStream(
        self,
        request_iterator: Iterator[triage_pb2.StreamRequest],  # noqa: ARG002 - gRPC's signature
        context: grpc.ServicerContext,
    ) -> Iterator[triage_pb2.StreamResponse]:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "live calls have a stub of their own: live_stub.py")

    def Preprocess(
        self, request: triage_pb2.PreprocessRequest, context: grpc.ServicerContext
    ) -> triage_pb2.PreprocessResponse:
        _fail_if_asked(request.model, context)
        # As large as the audio: 48 MiB in must be able to come back.
        tensor = triage_pb2.Tensor(name="mel", datatype="FP32", shape=[1, 128, 300, 1], raw_contents=request.audio)
        row = triage_pb2.WindowScore(start_s=0, end_s=WINDOW_S)
        version = request.model_version or "1"
        return triage_pb2.PreprocessResponse(model="multimodal", model_version=version, inputs=[tensor], rows=[row])

    def ListModels(
        self,
        request: triage_pb2.ListModelsRequest,  # noqa: ARG002 - gRPC's signature
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> triage_pb2.ListModelsResponse:
        model = triage_pb2.Model(
            name="multimodal",
            version="1",
            is_default=True,
            window_s=WINDOW_S,
            reads_transcript=True,
            inputs=[triage_pb2.TensorSpec(name="mel", datatype="FP32", shape=[128, 300, 1])],
            outputs=[triage_pb2.TensorSpec(name="probability", datatype="FP32", shape=[1])],
            threshold_with_transcript=0.5,
            threshold_without_transcript=0.4,
            uncertain_from_with_transcript=0.3,
            uncertain_from_without_transcript=0.2,
            figures={"recall": 0.98},
            corpus="합성 말뭉치",
            kinds=KINDS,
            loaded=True,
            precision="int8",
            provider="OpenVINOExecutionProvider",
        )
        return triage_pb2.ListModelsResponse(
            models=[model, triage_pb2.Model(name="cnn", version="3", window_s=WINDOW_S)]
        )


def _fail_if_asked(model: str, context: grpc.ServicerContext) -> None:
    if not model.startswith(FAIL_PREFIX):
        return
    status = grpc.StatusCode[model.removeprefix(FAIL_PREFIX)]
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
        context.set_trailing_metadata((("retry-after-ms", str(RETRY_AFTER_MS)),))
    context.abort(status, f"서비스가 {status.name}(으)로 거절")


@dataclass
class Service:
    """A running stub: where it is, what it was asked, and its health."""

    address: str
    triage: StubTriage
    health: health.HealthServicer

    def set_serving(self, serving: bool) -> None:
        """Changes what health checks answer."""
        statuses = health_pb2.HealthCheckResponse
        self.health.set("", statuses.SERVING if serving else statuses.NOT_SERVING)


@contextlib.contextmanager
def serving(
    triage: StubTriage | None = None,
    *,
    max_receive_bytes: int = 64 * MIB,
    credentials: grpc.ServerCredentials | None = None,
) -> Iterator[Service]:
    """Runs a stub on a free loopback port until the block ends."""
    options = [("grpc.max_receive_message_length", max_receive_bytes), ("grpc.max_send_message_length", 64 * MIB)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=options)
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    service = Service(f"127.0.0.1:{port}", triage or StubTriage(), health.HealthServicer())
    service.set_serving(True)
    triage_pb2_grpc.add_TriageServicer_to_server(service.triage, server)
    health_pb2_grpc.add_HealthServicer_to_server(service.health, server)
    server.start()
    try:
        yield service
    finally:
        server.stop(grace=None).wait()


@contextlib.contextmanager
def nobody_listening() -> Iterator[str]:
    """An address at which every connection is refused: bound, so that no one else takes it, but not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"
