"""Models that answer only when a test lets them, so that nothing depends on how fast the machine is meanwhile."""

from __future__ import annotations

import os
import re
import signal
import urllib.request
from pathlib import Path
from types import TracebackType

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from tests.triton_process import HOST, TritonProcess, file_of_process, wait_until

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not reach this loopback


def have_one_instance(repository: Path, name: str) -> None:
    """Has Triton run one batch of the model at a time: a recording of more than one batch then waits in its queue."""
    path = repository / name / "configs/cpu.pbtxt"
    config = text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    (group,) = config.instance_group
    group.count = 1
    path.write_text(text_format.MessageToString(config), encoding="utf-8")


class Frozen:
    """Stops the processes that run one model in Triton, or will once it is loaded; a context manager that lets them go
    on at its end."""

    def __init__(self, triton: TritonProcess, model: str) -> None:
        self._triton, self._model = triton, model
        self._stopped: list[int] = []

    def has_waiting_requests(self, count: int = 1) -> bool:
        """Whether Triton holds so many requests back because the model is at work on another."""
        url = f"http://{HOST}:{self._triton.metrics_port}/metrics"
        with _direct.open(url, timeout=30) as answer:
            pattern = rf'^nv_inference_pending_request_count{{model="{self._model}",.*}} (\d+)$'
            counts = re.findall(pattern, answer.read().decode(), re.MULTILINE)
        return sum(map(int, counts)) >= count

    def __enter__(self) -> Frozen:
        if not wait_until(lambda: bool(self._processes()), 60, 0.005):
            raise TimeoutError(f"Triton has no process that runs {self._model}")
        self._stopped = self._processes()
        for process in self._stopped:
            os.kill(process, signal.SIGSTOP)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._stopped:
            os.kill(process, signal.SIGCONT)

    def _processes(self) -> list[int]:
        """Those whose command line names a file of the model."""
        mark = f"{self._triton.model_repository / self._model}/".encode()
        return [each for each in self._triton.processes() if mark in file_of_process(each, "cmdline")]
