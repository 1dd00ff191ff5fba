"""Locust's load shapes, and its master with workers, run as they are run: in processes of their own."""

import csv
import itertools
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.user_counts import spike_users, step_users
from tests.unit.stub_service import nobody_listening, serving

ROOT = Path(__file__).parents[2]
SHAPED = "loadtest/locustfile.py,loadtest/shapes.py"
LIMIT_S = 120


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "a.ulaw").write_bytes(b"\xff" * 800)
    return folder


def start_locust(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "locust", "--headless", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8")


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    try:
        _, errors = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    return process.returncode, errors


def run_shaped(address: str, clips: Path, *arguments: str) -> tuple[int, str]:
    return ended(start_locust("-f", SHAPED, "--host", address, "--clips", str(clips), *arguments))


def user_counts(prefix: Path) -> list[int]:
    """How many users Locust counted, second by second, without repetitions."""
    with Path(f"{prefix}_stats_history.csv").open(encoding="utf-8", newline="") as stream:
        counts = [int(row["User Count"]) for row in csv.DictReader(stream) if row["Name"] == "Aggregated"]
    return [count for count, _ in itertools.groupby(counts)]


def test_steps_rise_from_the_first_number_of_users_to_the_last():
    moments = (0, 9.9, 10, 20, 30, 40, 49.9, 50)

    assert [step_users(at_s, 4, 20, 50) for at_s in moments] == [4, 4, 8, 12, 16, 20, 20, None]


def test_a_spike_stands_in_the_middle_third():
    moments = (0, 9.9, 10, 19.9, 20, 29.9, 30)

    assert [spike_users(at_s, 2, 9, 30) for at_s in moments] == [2, 2, 9, 9, 2, 2, None]


@pytest.mark.parametrize(("shape", "most"), [("step", [1, 2, 3, 4, 5]), ("spike", [1, 5, 1])])
def test_users_come_and_go_by_the_shape_and_the_run_ends_with_0(shape, most, clips, tmp_path):
    sizes = f"--shape {shape} --shape-users 1 --shape-peak 5 --shape-seconds 15".split()
    with serving() as service:
        code, errors = run_shaped(service.address, clips, *sizes, "--csv", str(tmp_path / "run"), "--csv-full-history")

    counts = [count for count in user_counts(tmp_path / "run") if count]
    assert code == 0, errors
    assert service.triage.requests
    assert _in_order(counts, most), counts


def _in_order(counts: list[int], most: list[int]) -> bool:
    """Whether these counts, in this order, are among those that were seen: Locust looks once a second."""
    seen = iter(counts)
    return all(each in seen for each in most)


def test_failures_under_a_shape_end_with_1(clips):
    with nobody_listening() as address:
        code, errors = run_shaped(address, clips, "--shape", "spike", "--shape-peak", "4", "--shape-seconds", "3")

    assert code == 1, errors
    assert "UNAVAILABLE" in errors


@pytest.mark.parametrize(
    "sizes", ["--shape-users 0", "--shape-users 5 --shape-peak 4", "--shape-seconds 0", "--shape-seconds nan"]
)
def test_sizes_that_are_no_shape_end_with_2(sizes, clips):
    with nobody_listening() as address:
        code, errors = run_shaped(address, clips, *sizes.split())

    assert code == 2, errors
    assert "--shape-users" in errors


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_distributed(address: str, clips: Path, *arguments: str) -> list[tuple[int, str]]:
    """A master and two workers on loopback: how each of them ended, the master first."""
    port = str(free_port())
    master = start_locust(
        *("-f", SHAPED, "--master", "--expect-workers", "2", "--master-bind-host", "127.0.0.1"),
        *("--master-bind-port", port, "--host", address, *arguments),
    )
    worker = ("-f", SHAPED, "--worker", "--master-host", "127.0.0.1", "--master-port", port, "--clips", str(clips))
    workers = [start_locust(*worker) for _ in range(2)]
    try:
        return [ended(process) for process in (master, *workers)]
    finally:
        for process in (master, *workers):
            process.kill()
            process.wait()


def test_two_workers_share_the_users_of_a_master_and_all_end_with_0(clips):
    sizes = ["--shape", "step", "--shape-users", "2", "--shape-peak", "6", "--shape-seconds", "8"]
    with serving() as service:
        (code, errors), *workers = run_distributed(service.address, clips, *sizes)

    assert code == 0, errors
    assert [each for each, _ in workers] == [0, 0], workers
    assert "6 Users" in errors or "(6 total users)" in errors, errors
    assert service.triage.requests


def test_failures_on_workers_end_the_master_with_1(clips):
    with nobody_listening() as address:
        (code, errors), *_ = run_distributed(address, clips, "--shape-peak", "4", "--shape-seconds", "4")

    assert code == 1, errors
    assert "UNAVAILABLE" in errors
