"""`wigeup stream` on recordings, pipes and a service that fails, and the parsers of `wigeup bridge`."""

import asyncio
import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from client import AudioFormat, CallSummary, CallUpdate, ModelNotFound, Transcript, TriageClient
from client.__main__ import main
from client.command.arguments import PROTOCOLS
from client.command.live_view import DEGRADATION_WORDS, Screen, degradation_words, graph, state_of
from client.command.spoken import spread
from client.live.replies import call_summary, call_update
from preprocess_service.proto.wigeup.v1 import triage_pb2
from tests.unit.live_stub import LiveService, LiveStub, live_service
from tests.unit.recordings import speech_like, wav_header
from tests.unit.stub_service import nobody_listening

Captured = pytest.CaptureFixture[str]
SUMMARY_KEYS = {"event", "call_id", "audio_s", "timeline", "alerted"}


@pytest.fixture
def triage(monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveStub]:
    """A service in a thread of its own: the command has the main one."""
    ready, over = threading.Event(), asyncio.Event()
    running: list[LiveService] = []
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with live_service() as service:
            running.append(service)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait()
    monkeypatch.setenv("WIGEUP_ADDRESS", running[0].address)
    yield running[0].triage
    loop.call_soon_threadsafe(over.set)
    thread.join()
    loop.close()


@pytest.fixture
def clip(tmp_path: Path) -> str:
    path = tmp_path / "call.wav"
    soundfile.write(path, speech_like(2.5, 16000), 16000, subtype="PCM_16")
    return str(path)


def heard(triage: LiveStub) -> bytes:
    return bytes(triage.streams[-1].heard)


def json_lines(captured: Captured) -> list[dict[str, object]]:
    return [json.loads(line) for line in captured.readouterr().out.splitlines()]


def test_a_recording_becomes_lines_and_a_summary(triage: LiveStub, clip: str, capsys: Captured) -> None:
    assert main(["stream", clip, "--speed", "0", "--transcript", "불이 났어요"]) == 0

    out = capsys.readouterr().out
    assert "   1.00 s   " in out
    assert "ALERT   probability 0." in out
    assert "monitored: a model answers" in out
    assert "1 alert   strongest probability" in out
    assert "3 updates, 0 hops skipped" in out


def test_json_is_an_object_an_update_and_one_summary(triage: LiveStub, clip: str, capsys: Captured) -> None:
    assert main(["stream", clip, "--speed", "0", "--json", "--call-id", "c-9", "--hop", "0.5"]) == 0

    lines = json_lines(capsys)
    updates = [line for line in lines if line["event"] == "update"]
    assert [line["number"] for line in updates] == [1, 2, 3, 4, 5]
    assert updates[0]["caller"]["degradations"] == ["no_transcript"]  # type: ignore[index]
    assert set(lines[-1]) >= SUMMARY_KEYS
    assert (lines[-1]["event"], lines[-1]["call_id"], lines[-1]["audio_s"]) == ("summary", "c-9", 2.5)


def test_a_pcm_wav_file_goes_as_it_is(triage: LiveStub, clip: str) -> None:
    main(["stream", clip, "--speed", "0", "--model", "cnn", "--model-version", "2", "--urgent"])

    samples, _ = soundfile.read(clip, dtype="int16")
    assert heard(triage) == samples.tobytes()
    (config,) = triage.configs
    assert (config.model, config.model_version, config.priority) == ("cnn", "2", triage_pb2.PRIORITY_URGENT)


@pytest.mark.parametrize(
    ("tag", "encoding"), [(7, triage_pb2.AUDIO_ENCODING_MULAW), (6, triage_pb2.AUDIO_ENCODING_ALAW)]
)
def test_a_g711_wav_file_goes_as_it_is(
    triage: LiveStub, tmp_path: Path, tag: int, encoding: triage_pb2.AudioEncoding.ValueType
) -> None:
    audio = np.random.default_rng(1).integers(0, 256, 16001, dtype=np.uint8).tobytes()
    path = tmp_path / "call.wav"
    header = wav_header(channels=2, bits=8, data_bytes=len(audio), tag=tag)
    extra = b"LIST" + struct.pack("<I", 3) + b"abc\0"  # a chunk of odd length has a byte behind it
    path.write_bytes(header[:12] + extra + header[12:] + audio)

    assert main(["stream", str(path), "--speed", "0"]) == 0

    assert heard(triage) == audio[:16000]
    assert triage.configs[0].format == triage_pb2.AudioFormat(encoding=encoding, sample_rate_hz=8000, channels=2)


