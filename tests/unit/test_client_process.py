"""The command `wigeup` as a process: its streams, signals and locale."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hearing import hearing
from tests.unit.stub_service import HANGING_MODEL, Service, nobody_listening, serving


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with serving() as running:
        monkeypatch.setenv("WIGEUP_ADDRESS", running.address)
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings with a Hangul name."""
    for number in range(3):
        (tmp_path / f"신고-{number}.wav").write_bytes(b"RIFF")
    return tmp_path


def run_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "client", *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, **environment},
    )


def test_runs_as_a_process_of_its_own(service: Service, folder: Path) -> None:
    done = run_command("classify", str(folder / "신고-0.wav"), "--json", "--address", service.address)

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["file"].endswith("신고-0.wav")


def test_json_is_utf_8_in_any_locale(service: Service, folder: Path) -> None:
    done = run_command("classify", str(folder / "신고-0.wav"), "--json", PYTHONIOENCODING="ascii", LC_ALL="C")

    assert service.triage.requests
    assert done.returncode == 0
    assert json.loads(done.stdout)["file"].endswith("신고-0.wav")


def test_a_proxy_in_the_environment_does_not_stand_before_loopback(service: Service) -> None:
    with nobody_listening() as proxy:
        done = run_command("health", "--address", service.address, http_proxy=f"http://{proxy}", no_proxy="")

    assert (done.returncode, done.stderr) == (0, "")


def test_progress_goes_to_a_terminal_s_standard_error(service: Service, folder: Path) -> None:
    done = run_command("classify", str(folder), "--json", "--address", service.address, FORCE_COLOR="1")

    assert done.returncode == 0
    assert "3/3" in done.stderr
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 3


def test_interrupt_is_clean(service: Service, folder: Path) -> None:
    clip = str(folder / "신고-0.wav")
    process = subprocess.Popen(
        hearing(
            [sys.executable, "-m", "client", "classify", clip, "--model", HANGING_MODEL, "--address", service.address]
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert service.triage.asked.wait(timeout=60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert (process.returncode, out, err) == (130, "", "wigeup: interrupted\n")


def test_a_closed_pipe_is_no_traceback(service: Service, folder: Path) -> None:
    command = [sys.executable, "-m", "client", "classify", str(folder), "--json", "--address", service.address]
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    _, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (1, "")
