"""What all measurements of one precision share: the servers and workers that are up, and what is asked of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from client import AudioFormat
from client.requests import classify_request
from deploy.serve import Programs
from loadtest.bench import saturation
from loadtest.bench.graphs import Precision, Served, newest_folder, served
from loadtest.bench.limit import Workers
from loadtest.bench.questions import Question
from loadtest.bench.saturation import Loaded, User, saturate
from loadtest.bench.stack import Plain, Ports, Stack, cores, start_plain, start_stack, wait_for_plain
from loadtest.figures import Better, Figure
from loadtest.open_loop import METHOD
from preprocess_service.model_spec import MULTIMODAL
from preprocess_service.proto.wigeup.v1 import triage_pb2

PREPROCESS: Final = METHOD.replace("/Classify", "/Preprocess")
# Java compiles a tokenizer's code once it has run often, and until then a sentence takes five times as long.
WARM_UP_SENTENCES: Final = 1500  # of each process
WARM_UP_S: Final = 6.0  # of requests with many sentences
SENTENCES_A_REQUEST: Final = 10
SHORT_BYTES: Final = 1600  # of sound in such a request: it is the words that matter
WARM_UP_USERS: Final = 8
PROBE_S: Final = 1.5  # at each number of users, to find which saturates
SERVICE_USERS, PLAIN_USERS = (8, 16, 32), (2, 4, 8)  # the plain service answers one request a core at a time


@dataclass(frozen=True)
class Plan:
    """What is asked, how long and how often; `file` holds the questions, `logs` is a folder."""

    questions: Sequence[Question]
    file: Path
    clips: Path
    logs: Path
    rounds: int = 3
    stretch_s: float = 3.0
    seed: int = 1


@dataclass
class Setting:
    """Everything that is up, warm, and asked the same questions."""

    plan: Plan
    graph: Served
    stack: Stack
    plain: Plain | None
    workers: Workers
    saturated_per_s: list[float] = field(default_factory=list)  # what `saturate_service` has found so far
    _users: dict[str, int] = field(default_factory=dict)
    _turn: int = 0

    @cached_property
    def requests(self) -> list[bytes]:
        """Serialised ClassifyRequests."""
        stated = AudioFormat.mulaw()
        return [
            classify_request(each.audio, format=stated, transcript=each.transcript).SerializeToString()
            for each in self.plan.questions
        ]

    def service_user(self) -> User:
        return saturation.service_user(self.stack.address, self.requests)

    def plain_user(self) -> User:
        if self.plain is None:
            raise ValueError("the plain service was not started")
        return saturation.HttpUser(self.plain.address, self.plan.questions)

    def ask_service(self, users: int, seconds: float) -> Loaded:
        """Our service with so many users."""
        self._turn += 1  # no two stretches begin with the same recording
        return saturate(self.service_user, users, seconds, self.stack.pids, first=37 * self._turn)

    def saturate_service(self) -> Loaded:
        """The same with as many users as get most answers, which is found at the first call."""
        users = self.best_users("service", self.ask_service, SERVICE_USERS)
        loaded = self.ask_service(users, self.plan.stretch_s)
        self.saturated_per_s.append(loaded.work.per_s)
        return loaded

    def ask_plain(self, users: int, seconds: float) -> Loaded:
        """The plain service with so many users."""
        pids = self.plain.pids if self.plain else {}
        self._turn += 1
        return saturate(self.plain_user, users, seconds, pids, first=37 * self._turn)

    def saturate_plain(self) -> Loaded:
        """As `saturate_service`."""
        return self.ask_plain(self.best_users("plain", self.ask_plain, PLAIN_USERS), self.plan.stretch_s)

    def best_users(self, name: str, ask: Callable[[int, float], Loaded], numbers: Sequence[int]) -> int:
        """The number of users with the highest throughput, tried once."""
        if name not in self._users:
            self._users[name] = max(numbers, key=lambda users: ask(users, PROBE_S).work.per_s)
        return self._users[name]

    def figure(self, row: str, name: str, unit: str, better: Better, values: Sequence[float]) -> Figure:
        """One that stands behind a row."""
        return Figure(f"bench/{row}/{self.graph.precision}/{name}", unit, better, tuple(values))

    def warm_up(self) -> None:
        """Lets Java compile in every process, by the same sentences."""
        questions = self.plan.questions
        starts = range(len(questions) - SENTENCES_A_REQUEST + 1)
        wordy = [
            Question(
                questions[start].audio[:SHORT_BYTES],
                " ".join(each.transcript for each in questions[start : start + SENTENCES_A_REQUEST]),
            )
            for start in starts
        ]
        self.workers.tell("read", sentences=WARM_UP_SENTENCES)
        stated = triage_pb2.AudioFormat(encoding=triage_pb2.AUDIO_ENCODING_MULAW, sample_rate_hz=8000, channels=1)
        asked = [
            triage_pb2.PreprocessRequest(audio=each.audio, format=stated, transcript=each.transcript) for each in wordy
        ]  # no work for Triton
        requests = [each.SerializeToString() for each in asked]
        saturate(
            lambda: saturation.service_user(self.stack.address, requests, PREPROCESS),
            *(WARM_UP_USERS, WARM_UP_S, self.stack.pids),
        )
        if (plain := self.plain) is not None:
            saturate(lambda: saturation.HttpUser(plain.address, wordy), WARM_UP_USERS, WARM_UP_S, plain.pids)


@contextlib.contextmanager
def set_up(precision: Precision, plan: Plan, *, plain: bool) -> Iterator[Setting]:
    """Everything for one precision, up and warm until the block ends; `plain`: the plain service, too.

    Raises NoGraph, deploy.serve's Failed, WorkerFailed.
    """
    graph, programs, ports = served(precision), Programs(plan.logs), Ports()
    workers = Workers(
        cores(),
        graph_file=graph.graph_file,
        config=graph.config,
        version_folder=graph.folder,
        questions=plan.file,
        logs=plan.logs,
    )
    try:
        started = start_plain(programs, ports, newest_folder(MULTIMODAL), cores()) if plain else None
        workers.start()
        repository = graph.write_repository(plan.logs / "repositories" / precision)
        stack = start_stack(programs, ports, precision, repository, [MULTIMODAL.name])
        if started is not None:
            wait_for_plain(programs, started)
        workers.wait()
        setting = Setting(plan, graph, stack, started, workers)
        setting.warm_up()
        yield setting
    finally:
        programs.stop()
        workers.close()
