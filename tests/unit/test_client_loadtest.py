"""The load test against a real server, run as it is run: by Locust in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.clips import MOST_IN_MEMORY, Clip, load_clips, some
from tests.unit.loadtest_servers import UNWATCHED, live_service, triton
from tests.unit.stub_service import Service, StubTriage, nobody_listening, serving

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for name, text in (("a.alaw", "불이야"), ("b.ulaw", "문의가 있습니다")):
        (tmp_path / name).write_bytes(b"\xff" * 800)
        (tmp_path / name).with_suffix(".txt").write_text(text, encoding="utf-8")
    return tmp_path


def run_locust(
    address: str, clips: Path, *arguments: str, file: str = "locustfile.py"
) -> subprocess.CompletedProcess[str]:
    options = f"-f loadtest/{file} --headless -u 2 -r 2 -t 2s --host {address}".split()
    return subprocess.run(
        [sys.executable, "-m", "locust", *options, "--clips", str(clips), *arguments],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )


def requests_of(service: Service) -> set[tuple[int, str]]:
    return {(len(request.audio), request.transcript) for request in service.triage.requests}


def test_a_headless_run_sends_all_clips_and_exits_with_0(clips: Path) -> None:
    with serving() as service:
        done = run_locust(service.address, clips, "--model", "vgg16")

        assert done.returncode == 0, done.stderr
        assert "Classify" in done.stderr
        assert requests_of(service) == {(800, "불이야"), (800, "문의가 있습니다")}
        assert {request.model for request in service.triage.requests} == {"vgg16"}


def test_failures_are_counted_by_status_and_exit_with_1(clips: Path) -> None:
    with serving(StubTriage()) as service:
        done = run_locust(service.address, clips, "--model", "fail-RESOURCE_EXHAUSTED")

    assert done.returncode == 1, done.stderr
    assert "RESOURCE_EXHAUSTED" in done.stderr
    assert "100.00%" in done.stderr


def test_a_service_that_is_not_there_exits_with_1(clips: Path) -> None:
    with nobody_listening() as address:
        done = run_locust(address, clips)

    assert done.returncode == 1, done.stderr
    assert "UNAVAILABLE" in done.stderr


def test_without_recordings_the_run_does_not_start(tmp_path: Path) -> None:
    with nobody_listening() as address:
        done = run_locust(address, tmp_path)

    assert done.returncode == 2
    assert "no recordings in" in done.stderr


def run_live(address: str, clips: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_locust(address, clips, "--call-seconds", "0.5", "--hop", "0.25", *arguments, file="live_user.py")


def test_live_callers_report_the_lag_of_every_update(clips: Path) -> None:
    with live_service() as (address, triage):
        done = run_live(address, clips)

    assert done.returncode == 0, done.stderr
    assert "ClassifyStream update" in done.stderr
    heard = [sum(len(each.audio.audio) for each in messages) for messages in triage.streams.values()]
    assert max(heard) == 4000


def test_updates_that_no_model_stands_behind_fail_the_run(clips: Path) -> None:
    with live_service() as (address, _):
        done = run_live(address, clips, "--model", UNWATCHED)

    assert done.returncode == 1, done.stderr
    assert "DEGRADATION_NOT_MONITORED" in done.stderr


def test_refused_live_callers_are_counted_by_status(clips: Path) -> None:
    with live_service() as (address, _):
        done = run_live(address, clips, "--model", "fail-RESOURCE_EXHAUSTED")

    assert done.returncode == 1, done.stderr
    assert "RESOURCE_EXHAUSTED" in done.stderr


def test_triton_gets_the_tensors_that_the_service_makes(clips: Path) -> None:
    with serving() as service, triton() as (address, _, servicer):
        done = run_locust(service.address, clips, "--triton", address, file="triton_user.py")

    assert done.returncode == 0, done.stderr
    assert "ModelInfer" in done.stderr
    # The stub's one tensor holds the audio as it came.
    assert {each.raw_input_contents[0] for each in servicer.asked} == {b"\xff" * 800}
    assert {(each.model_name, each.inputs[0].name) for each in servicer.asked} == {("multimodal", "mel")}


def test_without_a_service_there_are_no_tensors_to_send(clips: Path) -> None:
    with nobody_listening() as address:
        done = run_locust(address, clips, file="triton_user.py")

    assert done.returncode == 2
    assert "ServiceUnavailable" in done.stderr


def test_a_large_corpus_is_sampled(tmp_path: Path) -> None:
    clips = [Clip(tmp_path / f"{number}.wav", "") for number in range(MOST_IN_MEMORY + 1)]

    assert len(set(some(clips))) == MOST_IN_MEMORY
    assert some(clips[:2]) == clips[:2]


def test_a_manifest_names_the_clips(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,label,text\nwav/a.wav,1,불이야\nwav/b.wav,0,\n", encoding="utf-8")

    assert load_clips(tmp_path) == [Clip(tmp_path / "wav/a.wav", "불이야"), Clip(tmp_path / "wav/b.wav", "")]


def test_a_manifest_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("file,text\na.wav,\n", encoding="utf-8")

    with pytest.raises(ValueError, match="lacks the column path"):
        load_clips(tmp_path)
