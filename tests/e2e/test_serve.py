"""`deploy/serve.py`, run as `make serve` runs it, on ports of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tests.hearing import hearing
from tests.triton_process import HOST, REPOSITORY_ROOT, file_of_process, free_ports, wait_until

LIMIT_S = 240.0
NOWHERE = "http://127.0.0.1:9"  # a proxy that nobody runs


class Serve:
    """One run of the script with its output; `settings` are WIGEUP_ variables without the prefix."""

    def __init__(self, logs: Path, **settings: str) -> None:
        self.logs = logs
        self.http, self.grpc, self.metrics, self.service = free_ports(4)
        self._settings = {"PORT": str(self.service), "TRITON_ADDRESS": f"{HOST}:{self.grpc}", **settings}
        self._written: list[str] = []

    def start(self) -> Serve:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WIGEUP_")}
        proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "grpc_proxy"), NOWHERE)
        self.process = subprocess.Popen(
            hearing([sys.executable, "deploy/serve.py", *self._options()]),
            cwd=REPOSITORY_ROOT,
            env=kept | proxies | {f"WIGEUP_{name}": value for name, value in self._settings.items()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def wait(self) -> int:
        """Exit code, once all that it has written is read."""
        code = self.process.wait(LIMIT_S)
        self._reader.join(LIMIT_S)
        return code

    def output(self) -> str:
        return "".join(self._written)

    def listens(self) -> bool:
        return f"listens on {HOST}:{self.service}" in self.output()

    def programs(self) -> list[int]:
        """Processes of this run that live, the stubs of Triton too: all have its port in their environment."""
        mark = f"WIGEUP_PORT={self._settings['PORT']}\0".encode()
        running = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
        return [pid for pid in running if mark in file_of_process(pid, "environ")]

    def niceness(self) -> dict[str, int]:
        """By how much each program lets others go first, beyond the tests themselves."""
        programs = [psutil.Process(pid) for pid in self.programs()]
        return {each.name(): each.nice() - psutil.Process().nice() for each in programs}

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.wait()

    def _options(self) -> list[str]:
        ports = ["--triton-http-port", str(self.http), "--triton-metrics-port", str(self.metrics)]
        return [*ports, "--logs", str(self.logs)]

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self._written.extend(lines)


@pytest.fixture
def serve(tmp_path, request) -> Iterator[Serve]:
    """A run that listens; by itself it loads the default model only, which costs least."""
    running = Serve(tmp_path / "logs", **getattr(request, "param", {"LOADED_MODELS": ""})).start()
    try:
        assert wait_until(lambda: running.listens() or running.process.poll() is not None, LIMIT_S), running.output()
        assert running.listens(), running.output()
        yield running
    finally:
        running.end()


@pytest.mark.parametrize(
    ("serve", "name"),
    [({}, "SIGTERM"), ({"LOADED_MODELS": ""}, "SIGHUP"), ({"LOADED_MODELS": ""}, "SIGINT")],
    indirect=["serve"],
)
def test_classifies_a_sample_and_ends_with_everything_it_started(serve, name):
    assert "wigeup classify data/synthetic/" in serve.output()
    assert "EMERGENCY" in serve.output().upper()
    assert len(serve.programs()) >= 3  # itself, Triton, the service
    assert serve.niceness() == {"tritonserver": 10, "triton_python_backend_stub": 10, "python": 0}

    serve.process.send_signal(signal.Signals[name])
    serve.process.send_signal(signal.SIGINT)  # impatience changes nothing

    assert serve.wait() == 0
    assert serve.programs() == []


def test_a_second_run_leaves_the_first_alone(serve, tmp_path):
    logs = {path: path.read_bytes() for path in sorted(serve.logs.iterdir())}
    second = Serve(serve.logs, PORT=str(serve.service)).start()

    assert second.wait() == 1
    assert f"port {serve.service} on {HOST} (the service" in second.output()
    assert "it must be free" in second.output()
    assert "starting" not in second.output()
    assert all(path.read_bytes().startswith(written) for path, written in logs.items())
    assert serve.process.poll() is None


def test_killed_it_leaves_nothing_behind(serve):
    serve.process.kill()

    assert wait_until(lambda: not serve.programs(), LIMIT_S), serve.programs()


@pytest.mark.parametrize("use", ["http", "grpc", "metrics"])
def test_a_taken_port_is_named_before_anything_starts(tmp_path, use):
    refused = Serve(tmp_path / "logs")
    with socket.create_server((HOST, getattr(refused, use))):
        assert refused.start().wait() == 1

    assert f"port {getattr(refused, use)} on {HOST} (Triton's" in refused.output()
    assert "Traceback" not in refused.output()
    assert not refused.logs.exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"PORT": "many"}, "port"),
        ({"PORT": "0"}, "WIGEUP_PORT=0"),
        ({"PROT": "1"}, "WIGEUP_PROT"),
        ({"TRITON_ADDRESS": "triton:8001"}, "WIGEUP_TRITON_ADDRESS=triton:8001"),
        ({"HOST": "192.0.2.1"}, "192.0.2.1"),
    ],
    ids=["no number", "any port", "unknown", "elsewhere", "not ours"],
)
def test_a_setting_that_cannot_be_is_named(tmp_path, settings, said):
    refused = Serve(tmp_path / "logs", **settings).start()

    assert refused.wait() == 1
    assert said in refused.output()
    assert "Traceback" not in refused.output()
    assert not refused.logs.exists()


def test_a_sample_call_that_fails_ends_it_with_a_message(tmp_path):
    failing = Serve(tmp_path / "logs", MAX_AUDIO_S="0.001", LOADED_MODELS="").start()

    assert failing.wait() == 1, failing.output()
    assert "make serve: the sample call failed with exit code 1" in failing.output()
    assert "Traceback" not in failing.output()
    assert failing.programs() == []
