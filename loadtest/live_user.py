"""Live calls as Locust users: each holds one call after the other, in real time, over a connection of its own.

locust -f loadtest/live_user.py --headless -u 50 -r 10 -t 60s --host 127.0.0.1:50051 --clips data/synthetic

The response time of an update is its lag: from when the last audio that it covers was to be sent. Each user costs a
thread's worth of work; for hundreds of calls beside the servers `python -m loadtest live` is the lighter generator.
"""

import itertools
import random
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Any, ClassVar

import grpc
from locust import User, constant, events, task
from locust.argument_parser import LocustArgumentParser

from client.channel import DEFAULT_ADDRESS, ChannelSettings, open_channel
from loadtest.calls import CallFailed, failed, report
from loadtest.clips import Clip
from loadtest.live import METHOD, NO_SUMMARY, LiveTarget
from loadtest.locust_setup import add_option, on_start
from loadtest.tapes import Tape, make_tapes
from preprocess_service.proto.wigeup.v1 import triage_pb2

TAPES, MESSAGE_S, TRANSCRIPT_SHARE, SEED = 16, 0.2, 0.5, 1
CALL, UPDATE = "ClassifyStream", "ClassifyStream update"


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: LocustArgumentParser) -> None:
    """The options of live calls."""
    add_option(parser, "--call-seconds", "WIGEUP_CALL_SECONDS", 30.0, "length of a call (default 30)")
    add_option(parser, "--hop", "WIGEUP_HOP_S", 1.0, "seconds of audio between updates (default 1)")


class LiveCallUser(User):
    """A caller who calls again as soon as the last call has ended."""

    host = DEFAULT_ADDRESS
    wait_time = constant(0)
    tapes: ClassVar[list[Tape]] = []
    model: ClassVar[str] = ""
    hop_s: ClassVar[float] = 1.0
    _numbers: ClassVar["itertools.count[int]"] = itertools.count()

    def on_start(self) -> None:
        """Opens this user's channel and waits a part of a hop: Locust starts users in groups."""
        address = self.host or DEFAULT_ADDRESS
        self._target = LiveTarget(address, hop_s=self.hop_s, model=self.model)
        self._channel = open_channel(ChannelSettings(address, own_connection=True))
        self._stream: Any = self._channel.stream_stream(METHOD)  # no serialisers: bytes as they are
        time.sleep(random.uniform(0, self.hop_s))

    def on_stop(self) -> None:
        """Ends the connection."""
        self._channel.close()

    @task
    def call(self) -> None:
        """Holds one call; reports every update, and the end with the time that the summary took."""
        number = next(self._numbers)
        tape, began_at, failure = self.tapes[number % len(self.tapes)], time.monotonic(), None
        stream = self._stream(self._paced(self._target.config(f"locust-{number}"), tape, began_at))
        try:
            failure = CallFailed(NO_SUMMARY)
            for data in stream:
                response = triage_pb2.StreamResponse.FromString(data)
                if response.HasField("summary"):
                    failure = None
                else:
                    self._report(response.update, len(data), tape, began_at)
        except grpc.RpcError as error:
            failure = failed(error)
        finally:
            stream.cancel()  # at the end of the run it is still going on
        report(self.environment, CALL, took_s=max(0.0, time.monotonic() - began_at - tape.audio_s), failure=failure)

    def _paced(self, config: bytes, tape: Tape, began_at: float) -> Iterator[bytes]:
        yield config
        for message in tape.messages:
            time.sleep(max(0.0, began_at + message.at_s - time.monotonic()))
            yield message.data

    def _report(self, update: triage_pb2.CallUpdate, size_bytes: int, tape: Tape, began_at: float) -> None:
        """A late update after skipped hops is a failure, and so is one that no model stands behind."""
        due_at = began_at + tape.messages[tape.completes(update.covered_s)].at_s
        bad = {triage_pb2.DEGRADATION_LATE, triage_pb2.DEGRADATION_NOT_MONITORED} & {*update.caller.degradations}
        failure = CallFailed(triage_pb2.Degradation.Name(min(bad))) if bad else None
        took_s = time.monotonic() - due_at
        report(self.environment, UPDATE, took_s=took_s, size_bytes=size_bytes, failure=failure)


def prepare(options: Namespace, clips: list[Clip]) -> None:
    """Makes the tapes once for all users."""
    LiveCallUser.tapes = make_tapes(clips, TAPES, options.call_seconds, MESSAGE_S, TRANSCRIPT_SHARE, SEED)
    LiveCallUser.model, LiveCallUser.hop_s = options.model, options.hop


on_start(prepare)
