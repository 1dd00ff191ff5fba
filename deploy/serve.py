"""`make serve`: Triton and the service on this machine, one sample call classified; both end together.

Both are separate programs with environments of their own, as in production; this script only starts and stops them.
Where they listen is what the service's settings (WIGEUP_*) say.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from client import TriageClient, TriageError
from preprocess_service.settings import Settings, read_settings
from training.manifest import Clip, read_manifest

ROOT: Final = Path(__file__).resolve().parent.parent
TRITON_PYTHON: Final = ROOT / ".venv-triton/bin/python"
DATA: Final = ROOT / "data/synthetic"
LOG_TAIL_LINES: Final = 15
READY_LIMIT_S: Final = 180.0
STOP_LIMIT_S: Final = 20.0
TRITON_HOST: Final = "127.0.0.1"
TRITON_HOSTS: Final = frozenset({TRITON_HOST, "localhost"})
LOOPBACK_OF: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_prctl: Final = ctypes.CDLL(None, use_errno=True).prctl  # found now: little may be done between fork and exec
_direct: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not reach this loopback


class Failed(Exception):
    """A program cannot be started, ended or was not ready in time."""


@dataclass(frozen=True)
class Port:
    """A port that a program is going to listen on, and what chooses it."""

    use: str
    chosen_by: str
    host: str
    number: int

    def __str__(self) -> str:
        return f"port {self.number} on {self.host} ({self.use}, {self.chosen_by})"


@dataclass(frozen=True)
class Plan:
    """Where everything listens."""

    http: Port
    grpc: Port
    metrics: Port
    service: Port
    model_repository: Path

    @property
    def address(self) -> str:
        """Where clients on this machine find the service."""
        host = LOOPBACK_OF.get(self.service.host, self.service.host)
        return f"[{host}]:{self.service.number}" if ":" in host else f"{host}:{self.service.number}"


class Programs:
    """The programs that run, in order of start; they are ended in reverse."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, name: str, *command: str) -> None:
        print(f"starting {name}; its log is {_short(self._log(name))}", flush=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        supervisor = os.getpid()
        with self._log(name).open("wb") as log:
            # A process group of its own: Ctrl-C reaches only this script, which then stops all in order.
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                process_group=0,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: _end_with(supervisor),
            )
        self._running.append((name, process))

    def check(self) -> None:
        """Raises Failed, with the end of its log, where a program has ended."""
        for name, process in self._running:
            if process.poll() is not None:
                lines = self._log(name).read_text(encoding="utf-8", errors="replace").splitlines()
                tail = "\n".join(lines[-LOG_TAIL_LINES:])
                raise Failed(f"{name} ended with exit code {process.returncode}; its log ends:\n{tail}")

    def wait(self, name: str, is_ready: Callable[[], bool]) -> None:
        """Returns when it is ready; raises Failed where a program ends before, or after READY_LIMIT_S."""
        until = time.monotonic() + READY_LIMIT_S
        while not self._is_own(is_ready):
            if time.monotonic() > until:
                raise Failed(f"{name} was not ready within {READY_LIMIT_S:.0f} s; see {_short(self._log(name))}")
            time.sleep(0.2)

    def stop(self) -> None:
        for _, process in reversed(self._running):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_LIMIT_S)
            with contextlib.suppress(ProcessLookupError):  # what is left of its group: none, or a program that hangs
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _is_own(self, is_ready: Callable[[], bool]) -> bool:
        # Before and after: a yes counts only while the programs that could have said it run.
        self.check()
        ready = is_ready()
        self.check()
        return ready

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until Ctrl-C, SIGTERM or SIGHUP (0), or until something fails (1)."""
    options = _parse(arguments)
    for each in STOP_SIGNALS:
        if signal.getsignal(each) is not signal.SIG_IGN:  # nohup stays in force
            signal.signal(each, _end)
    programs = Programs(options.logs.resolve())
    try:
        try:
            _serve(programs, _plan(options))
        finally:
            _ignore_stop_signals()
    except (Failed, TriageError) as error:
        print(f"make serve: {error}", file=sys.stderr)
        return 1
    finally:
        programs.stop()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="serve.py", description=__doc__)
    parser.add_argument("--triton-http-port", type=int, default=8000, metavar="PORT", help="default: %(default)s")
    parser.add_argument("--triton-metrics-port", type=int, default=8002, metavar="PORT", help="default: %(default)s")
    parser.add_argument("--logs", type=Path, default=ROOT / "build/logs", metavar="FOLDER", help="default: build/logs")
    return parser.parse_args(arguments)


def _end(*_: object) -> NoReturn:
    _ignore_stop_signals()  # a second Ctrl-C must not leave programs behind
    sys.exit(0)


def _ignore_stop_signals() -> None:
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)


def _end_with(supervisor: int) -> None:
    """In a new child: has the kernel end it when this script dies, however that comes about."""
    _prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != supervisor:  # it died before that
        os._exit(1)


def _serve(programs: Programs, plan: Plan) -> NoReturn:
    _check_ports((plan.http, plan.grpc, plan.metrics, plan.service))
    programs.start("triton", *_triton_command(plan))
    programs.wait("triton", lambda: _triton_is_ready(plan))
    programs.start("service", sys.executable, "-m", "preprocess_service")
    programs.wait("service", lambda: _service_is_ready(plan))
    _classify_sample(plan)
    while True:
        programs.check()
        time.sleep(0.5)


def _plan(options: argparse.Namespace) -> Plan:
    """Raises Failed for a setting that is wrong or that this script cannot serve."""
    try:
        settings = read_settings()
    except ValueError as error:
        raise Failed(str(error)) from error
    if settings.port == 0:
        raise Failed("WIGEUP_PORT=0; it must be a fixed port here, so that the sample call finds the service")
    if settings.tls_certificate is not None:
        raise Failed("WIGEUP_TLS_CERTIFICATE is set; the sample call of this script speaks no TLS: unset it")
    return Plan(
        http=Port("Triton's HTTP", "serve.py --triton-http-port", TRITON_HOST, options.triton_http_port),
        grpc=Port("Triton's gRPC", "WIGEUP_TRITON_ADDRESS", TRITON_HOST, _triton_grpc_port(settings)),
        metrics=Port("Triton's metrics", "serve.py --triton-metrics-port", TRITON_HOST, options.triton_metrics_port),
        service=Port("the service", "WIGEUP_HOST and WIGEUP_PORT", settings.host, settings.port),
        model_repository=settings.model_repository,
    )


def _triton_grpc_port(settings: Settings) -> int:
    host, _, port = settings.triton_address.rpartition(":")
    if host not in TRITON_HOSTS or not port.isdecimal():
        rule = f"this script starts Triton on this machine, so it must be {TRITON_HOST}:PORT"
        raise Failed(f"WIGEUP_TRITON_ADDRESS={settings.triton_address}; {rule}")
    return int(port)


def _check_ports(ports: Sequence[Port]) -> None:
    """Raises Failed for the first that is taken: whoever listens there would be taken for a program of ours."""
    seen: dict[int, Port] = {}
    for port in ports:
        if not 1 <= port.number <= 65535:
            raise Failed(f"{port}: a port is 1 to 65535")
        if port.number in seen:
            raise Failed(f"{port} is also {seen[port.number]}; they must differ")
        seen[port.number] = port
        _check_free(port)


def _check_free(port: Port) -> None:
    try:
        found = socket.getaddrinfo(port.host or None, port.number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no occupant
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        raise Failed(f"{port}: {error.strerror}; it must be free, and nothing was started") from error


def _triton_command(plan: Plan) -> list[str]:
    return [
        *(str(TRITON_PYTHON), str(ROOT / "deploy/triton/launch.py"), "--host", TRITON_HOST),
        # explicit: the service has the models loaded that it needs, and new versions of them without a restart
        *("--model-repository", str(plan.model_repository), "--model-control-mode", "explicit"),
        *("--http-port", str(plan.http.number)),
        *("--grpc-port", str(plan.grpc.number), "--metrics-port", str(plan.metrics.number)),
    ]


def _triton_is_ready(plan: Plan) -> bool:
    try:
        with _direct.open(f"http://{plan.http.host}:{plan.http.number}/v2/health/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _service_is_ready(plan: Plan) -> bool:
    with TriageClient(plan.address) as triage:
        try:
            return bool(triage.health().serving)
        except TriageError:
            return False


def _classify_sample(plan: Plan) -> None:
    clip = _sample()
    recording = str((DATA / clip.path).relative_to(ROOT))
    options = ["--address", plan.address, "--transcript", clip.text]
    print(f"\n$ wigeup classify {recording} --address {plan.address} --transcript '{clip.text}'", flush=True)
    done = subprocess.run([sys.executable, "-m", "client", "classify", recording, *options], cwd=ROOT, check=False)
    if done.returncode != 0:
        raise Failed(f"the sample call failed with exit code {done.returncode}; its message stands above")
    print(f"\nThe service listens on {plan.address} until Ctrl-C; try `.venv/bin/wigeup --help`.", flush=True)


def _sample() -> Clip:
    """A call for help of the test split, which no model was trained on."""
    clips = read_manifest(DATA / "manifest.csv")
    return next(clip for clip in clips if clip.split == "test" and clip.label == "emergency")


def _short(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
