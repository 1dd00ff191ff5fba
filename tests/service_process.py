"""The real service for tests: `python -m preprocess_service` on a free loopback port."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from client import TriageClient, TriageError
from tests.triton_process import HOST, REPOSITORY_ROOT, free_ports, wait_until


class ServiceFailed(RuntimeError):
    """The service did not start or did not end; the message carries its log."""


class ServiceProcess:
    """One service with the given WIGEUP_ settings (names without the prefix); a context manager."""

    def __init__(self, *, log: Path, ready_limit_s: float = 240.0, **settings: object) -> None:
        self.log = log
        self.ready_limit_s = ready_limit_s
        (self.port,) = free_ports(1)
        # One worker unless a test is about several: each starts a Java of its own, and the log tells of one process.
        self.settings = {"PORT": str(self.port), "WORKERS": "1"}
        self.settings |= {name.upper(): str(value) for name, value in settings.items()}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, wait: bool = True) -> ServiceProcess:
        """Starts the service and, if so wished, waits until it says SERVING."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WIGEUP_")}
        environment = kept | {f"WIGEUP_{name}": value for name, value in self.settings.items()}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "preprocess_service"],
                cwd=REPOSITORY_ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if wait and not wait_until(lambda: self.exit_code() is not None or self.is_serving(), self.ready_limit_s):
            self.stop()
            raise ServiceFailed(f"not serving within {self.ready_limit_s} s; its log:\n{self.log_text()}")
        if wait and self.exit_code() is not None:
            raise ServiceFailed(f"ended with exit code {self.exit_code()}; its log:\n{self.log_text()}")
        return self

    def stop(self, limit_s: float = 30.0) -> int:
        """Ends the service with SIGTERM and returns its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self.wait(limit_s)

    def wait(self, limit_s: float = 30.0) -> int:
        """Waits for the service to end by itself and returns its exit code; -9 where it had to be killed."""
        assert self._process is not None
        try:
            return self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def health(self, name: str = "") -> str:
        """The health service's status of `name`; "UNREACHABLE" where nobody answers."""
        try:
            with TriageClient(self.address) as client:
                return client.health(name, deadline_s=5).status
        except TriageError:
            return "UNREACHABLE"

    def is_serving(self, name: str = "") -> bool:
        return self.health(name) == "SERVING"

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def log_lines(self) -> list[dict[str, Any]]:
        """All log lines; every one must be JSON."""
        return [json.loads(line) for line in self.log_text().splitlines()]

    def __enter__(self) -> ServiceProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
