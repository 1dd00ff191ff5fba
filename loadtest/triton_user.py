"""Load on Triton alone: the tensors that the service would send, sent past it.

locust -f loadtest/triton_user.py --headless -u 8 -r 8 -t 30s --host 127.0.0.1:50051 --triton 127.0.0.1:8001

At the start the service (`--host`) turns recordings into tensors by Preprocess; after that it has nothing to do.
"""

import itertools
from argparse import Namespace
from typing import Any, ClassVar

import grpc
from locust import User, constant, events, task
from locust.argument_parser import LocustArgumentParser
from tritonclient.grpc import service_pb2, service_pb2_grpc

from client import Preprocessed, TriageClient
from client.channel import DEFAULT_ADDRESS, DEFAULT_DEADLINE_S
from client.recordings import format_of
from loadtest.calls import measure
from loadtest.clips import Clip
from loadtest.locust_setup import add_option, on_start
from loadtest.triton_channel import CHANNEL_OPTIONS

MOST_REQUESTS = 64


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: LocustArgumentParser) -> None:
    """Where Triton is."""
    add_option(parser, "--triton", "WIGEUP_TRITON", "127.0.0.1:8001", "Triton's gRPC (default 127.0.0.1:8001)")


class TritonUser(User):
    """A service that always has the next tensors ready; starts at a place of its own in the list."""

    host = DEFAULT_ADDRESS
    wait_time = constant(0)
    requests: ClassVar[list[Any]] = []
    triton: ClassVar[str] = ""
    deadline_s: ClassVar[float] = DEFAULT_DEADLINE_S
    _numbers: ClassVar["itertools.count[int]"] = itertools.count()

    def on_start(self) -> None:
        """Opens this user's channel and picks where it starts."""
        self._channel = grpc.insecure_channel(self.triton, options=CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._next = next(self._numbers) % len(self.requests)

    def on_stop(self) -> None:
        """Ends the connection."""
        self._channel.close()

    @task
    def infer(self) -> None:
        """Sends the next tensors and waits for the probabilities."""
        request = self.requests[self._next]
        self._next = (self._next + 1) % len(self.requests)
        measure(
            self.environment, "ModelInfer", lambda: self._stub.ModelInfer(request, timeout=self.deadline_s).ByteSize()
        )


def prepare(options: Namespace, clips: list[Clip]) -> None:
    """Has the service preprocess recordings, once for all users; raises TriageError."""
    TritonUser.triton, TritonUser.deadline_s = options.triton, options.deadline
    with TriageClient(options.host or DEFAULT_ADDRESS, deadline_s=options.deadline) as triage:
        for clip in clips[:MOST_REQUESTS]:
            audio, audio_format = clip.path.read_bytes(), format_of(clip.path)
            made = triage.preprocess(audio, format=audio_format, transcript=clip.text, model=options.model)
            TritonUser.requests.append(infer_request(made))


def infer_request(made: Preprocessed) -> Any:
    """The ModelInferRequest that the service would send."""
    tensors = [
        service_pb2.ModelInferRequest.InferInputTensor(name=each.name, datatype=each.datatype, shape=each.shape)
        for each in made.inputs
    ]
    contents = [each.raw_contents for each in made.inputs]
    return service_pb2.ModelInferRequest(
        model_name=made.model, model_version=made.model_version, inputs=tensors, raw_input_contents=contents
    )


on_start(prepare)
