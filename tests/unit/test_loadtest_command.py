"""`python -m loadtest` as it is used: exit codes, the table, the JSON, and which addresses it takes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.__main__ import main
from loadtest.processes import cpu_s, listeners, spent_s
from tests.unit.loadtest_servers import live_service, triton
from tests.unit.stub_service import StubTriage, nobody_listening, serving

# However busy the machine is that runs the tests.
ANY_SPEED = ["--lateness-limit", "60000", "--lag-limit", "60000"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a.ulaw", "b.alaw"):
        (folder / name).write_bytes(bytes(range(1, 101)) * 16)  # 0.2 s
        (folder / name).with_suffix(".txt").write_text("여기 불이 났어요", encoding="utf-8")
    return folder


def live(address, clips, *arguments):
    short = ["--calls", "2", "--seconds", "0.5", "--hop", "0.25", "--message-ms", "50", "--drain", "5"]
    return main(["live", "--address", address, "--clips", str(clips), *short, *ANY_SPEED, *arguments])


def test_live_calls_that_are_carried_exit_with_0_and_leave_their_figures(clips, tmp_path, capsys):
    with live_service() as (address, _), triton() as (triton_address, metrics, _):
        code = live(
            *(address, clips, "--json", str(tmp_path / "out.json")),
            *("--triton", triton_address, "--triton-metrics", metrics),
            *("--pids", f"service={os.getpid()},triton={os.getpid()}"),
        )

    figures = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert code == 0, figures["result"]["shortcomings"]
    assert "2 live calls, 1 s of audio" in capsys.readouterr().out
    assert figures["result"]["statuses"] == {"OK": 2}
    assert figures["result"]["valid"]
    assert set(figures["servers"]["cpu_s"]) == {"service", "triton", "generator"}
    assert figures["server_cpu_ms_per_audio_s"] >= 0
    assert figures["versions"]["triton"] == "2.51.0"
    assert {"date", "commit", "machine", "options"} <= set(figures)


def test_live_calls_that_are_not_carried_exit_with_1(clips, capsys):
    with live_service() as (address, _):
        code = live(address, clips, "--model", "fail-RESOURCE_EXHAUSTED")

    assert code == 1
    assert "RESOURCE_EXHAUSTED 2" in capsys.readouterr().out


def test_a_search_goes_on_to_the_most_that_it_may_try(clips, tmp_path, capsys):
    with live_service() as (address, _):
        code = live(address, clips, "--find", "--most", "3", "--json", str(tmp_path / "out.json"))

    figures = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert code == 0, figures["ended_by"]
    assert figures["carried_calls"] == 3
    assert [step["result"]["calls"] for step in figures["steps"]] == [2, 3]
    assert "3 calls are carried" in capsys.readouterr().out


def test_figures_can_go_to_standard_output(clips):
    with serving(StubTriage()) as service:
        options = ["--address", service.address, "--clips", str(clips), "--rates", "20,40", "--seconds", "0.5"]
        done = subprocess.run(
            [sys.executable, "-m", "loadtest", "open", *options, *ANY_SPEED[:2], "--json", "-"],
            cwd=ROOT,
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=60,
        )

    assert done.returncode == 0, done.stderr
    assert [step["result"]["rate"] for step in json.loads(done.stdout)["steps"]] == [20, 40]
    assert "unary calls" in done.stderr


def test_recordings_that_are_not_there_are_wrong_usage(tmp_path, capsys):
    with nobody_listening() as address:
        assert live(address, tmp_path) == 2

    assert "no recordings in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("live --address 192.0.2.1:50051", "192.0.2.1:50051 is not this machine"),
        ("open --address triage.example:50051", "triage.example:50051 is not this machine"),
        ("live --triton 192.0.2.1:8001", "--triton 192.0.2.1:8001 is not this machine"),
        ("live --seconds 1 --hop 2", "less than one hop"),
        ("live --calls 0", "0 is not between 1 and"),
        ("live --message-ms 10", "10 is not between 20 and 500"),
        ("live --pids other=1", "'other=1' is not NAME=PID"),
        ("open --rate 0", "0 is not between"),
        ("open --rate nan", "nan is not between"),
        ("open --rates 20,x", "invalid"),
    ],
)
def test_wrong_arguments_end_with_2_and_say_why(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments.split())

    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_a_program_is_found_by_its_port_and_its_processor_time_only_grows():
    with live_service() as (address, _):
        pids = listeners(int(address.rpartition(":")[2]))
        before = cpu_s({"service": pids})
        sum(number * number for number in range(200_000))
        spent = spent_s(before, cpu_s({"service": pids}))

    assert pids == [os.getpid()]
    assert spent["service"] >= 0


def test_a_program_that_another_has_started_counts_for_itself_alone():
    busy = "import time\nwhile time.process_time() < 1: pass\nprint('done', flush=True)\ninput()"
    before = cpu_s({"generator": [os.getpid()]})
    with subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"done\n"
        together = cpu_s({"generator": [os.getpid()]})
        apart = cpu_s({"generator": [os.getpid()], "service": [child.pid]})
        child.communicate(b"\n")

    assert together["generator"] - before["generator"] >= 0.9
    assert apart["service"] >= 0.9
    assert apart["generator"] - before["generator"] < 0.5


def test_a_process_that_has_gone_has_spent_nothing_more():
    assert cpu_s({"service": [2**22 + 1]}) == {"service": 0}
