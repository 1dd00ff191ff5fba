"""Callers that ask without a pause while something changes."""

from __future__ import annotations

import threading
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
        return wait_until(lambda: len(self.verdicts) >= before + count, 60)

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)

    def _call(self) -> None:
        with TriageClient(self._address, deadline_s=30) as client:
            while not self._ended.is_set():
                try:
                    self.verdicts.append(client.classify(self._audio, model=self._model))
                except TriageError as error:
                    self.errors.append(error)