@pytest.mark.parametrize(("suffix", "subtype"), [("wav", "PCM_24"), ("flac", "PCM_16"), ("ogg", "VORBIS")])
def test_other_recordings_are_decoded(triage: LiveStub, tmp_path: Path, suffix: str, subtype: str) -> None:
    path = tmp_path / f"call.{suffix}"
    soundfile.write(path, speech_like(1.25, 22050), 22050, subtype=subtype)

    assert main(["stream", str(path), "--speed", "0"]) == 0

    assert triage.configs[0].format.sample_rate_hz == 22050
    assert len(heard(triage)) == 2 * soundfile.info(path).frames


def test_words_come_when_they_are_spoken(triage: LiveStub, clip: str) -> None:
    Path(clip).with_suffix(".txt").write_text("여보세요. 집에 불이 났어요! 빨리요", encoding="utf-8")

    assert main(["stream", clip, "--speed", "0", "--sidecar-transcripts"]) == 0

    said = [m.transcript for m in triage.messages if m.HasField("transcript")]
    assert [t.text for t in said] == ["여보세요.", "집에 불이 났어요!", "빨리요"]
    assert all(t.is_final for t in said)
    assert said[0].end_s == said[1].start_s
    assert said[-1].end_s == pytest.approx(2.5)
    before = triage.messages[: triage.messages.index(triage_pb2.StreamRequest(transcript=said[0]))]
    assert sum(len(m.audio.audio) for m in before) / 32000 == pytest.approx(said[0].end_s, abs=0.2)


def test_standard_input_is_a_call_that_sets_its_own_pace(
    triage: LiveStub, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    audio = bytes(range(256)) * 63 + b"\x01"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(audio)))

    assert main(["stream", "-", "--encoding", "pcm16", "--rate", "8000", "--json"]) == 0

    assert json_lines(capsys)[-1]["audio_s"] == len(audio) // 2 / 8000
    assert heard(triage) == audio[:-1]


def test_an_interrupt_ends_the_call_with_its_summary(triage: LiveStub, tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    command = [sys.executable, "-m", "client", "stream", "-", "--encoding", "mulaw", "--json"]
    with subprocess.Popen(command, stdin=read_end, stdout=subprocess.PIPE, text=True) as process:
        os.close(read_end)
        os.write(write_end, b"\x55" * 9000)
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline())]
        process.send_signal(signal.SIGINT)
        lines += [json.loads(line) for line in process.stdout]
        code = process.wait(30)
    os.close(write_end)

    assert code == 0
    assert (lines[-1]["event"], lines[-1]["audio_s"]) == ("summary", 1.125)


def test_a_refused_call_is_an_error(triage: LiveStub, clip: str, capsys: Captured) -> None:
    assert main(["stream", clip, "--model", "fail-NOT_FOUND", "--json"]) == 1

    captured = capsys.readouterr()
    assert json.loads(captured.out.splitlines()[-1])["error"]["status"] == "NOT_FOUND"
    assert "refused with NOT_FOUND" in captured.err


def test_nobody_there_is_not_monitored_and_then_an_error(clip: str, capsys: Captured) -> None:
    with nobody_listening() as address:
        assert main(["stream", clip, "--address", address, "--give-up", "0.2"]) == 1

    captured = capsys.readouterr()
    assert "NOT MONITORED: UNAVAILABLE" in captured.out
    assert "no alert" not in captured.out
    assert "UNAVAILABLE" in captured.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["stream"], "required"),
        (["stream", "-"], "needs --encoding"),
        (["stream", "-", "--encoding", "mulaw", "--transcript", "불"], "--transcript goes with a recording"),
        (["stream", "mic", "--speed", "2"], "--speed goes with a recording"),
        (["stream", "{clip}", "--speed", "-1"], "no speed"),
        (["stream", "{clip}", "--encoding", "pcm16"], "needs --rate"),
        (["bridge"], "required"),
        (["bridge", "pigeon"], "invalid choice"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], complaint: str, clip: str, capsys: Captured) -> None:
    assert main([argument.replace("{clip}", clip) for argument in arguments]) == 2
    assert complaint in capsys.readouterr().err


