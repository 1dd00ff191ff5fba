"""Callers that ask while something changes: as fast as they are answered, or at a rate of their own."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from client import TriageClient, TriageError, Verdict
from tests.triton_process import wait_until


class Traffic:
    """Threads that classify one recording again and again; a context manager that keeps what they got."""

    def __init__(self, address: str, audio: bytes, *, model: str = "", threads: int = 3) -> None:
        self.verdicts: list[Verdict] = []
        self.errors: list[TriageError] = []
        self._address, self._audio, self._model = address, audio, model
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(threads)]

    def versions(self) -> set[str]:
        return {verdict.model_version for verdict in self.verdicts}

    def goes_on(self, count: int = 5) -> bool:
        """Whether so many more verdicts come."""
        before = len(self.verdicts)
        return wait_until(lambda: len(self.verdicts) >= before + count, 120)

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(150)

    def _call(self) -> None:
        with TriageClient(self._address, deadline_s=120) as client:
            while not self._ended.is_set():
                try:
                    self.verdicts.append(client.classify(self._audio, model=self._model))
                except TriageError as error:
                    self.errors.append(error)


@dataclass(frozen=True)
class Call:
    """One call that was answered, by the monotonic clock."""

    sent_s: float
    answered_s: float
    version: str


class Arrivals:
    """Calls at a fixed rate, whether or not those before are answered; a context manager that keeps what came back."""

    def __init__(self, address: str, audio: bytes, *, rate_hz: float, threads: int) -> None:
        self.calls: list[Call] = []
        self.errors: list[Exception] = []
        self._address, self._audio, self._pause_s = address, audio, 1 / rate_hz
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(threads)
        self._clock = threading.Thread(target=self._send)

    def versions(self) -> set[str]:
        return {call.version for call in self.calls}

    def answered_after_switch_to(self, version: str) -> set[str]:
        """The versions that have answered calls which were sent when `version` had already answered one."""
        first_s = min(call.answered_s for call in self.calls if call.version == version)
        return {call.version for call in self.calls if call.sent_s > first_s}

    def goes_on(self, count: int = 20) -> bool:
        """Whether so many more calls are answered."""
        before = len(self.calls)
        return wait_until(lambda: len(self.calls) >= before + count, 120)

    def __enter__(self) -> Arrivals:
        self._client = TriageClient(self._address, deadline_s=120)
        self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._clock.join(150)
        self._pool.shutdown()
        self._client.close()

    def _send(self) -> None:
        start_s = time.monotonic()
        for number in itertools.count():
            if self._ended.wait(max(0.0, start_s + number * self._pause_s - time.monotonic())):
                return
            self._pool.submit(self._call)

    def _call(self) -> None:
        sent_s = time.monotonic()
        try:
            verdict = self._client.classify(self._audio)
        except Exception as error:  # the pool would keep it to itself
            self.errors.append(error)
        else:
            self.calls.append(Call(sent_s, time.monotonic(), verdict.model_version))
