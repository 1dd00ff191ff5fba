"""Triton and the service, started on free ports for a measurement and ended after it, by `deploy/serve.py`."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from loadtest.circumstances import ROOT
from loadtest.servers import Servers

HOST: Final = "127.0.0.1"
LISTENS: Final = "The service listens on"  # what the script says once a sample call was answered
READY_LIMIT_S: Final = 420.0
STOP_LIMIT_S: Final = 60.0
LOG_TAIL_LINES: Final = 15


class StartFailed(Exception):
    """Triton or the service did not come up; the message carries the end of the log."""


@contextlib.contextmanager
def started(logs: Path) -> Iterator[Servers]:
    """Both servers, up and with a sample call answered, until the block ends; raises StartFailed."""
    service, triton, http, metrics = _free_ports(4)
    environment = os.environ | {"WIGEUP_HOST": HOST, "WIGEUP_PORT": str(service)}
    environment |= {"WIGEUP_TRITON_ADDRESS": f"{HOST}:{triton}"}
    ports = ["--triton-http-port", str(http), "--triton-metrics-port", str(metrics), "--logs", str(logs)]
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / "serve.log"
    with log.open("wb") as stream:
        command = [sys.executable, "-u", str(ROOT / "deploy/serve.py"), *ports]
        # A group of its own: Ctrl-C reaches this process alone, which then ends the script in order.
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            process_group=0,
        )
    try:
        _wait(process, log)
        yield Servers(f"{HOST}:{service}", f"{HOST}:{triton}", f"http://{HOST}:{metrics}/metrics")
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_LIMIT_S)
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_LIMIT_S
    while LISTENS not in (text := log.read_text(encoding="utf-8", errors="replace")):
        tail = "\n".join(text.splitlines()[-LOG_TAIL_LINES:])
        if process.poll() is not None:
            raise StartFailed(f"deploy/serve.py ended with exit code {process.returncode}:\n{tail}")
        if time.monotonic() > until:
            raise StartFailed(f"nothing was ready within {READY_LIMIT_S:g} s; {log} ends:\n{tail}")
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    """Distinct ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in sockets]
