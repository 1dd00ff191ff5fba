"""The limit: worker processes that do the path's arithmetic and nothing else, one a core."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from loadtest.bench.measured import Work
from loadtest.circumstances import ROOT

BENCH_PYTHON: Final = Path(os.environ.get("BENCH_PYTHON") or ROOT / "build/bench/bin/python")
# Nothing but the workers themselves may run threads: each is to be one core's worth.
ONE_THREAD: Final = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMBA")}


class WorkerFailed(Exception):
    """A worker could not start or do what it was told; the message carries what it said."""


class Workers:
    """Processes that take the same orders at the same time; a context manager, which starts and ends them."""

    def __init__(
        self,
        count: int,
        *,
        graph_file: Path,
        config: dict[str, Any],
        version_folder: Path,
        questions: Path,
        logs: Path,
        python: Path = BENCH_PYTHON,
    ) -> None:
        """`config` is the model's configuration as Triton hands it to its backend; `version_folder` holds the
        contract."""
        self._count, self._logs = count, logs
        self._config = logs / f"{graph_file.stem}-{'-'.join(config.get('optimization', {'plain': 0}))}.json"
        self._config.write_text(json.dumps(config), encoding="utf-8")
        paths = (graph_file, self._config, version_folder, questions)
        self._command = [str(python), "-m", "loadtest.bench.worker", *map(str, paths)]
        self._processes: list[subprocess.Popen[str]] = []
        self.providers: list[str] = []

    def start(self) -> Self:
        """Starts the processes; `wait` waits until they are ready."""
        for number in range(self._count):
            with (self._logs / f"worker-{number}-{self._config.stem}.log").open("wb") as log:
                process = subprocess.Popen(
                    self._command,
                    cwd=ROOT,
                    env={**os.environ, **ONE_THREAD},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
            self._processes.append(process)
        return self

    def wait(self) -> None:
        """Raises WorkerFailed where one cannot start."""
        for process in self._processes:
            self.providers = _reply(process)["providers"]

    def do(self, order: str, **arguments: Any) -> Work:
        """What all of them did together: units and processor time added up, and the longest wall time."""
        return Work.together([_work(reply) for reply in self._tell(self._processes, order, arguments)])

    def tell(self, order: str, **arguments: Any) -> None:
        """Has all of them do something whose answer nobody needs."""
        self._tell(self._processes, order, arguments)

    def do_alone(self, order: str, **arguments: Any) -> Work:
        """What one of them did while the others waited."""
        return _work(self.ask(order, **arguments))

    def ask(self, order: str, **arguments: Any) -> dict[str, Any]:
        """The answer of one of them."""
        return self._tell(self._processes[:1], order, arguments)[0]

    def close(self) -> None:
        for process in self._processes:
            if process.stdin:
                process.stdin.close()  # at which it ends
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()
        self._processes.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def _tell(
        processes: Sequence[subprocess.Popen[str]], order: str, arguments: dict[str, Any]
    ) -> list[dict[str, Any]]:
        for process in processes:
            if process.stdin is None:
                raise WorkerFailed("the worker takes no orders")
            try:
                process.stdin.write(json.dumps({"do": order, **arguments}) + "\n")
                process.stdin.flush()
            except BrokenPipeError:
                raise WorkerFailed(f"a worker has ended with exit code {process.wait()}") from None
        return [_reply(process) for process in processes]


def _reply(process: subprocess.Popen[str]) -> dict[str, Any]:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise WorkerFailed(f"a worker has ended with exit code {process.wait()}; its log is in build/bench-logs")
    reply: dict[str, Any] = json.loads(line)
    if "error" in reply:
        raise WorkerFailed(reply["error"])
    return reply


def _work(reply: dict[str, Any]) -> Work:
    return Work(reply["units"], reply["wall_s"], reply["cpu_s"])
