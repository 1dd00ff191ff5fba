"""`make serve`: Triton and the service on this machine, one sample call classified; both end together.

Both are separate programs with environments of their own, as in production; this script only starts and stops them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final

from client import TriageClient, TriageError
from training.manifest import Clip, read_manifest

ROOT: Final = Path(__file__).resolve().parent.parent
TRITON_PYTHON: Final = ROOT / ".venv-triton/bin/python"
DATA: Final = ROOT / "data/synthetic"
LOGS: Final = ROOT / "build/logs"
LOG_TAIL_LINES: Final = 15
READY_LIMIT_S: Final = 180.0
STOP_LIMIT_S: Final = 20.0
TRITON_HTTP: Final = "http://127.0.0.1:8000/v2/health/ready"


class Failed(Exception):
    """A program ended or was not ready in time."""


class Programs:
    """The programs that run, in order of start; they are ended in reverse."""

    def __init__(self) -> None:
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, name: str, *command: str) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        with (LOGS / f"{name}.log").open("wb") as log:
            # A process group of its own: Ctrl-C reaches only this script, which then stops all in order.
            process = subprocess.Popen(command, cwd=ROOT, process_group=0, stdout=log, stderr=log)
        self._running.append((name, process))

    def check(self) -> None:
        """Raises Failed, with the end of its log, where a program has ended."""
        for name, process in self._running:
            if process.poll() is not None:
                lines = (LOGS / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
                tail = "\n".join(lines[-LOG_TAIL_LINES:])
                raise Failed(f"{name} ended with exit code {process.returncode}; its log ends:\n{tail}")

    def stop(self) -> None:
        for _, process in reversed(self._running):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP_LIMIT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def main() -> int:
    """Runs until Ctrl-C or SIGTERM (0), or until a program fails (1)."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    programs = Programs()
    try:
        repository = str(ROOT / "model_repository")
        launcher = str(ROOT / "deploy/triton/launch.py")
        programs.start("triton", str(TRITON_PYTHON), launcher, "--model-repository", repository)
        _wait(programs, "triton", _triton_is_ready)
        programs.start("service", sys.executable, "-m", "preprocess_service")
        _wait(programs, "service", _service_is_ready)
        _classify_sample()
        while True:
            programs.check()
            time.sleep(0.5)
    except KeyboardInterrupt:
        return 0
    except (Failed, TriageError) as error:
        print(f"make serve: {error}", file=sys.stderr)
        return 1
    finally:
        programs.stop()


def _wait(programs: Programs, name: str, is_ready: Callable[[], bool]) -> None:
    print(f"starting {name}; its log is {(LOGS / name).relative_to(ROOT)}.log", flush=True)
    until = time.monotonic() + READY_LIMIT_S
    while not is_ready():
        programs.check()
        if time.monotonic() > until:
            raise Failed(f"{name} was not ready within {READY_LIMIT_S:.0f} s")
        time.sleep(0.2)


def _triton_is_ready() -> bool:
    try:
        with urllib.request.urlopen(TRITON_HTTP, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _service_is_ready() -> bool:
    with TriageClient() as triage:
        try:
            return bool(triage.health().serving)
        except TriageError:
            return False


def _classify_sample() -> None:
    clip = _sample()
    recording = DATA / clip.path
    command = ["classify", str(recording.relative_to(ROOT)), "--transcript", clip.text]
    print(f"\n$ wigeup {' '.join(command[:2])} --transcript '{clip.text}'", flush=True)
    subprocess.run([sys.executable, "-m", "client", *command], cwd=ROOT, check=True)
    print("\nThe service listens on 127.0.0.1:50051 until Ctrl-C; try `.venv/bin/wigeup --help`.", flush=True)


def _sample() -> Clip:
    """A call for help of the test split, which no model was trained on."""
    clips = read_manifest(DATA / "manifest.csv")
    return next(clip for clip in clips if clip.split == "test" and clip.label == "emergency")


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
