"""Closed-loop load: each Locust user sends recordings one after the other over a connection of its own.

locust -f loadtest/locustfile.py --headless -u 8 -r 8 -t 30s --host 127.0.0.1:50051 --clips data/synthetic
"""

import itertools
from argparse import Namespace
from typing import ClassVar

from locust import User, constant, task

from client.channel import DEFAULT_ADDRESS, DEFAULT_DEADLINE_S, ChannelSettings, open_channel
from loadtest.calls import measure
from loadtest.clips import Clip
from loadtest.locust_setup import on_start
from preprocess_service.proto.wigeup.v1 import triage_pb2, triage_pb2_grpc


class TriageUser(User):
    """A gateway that always has the next recording ready; starts at a place of its own in the list."""

    host = DEFAULT_ADDRESS
    wait_time = constant(0)
    requests: ClassVar[list[triage_pb2.ClassifyRequest]] = []
    deadline_s: ClassVar[float] = DEFAULT_DEADLINE_S
    _numbers: ClassVar["itertools.count[int]"] = itertools.count()

    def on_start(self) -> None:
        """Opens this user's channel and picks where it starts."""
        settings = ChannelSettings(self.host or DEFAULT_ADDRESS, own_connection=True)
        self._channel = open_channel(settings)
        self._stub: triage_pb2_grpc.TriageStub = triage_pb2_grpc.TriageStub(self._channel)
        self._next = next(self._numbers) % len(self.requests)

    def on_stop(self) -> None:
        """Ends the connection."""
        self._channel.close()

    @task
    def classify(self) -> None:
        """Sends the next recording and waits for its verdict."""
        request = self.requests[self._next]
        self._next = (self._next + 1) % len(self.requests)
        measure(self.environment, "Classify", lambda: self._stub.Classify(request, timeout=self.deadline_s).ByteSize())


def prepare(options: Namespace, clips: list[Clip]) -> None:
    """Reads the recordings once for all users."""
    TriageUser.requests = [clip.request(options.model) for clip in clips]
    TriageUser.deadline_s = options.deadline


on_start(prepare)