def test_what_is_no_recording_is_an_error(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "call.wav"
    path.write_bytes(b"RIFF and no more")

    assert main(["stream", str(path)]) == 1
    assert "is no recording" in capsys.readouterr().err
    assert main(["stream", str(tmp_path / "gone.wav")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_other_commands_load_no_bridge() -> None:
    code = (
        "import sys; from client.command.arguments import parse; parse(['stream', 'x.wav']);"
        " print(*(name for name in sys.modules if name in ('numpy', 'av', 'websockets') or"
        f" name in {[f'client.bridges.{name}' for name in PROTOCOLS]}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


def test_a_blocking_caller_gets_updates_and_the_summary(triage: LiveStub) -> None:
    with TriageClient(os.environ["WIGEUP_ADDRESS"]) as client:
        chunks = [bytes([n]) * 800 for n in range(25)]
        found = list(client.stream([Transcript("불"), *chunks], format=AudioFormat.mulaw(), call_id="b-1"))

    *updates, summary = found
    assert [u.number for u in updates if isinstance(u, CallUpdate)] == [1, 2, 3]
    assert isinstance(summary, CallSummary)
    assert (summary.call_id, summary.audio_s, summary.alert) == ("b-1", 2.5, "raised")


def test_a_blocking_caller_may_leave_early(triage: LiveStub) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(800)

    with TriageClient(os.environ["WIGEUP_ADDRESS"]) as client:
        found = client.stream(endless(), format=AudioFormat.mulaw())
        first = next(found)
        found.close()  # type: ignore[attr-defined]

    assert isinstance(first, CallUpdate)


def test_a_blocking_caller_gets_the_errors(triage: LiveStub) -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(800)
        raise EOFError("the tape has ended")

    with TriageClient(os.environ["WIGEUP_ADDRESS"]) as client:
        with pytest.raises(ModelNotFound):
            list(client.stream([bytes(800)], format=AudioFormat.mulaw(), model="fail-NOT_FOUND"))
        with pytest.raises(EOFError, match="the tape has ended"):
            list(client.stream(broken(), format=AudioFormat.mulaw()))


def test_every_degradation_of_the_api_has_words() -> None:
    names = {name.removeprefix("DEGRADATION_").lower() for name in triage_pb2.Degradation.keys()} - {"unspecified"}  # noqa: SIM118

    assert set(DEGRADATION_WORDS) == names
    assert degradation_words("unknown_99") == "unknown 99"


def test_words_without_clauses_are_spread_one_by_one() -> None:
    assert spread("불이 났어요", 5.0) == [
        Transcript("불이", start_s=0.0, end_s=2.0),
        Transcript("났어요", start_s=2.0, end_s=5.0),
    ]
    assert spread("", 5.0) == []


def test_a_graph_shows_what_is_unknown_as_unknown() -> None:
    assert graph([0.0, 0.5, 1.0, None], 2) == ["  █ ", "▁██×"]


def test_a_call_that_nobody_watches_is_never_calm() -> None:
    raised = call_update(triage_pb2.CallUpdate(alert=triage_pb2.ALERT_STATE_RAISED))
    clear = call_update(triage_pb2.CallUpdate(alert=triage_pb2.ALERT_STATE_CLEAR))

    assert state_of(clear, monitored=True)[0] == "no alert"
    assert state_of(clear, monitored=False)[0] == state_of(None, monitored=False)[0] == "NOT MONITORED"
    assert state_of(raised, monitored=False)[0] == "ALERT, NOT MONITORED NOW"


def test_a_terminal_shows_a_picture_and_the_summary_below_it() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80)
    with Screen("call.wav", console) as screen:
        for number in range(1, 9):
            score = triage_pb2.PartyScore(probability=number / 8, degradations=[triage_pb2.DEGRADATION_AUDIO_GAP])
            screen.monitored(True, "a model answers")
            screen.update(call_update(triage_pb2.CallUpdate(number=number, covered_s=number, caller=score, lag_ms=31)))
        watched = out.getvalue()
        screen.monitored(False, "UNAVAILABLE: gone")
        screen.summary(call_summary(triage_pb2.CallSummary(updates=8)))

    assert "no alert" in watched
    assert "Audio of the window was lost." in watched
    assert "lag 31 ms" in watched
    unwatched = out.getvalue()[len(watched) :]
    assert "NOT MONITORED" in unwatched
    assert "UNAVAILABLE: gone" in unwatched
    assert "8 updates" in unwatched


def test_a_bridge_ends_cleanly_on_sigterm(triage: LiveStub) -> None:
    command = [sys.executable, "-m", "client", "bridge", "websocket", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.terminate()
        code = process.wait(30)

    assert line.startswith("websocket bridge on 127.0.0.1:")
    assert code == 0
