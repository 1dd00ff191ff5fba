"""A real Triton for tests: the launcher's server on free loopback ports, ended with everything that it started."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

REPOSITORY_ROOT = Path(__file__).resolve().parents[1]
# Another Python's environment can be put to the test: TRITON_PYTHON=<its bin/python> pytest ...
TRITON_PYTHON = Path(os.environ.get("TRITON_PYTHON") or REPOSITORY_ROOT / ".venv-triton" / "bin" / "python")
LAUNCHER = REPOSITORY_ROOT / "deploy" / "triton" / "launch.py"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
HOST = "127.0.0.1"
LOG_TAIL_LINES = 40

_numbers = itertools.count()
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not reach this loopback


class TritonFailed(RuntimeError):
    """The server did not start or did not end; the message carries the end of its log."""


class TritonProcess:
    """One tritonserver that serves a folder of models.

    Usable as a context manager, which starts it, waits until it is ready and stops it at the end. `options` go to
    `deploy/triton/launch.py`. The log of all its lives is appended to `log`.
    """

    def __init__(
        self,
        model_repository: Path,
        *,
        log: Path,
        options: Sequence[str] = (),
        python: Path = TRITON_PYTHON,
        ready_limit_s: float = 240.0,
    ) -> None:
        self.model_repository = model_repository
        self.log = log
        self.options = tuple(options)
        self.python = python
        self.ready_limit_s = ready_limit_s
        self.grpc_port, self.http_port, self.metrics_port = free_ports(3)
        self.shm_prefix = f"triton_test_{os.getpid()}_{next(_numbers)}_"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def grpc_address(self) -> str:
        return f"{HOST}:{self.grpc_port}"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise TritonFailed("the server is not running")
        return self._process.pid

    def start(self) -> TritonProcess:
        """Start the server and wait until it is ready."""
        if self._process is not None:
            raise TritonFailed(f"the server is already running as process {self._process.pid}")
        if not self.python.exists():
            raise TritonFailed(f"{self.python} is missing; install requirements/triton.txt into that environment")
        with self.log.open("ab") as log:
            # A session of its own: its process group then holds the server and its stubs, and nothing else.
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self, limit_s: float = 30.0) -> int:
        """End the server with SIGTERM, after the limit with SIGKILL; returns its exit code, 0 if it was not running."""
        if self._process is None:
            return 0
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):  # _end kills it then; the exit code -9 tells
            self._process.wait(limit_s)
        return self._end()

    def kill(self) -> None:
        """End the server and its stubs with SIGKILL, as a crash would."""
        if self._process is not None:
            self._end()

    def restart(self) -> TritonProcess:
        """Start again on the same ports, after a stop if the server is still running."""
        self.stop()
        return self.start()

    def processes(self) -> list[int]:
        """The server's process and its stubs', as far as they run."""
        return [] if self._process is None else running_in_group(self._process.pid)

    def shared_memory(self) -> list[Path]:
        """The shared memory regions of this server that exist now."""
        return sorted(SHARED_MEMORY.glob(f"{self.shm_prefix}*"))

    def log_tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def __enter__(self) -> TritonProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _command(self) -> list[str]:
        return [
            *(str(self.python), str(LAUNCHER), "--model-repository", str(self.model_repository)),
            *("--host", HOST, "--grpc-port", str(self.grpc_port), "--http-port", str(self.http_port)),
            *("--metrics-port", str(self.metrics_port), "--shm-prefix", self.shm_prefix, "--exit-timeout", "10"),
            *("--nice", "0"),  # other tests run beside it
            *self.options,
        ]

    def _wait_until_ready(self) -> None:
        def ready_or_dead() -> bool:
            return self._exit_code() is not None or self._is_ready()

        in_time = wait_until(ready_or_dead, self.ready_limit_s)
        if self._exit_code() is not None:
            raise TritonFailed(f"the server ended with exit code {self._exit_code()}; its log ends:\n{self.log_tail()}")
        if not in_time:
            raise TritonFailed(f"the server was not ready in {self.ready_limit_s} s; its log ends:\n{self.log_tail()}")

    def _exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def _is_ready(self) -> bool:
        try:
            with _direct.open(f"http://{HOST}:{self.http_port}/v2/health/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _end(self) -> int:
        """Kill what is left of the group, reap the server and remove its shared memory."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):  # all of it has ended
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait(30)
        if not wait_until(lambda: not running_in_group(process.pid), 30):
            raise TritonFailed(f"processes {running_in_group(process.pid)} of the server outlived SIGKILL")
        for region in self.shared_memory():
            region.unlink(missing_ok=True)
        return code


def free_ports(count: int) -> list[int]:
    """Distinct TCP ports that are free on the loopback address now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def wait_until(condition: Callable[[], bool], limit_s: float, pause_s: float = 0.05) -> bool:
    """Whether the condition came true within the limit."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause_s)
    return True


def running_in_group(group: int) -> list[int]:
    """Processes of a group that run; zombies, which a container without an init keeps, do not count."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # "pid (name) state ppid pgrp ..."; the name may hold spaces and brackets.
            state, _, process_group = stat.read_text(encoding="utf-8").rpartition(")")[2].split()[:3]
        except OSError:
            continue  # it ended meanwhile
        if int(process_group) == group and state != "Z":
            found.append(int(stat.parent.name))
    return sorted(found)


def file_of_process(pid: int, name: str) -> bytes:
    """What /proc tells of a process in a file; nothing where it has ended meanwhile or is another user's."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
