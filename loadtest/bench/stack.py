"""The servers that are measured, each started as it is deployed, on ports of its own."""

from __future__ import annotations

import os
import socket
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from client import TriageClient, TriageError
from deploy.serve import TRITON_HOST, TRITON_PYTHON, Failed, Programs
from loadtest.bench.limit import BENCH_PYTHON, ONE_THREAD
from loadtest.circumstances import ROOT
from loadtest.processes import listeners

PORTS: Final = range(51200, 51300)
_direct: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not reach this loopback


@dataclass(frozen=True)
class Stack:
    """Triton and the service."""

    address: str
    triton_address: str
    metrics_url: str

    @property
    def pids(self) -> dict[str, list[int]]:
        """Their processes; with those below them they are all there is."""
        return {"service": _programs(self.address), "triton": _programs(self.triton_address)}


class Ports:
    """Takes ports of PORTS one after the other, those that are free."""

    def __init__(self) -> None:
        self._left = iter(PORTS)

    def take(self) -> int:
        """Raises Failed where none is left."""
        for port in self._left:
            with socket.socket() as probe:
                try:
                    probe.bind((TRITON_HOST, port))
                except OSError:
                    continue
                return port
        raise Failed(f"no port of {PORTS.start} to {PORTS.stop - 1} is free")


def start_stack(programs: Programs, ports: Ports, name: str, repository: Path, models: Sequence[str]) -> Stack:
    """Starts Triton and the service on a repository and waits until both are ready; settings from the environment
    (WIGEUP_*) hold, but for those that say where things are. Raises Failed."""
    grpc_port, http_port, metrics_port, port = (ports.take() for _ in range(4))
    triton = f"{name}-triton"
    programs.start(
        triton,
        *(str(TRITON_PYTHON), str(ROOT / "deploy/triton/launch.py"), "--host", TRITON_HOST),
        *("--model-repository", str(repository), "--model-control-mode", "explicit"),
        *("--grpc-port", str(grpc_port), "--http-port", str(http_port), "--metrics-port", str(metrics_port)),
    )
    programs.wait(triton, lambda: _answers(f"http://{TRITON_HOST}:{http_port}/v2/health/ready"))
    stack = Stack(f"{TRITON_HOST}:{port}", f"{TRITON_HOST}:{grpc_port}", f"http://{TRITON_HOST}:{metrics_port}/metrics")
    settings = {
        "HOST": TRITON_HOST,
        "PORT": port,
        "TRITON_ADDRESS": stack.triton_address,
        "MODEL_REPOSITORY": repository,
        "LOADED_MODELS": ",".join(models),
        "DEFAULT_MODEL": models[0],
    }
    service = f"{name}-service"
    given = [f"WIGEUP_{key}={value}" for key, value in settings.items()]
    programs.start(service, "env", *given, sys.executable, "-m", "preprocess_service")
    programs.wait(service, lambda: _serves(stack.address))
    return stack


@dataclass(frozen=True)
class Plain:
    """The plain service."""

    address: str

    @property
    def pids(self) -> dict[str, list[int]]:
        return {"plain": _programs(self.address)}


def start_plain(programs: Programs, ports: Ports, version_folder: Path, workers: int) -> Plain:
    """Starts the plain service on a version of `multimodal`; raises Failed. Not yet ready: `wait_for_plain`."""
    address = f"{TRITON_HOST}:{ports.take()}"
    host, _, port = address.rpartition(":")
    given = [f"{key}={value}" for key, value in {**ONE_THREAD, "BENCH_MODEL": version_folder}.items()]
    programs.start(
        "plain",
        *("env", *given, str(BENCH_PYTHON), "-m", "uvicorn", "loadtest.bench.plain_service:app"),
        *("--host", host, "--port", port, "--workers", str(workers), "--log-level", "warning", "--no-access-log"),
    )
    return Plain(address)


def wait_for_plain(programs: Programs, plain: Plain) -> None:
    """Raises Failed where it does not come up."""
    programs.wait("plain", lambda: _answers(f"http://{plain.address}/health"))


def _answers(url: str) -> bool:
    try:
        with _direct.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _serves(address: str) -> bool:
    with TriageClient(address) as triage:
        try:
            return bool(triage.health().serving)
        except TriageError:
            return False


def _programs(address: str) -> list[int]:
    """The program that listens there, as it was started here: of processes that share a socket only one shows."""
    found = set()
    for pid in listeners(int(address.rpartition(":")[2])):
        process = psutil.Process(pid)
        while (parent := process.parent()) is not None and parent.pid != os.getpid():
            process = parent
        found.add(process.pid)
    return sorted(found)


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))
