"""Closed-loop load: each Locust user sends recordings one after the other over a connection of its own.

locust -f loadtest/locustfile.py --headless -u 8 -r 8 -t 30s --host 127.0.0.1:50051 --clips data/synthetic
"""

# ruff: noqa: E402 - gRPC must be told of gevent before anything opens a channel

import grpc.experimental.gevent as grpc_gevent

grpc_gevent.init_gevent()  # without it one blocking call stops all users

import itertools
import logging
import sys
from pathlib import Path
from typing import ClassVar

from locust import User, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner

from client.channel import DEFAULT_ADDRESS, DEFAULT_DEADLINE_S, ChannelSettings, open_channel
from client.errors import TriageError
from loadtest.calls import measured_classify
from loadtest.clips import load_clips
from preprocess_service.proto.wigeup.v1 import triage_pb2, triage_pb2_grpc

logger = logging.getLogger(__name__)


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: LocustArgumentParser) -> None:
    """The options of this test, each also an environment variable."""
    parser.add_argument(
        "--clips",
        env_var="WIGEUP_CLIPS",
        default="data/synthetic",
        include_in_web_ui=False,
        help="recordings",
    )
    parser.add_argument(
        "--model",
        env_var="WIGEUP_MODEL",
        default="",
        include_in_web_ui=False,
        help="default: the service's own",
    )
    parser.add_argument(
        "--deadline",
        env_var="WIGEUP_DEADLINE_S",
        type=float,
        default=DEFAULT_DEADLINE_S,
        include_in_web_ui=False,
        help=f"seconds that one call may take (default {DEFAULT_DEADLINE_S:g})",
    )


@events.init.add_listener  # type: ignore[untyped-decorator]
def load_requests(environment: Environment, **_: object) -> None:
    """Reads the recordings once for all users; without any the process ends here, with code 2."""
    options = environment.parsed_options
    if options is None or isinstance(environment.runner, MasterRunner):  # a master sends nothing itself
        return
    try:
        TriageUser.requests = [clip.request(options.model) for clip in load_clips(Path(options.clips))]
    except (OSError, ValueError, TriageError):
        logger.exception("no recordings to send")
        sys.exit(2)
    TriageUser.deadline_s = options.deadline
    logger.info("%d recordings from %s", len(TriageUser.requests), options.clips)


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def fail_without_calls(environment: Environment, **_: object) -> None:
    """A run that measured nothing has not passed."""
    if environment.stats.total.num_requests == 0:
        logger.error("no call was made")
        environment.process_exit_code = 1


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
        measured_classify(self.environment, self._stub, request, self.deadline_s)
