"""Load at saturation: users who ask, wait for the answer and ask again; one way for everything that is compared.

Threads with blocking calls: in a process of its own asyncio saves nothing here, and HTTP is then asked as gRPC is.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import grpc

from client.channel import ChannelSettings, open_channel
from loadtest import processes
from loadtest.bench.measured import Work
from loadtest.bench.questions import Question
from loadtest.lag import Distribution
from loadtest.open_loop import METHOD
from loadtest.triton_channel import CHANNEL_OPTIONS
from preprocess_service.proto.wigeup.v1 import triage_pb2
from preprocess_service.triton import INFER_METHOD

DEADLINE_S: Final = 20.0
RAMP_S: Final = 0.5  # from the first question to the stretch that is counted
OCTETS: Final = {"Content-Type": "application/octet-stream"}


class CallFailed(Exception):
    """A service did not answer as it should; the message says what came."""


class User(Protocol):
    """One connection."""

    def ask(self, number: int) -> bytes:
        """Asks the question of that number, counted without end, and returns the answer."""

    def close(self) -> None: ...


class GrpcUser:
    """Sends serialised requests."""

    def __init__(self, channel: grpc.Channel, method: str, requests: Sequence[bytes]) -> None:
        self._channel, self._requests = channel, requests
        self._call: Callable[..., bytes] = channel.unary_unary(method)  # no serialisers: bytes as they are

    def ask(self, number: int) -> bytes:
        return self._call(self._requests[number % len(self._requests)], timeout=DEADLINE_S)

    def close(self) -> None:
        self._channel.close()


class HttpUser:
    """Posts recordings with their transcripts to the plain service."""

    def __init__(self, address: str, questions: Sequence[Question]) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=DEADLINE_S)
        self._requests = [(plain_path(each.transcript), each.audio) for each in questions]

    def ask(self, number: int) -> bytes:
        path, body = self._requests[number % len(self._requests)]
        self._connection.request("POST", path, body, OCTETS)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise CallFailed(f"{answer.status} {answer.reason} for {path}")
        return content

    def close(self) -> None:
        self._connection.close()


def plain_path(transcript: str) -> str:
    """The plain service's path for a recording of which that is said."""
    return "/classify?" + urllib.parse.urlencode({"transcript": transcript})


def service_user(address: str, requests: Sequence[bytes], method: str = METHOD) -> GrpcUser:
    """A caller of our service, with a connection of its own."""
    return GrpcUser(open_channel(ChannelSettings(address, own_connection=True)), method, requests)


def triton_user(address: str, requests: Sequence[bytes]) -> GrpcUser:
    """A caller of Triton itself."""
    return GrpcUser(grpc.insecure_channel(address, options=CHANNEL_OPTIONS), INFER_METHOD, requests)


def probability_of(answer: bytes) -> float:
    """Of our service's answer or of the plain service's."""
    if answer.startswith(b"{"):
        return float(json.loads(answer)["probability"])
    return triage_pb2.Verdict.FromString(answer).probability


@dataclass(frozen=True)
class Loaded:
    """A stretch of load; `times` are those of its calls, `cpu_ms` each program's processor time a call."""

    work: Work
    times: Distribution
    cpu_ms: dict[str, float]


def saturate(
    open_user: Callable[[], User], users: int, seconds: float, servers: processes.Pids, *, first: int = 0
) -> Loaded:
    """So many users for so long, after a ramp that does not count; `servers` are the processes whose time is counted,
    with those below them. Question `first` comes first. Raises CallFailed where a call fails."""
    done: list[tuple[float, float]] = []  # when it ended, how long it took; appending is one step in Python
    failures: list[BaseException] = []
    stop = threading.Event()

    def use(number: int) -> None:
        user = open_user()
        try:
            while not stop.is_set():
                began = time.perf_counter()
                user.ask(number)
                ended = time.perf_counter()
                done.append((ended, ended - began))
                number += users
        except (grpc.RpcError, OSError, http.client.HTTPException, CallFailed) as error:
            failures.append(error)
        finally:
            user.close()

    threads = [threading.Thread(target=use, args=(first + number,), daemon=True) for number in range(users)]
    for thread in threads:
        thread.start()
    time.sleep(RAMP_S)
    began, generator, spent = time.perf_counter(), time.process_time(), processes.cpu_s(servers)
    time.sleep(seconds)
    ended = time.perf_counter()
    generator_s = time.process_time() - generator
    cpu_s = processes.spent_s(spent, processes.cpu_s(servers))
    stop.set()
    for thread in threads:
        thread.join(DEADLINE_S)
    if failures:
        raise CallFailed(_told(failures[0]))
    times = [took for at, took in done if began <= at <= ended]
    if not times:
        raise CallFailed(f"no answer within {seconds:g} s")
    work = Work(len(times), ended - began, sum(cpu_s.values()), generator_s)
    each = {name: 1000 * spent_s / len(times) for name, spent_s in cpu_s.items()}
    return Loaded(work, Distribution.of_seconds(times), each)


def _told(error: Any) -> str:
    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    return f"{type(error).__name__}: {error}"
