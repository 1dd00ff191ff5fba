"""The command `wigeup` on one recording, on many, and on a service that fails."""

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.__main__ import main
from client.channel import MAX_SEND_BYTES
from preprocess_service.proto.wigeup.v1 import triage_pb2
from tests.unit.stub_service import Service, nobody_listening, serving

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with serving() as running:
        monkeypatch.setenv("WIGEUP_ADDRESS", running.address)
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings, one with a transcript that is an emergency; and what is none."""
    (tmp_path / "nested").mkdir()
    (tmp_path / "b.wav").write_bytes(b"RIFF-b")
    (tmp_path / "a.ulaw").write_bytes(b"\xff" * 80)
    (tmp_path / "nested" / "신고.wav").write_bytes(b"RIFF-c")
    (tmp_path / "nested" / "신고.txt").write_text("\ufeff불이 났어요\n", encoding="utf-8")
    (tmp_path / "notes.md").write_text("no recording")
    (tmp_path / ".hidden.wav").write_bytes(b"RIFF")
    return tmp_path


@pytest.fixture
def clip(tmp_path: Path) -> str:
    path = tmp_path / "call[1].wav"
    path.write_bytes(b"RIFF")
    return str(path)


def test_shows_one_recording_as_a_panel(service: Service, clip: str, capsys: Captured) -> None:
    service.triage.windows = 3

    code = main(["classify", clip, "--transcript", "불이야"])

    out = capsys.readouterr().out
    assert code == 0
    assert "call[1].wav" in out
    assert "EMERGENCY" in out
    assert "probability 0.930" in out
    assert "threshold 0.500   uncertain from 0.300" in out
    assert "if an emergency: 화재 0.60, 가스사고 0.30, 갇힘 0.20" in out
    assert "14.0-21.0 s" in out
    assert "█" in out
    assert "7.8 ms" in out


@pytest.mark.usefixtures("service")
def test_an_uncertain_call_is_given_to_a_human(clip: str, capsys: Captured) -> None:
    assert main(["classify", clip, "--transcript", "글쎄요"]) == 0
    out = capsys.readouterr().out
    assert "UNCERTAIN" in out
    assert "A human must decide." in out

    assert main(["classify", clip, "--transcript", "글쎄요", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["decision"], document["emergency"], document["uncertain_from"]) == ("uncertain", False, 0.3)
    assert document["kinds"][0] == {"name": "화재", "probability": 0.6}


@pytest.mark.usefixtures("service")
def test_shows_warnings_in_words(clip: str, capsys: Captured) -> None:
    assert main(["classify", clip]) == 0

    out = capsys.readouterr().out
    assert "no emergency" in out
    assert "no transcript that it could read" in out
    assert "█" not in out


def test_every_option_reaches_the_service(service: Service, tmp_path: Path) -> None:
    audio, text = tmp_path / "call.pcm", tmp_path / "said.txt"
    audio.write_bytes(b"\0\0" * 160)
    text.write_text("살려 주세요\n", encoding="utf-8")

    code = main(
        f"classify {audio} --transcript-file {text} --model vgg16 --model-version 4 --call-id c-1 --urgent"
        " --timeout 500 --encoding pcm16 --rate 16000 --channels 2 --channel second".split()
    )

    assert code == 0
    assert service.triage.requests == [
        triage_pb2.ClassifyRequest(
            audio=b"\0\0" * 160,
            format=triage_pb2.AudioFormat(
                encoding=triage_pb2.AUDIO_ENCODING_PCM16,
                sample_rate_hz=16000,
                channels=2,
                channel=triage_pb2.CHANNEL_CHOICE_SECOND,
            ),
            transcript="살려 주세요",
            model="vgg16",
            model_version="4",
            call_id="c-1",
            priority=triage_pb2.PRIORITY_URGENT,
        )
    ]
    assert 250 < service.triage.time_remaining_s[0] < 510


@pytest.mark.usefixtures("service")
def test_json_is_one_document_with_hangul_as_it_is(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "신고.wav"
    path.write_bytes(b"RIFF")

    code = main(["classify", str(path), "--json", "--transcript", "불"])

    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert code == 0
    assert captured.err == ""
    assert "신고.wav" in captured.out
    assert captured.out.count("\n") == 1
    assert (document["emergency"], document["probability"]) == (True, 0.93)
    assert document["times"]["total_ms"] == 7.75


@pytest.mark.usefixtures("service")
def test_a_folder_is_searched_in_order_with_sidecars(folder: Path, capsys: Captured) -> None:
    code = main(["classify", str(folder), "--sidecar-transcripts", "--json", "--concurrency", "3"])

    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert code == 0
    assert [Path(line["file"]).name for line in lines] == ["a.ulaw", "b.wav", "신고.wav"]
    assert [line["emergency"] for line in lines] == [False, False, True]
    assert captured.err == "3 recordings: 1 emergency, 0 uncertain, 0 failed\n"


def test_headerless_suffixes_name_their_encoding(service: Service, tmp_path: Path) -> None:
    for name in ("a.ulaw", "b.ul", "c.mulaw", "d.alaw", "e.al", "f.wav"):
        (tmp_path / name).write_bytes(b"\xff")

    main(["classify", str(tmp_path), "--concurrency", "1", "--json"])

    mulaw, alaw = triage_pb2.AUDIO_ENCODING_MULAW, triage_pb2.AUDIO_ENCODING_ALAW
    sent = [request.format.encoding for request in service.triage.requests]
    assert sent == [mulaw, mulaw, mulaw, alaw, alaw, triage_pb2.AUDIO_ENCODING_UNSPECIFIED]


@pytest.mark.usefixtures("service")
def test_many_recordings_become_a_table(folder: Path, capsys: Captured) -> None:
    assert main(["classify", str(folder / "b.wav"), str(folder / "a.ulaw")]) == 0

    out = capsys.readouterr().out
    assert out.index("b.wav") < out.index("a.ulaw")
    assert out.count("no emergency") == 2


@pytest.mark.usefixtures("service")
def test_csv_has_a_row_for_each_recording(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "verdicts.csv"

    code = main(["classify", str(folder), str(folder / "gone.wav"), "--sidecar-transcripts", "--csv", str(out)])

    rows = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))))
    captured = capsys.readouterr()
    assert code == 1
    assert captured.out == ""
    assert [Path(row["file"]).name for row in rows] == ["a.ulaw", "b.wav", "신고.wav", "gone.wav"]
    assert [row["emergency"] for row in rows] == ["false", "false", "true", ""]
    assert [row["decision"] for row in rows] == ["normal", "normal", "emergency", ""]
    assert [row["kind"] for row in rows] == ["화재", "화재", "화재", ""]
    assert (rows[0]["warnings"], rows[0]["windows"], rows[0]["total_ms"]) == ("no_transcript", "1", "7.75")
    assert (rows[3]["error_status"], "No such file" in rows[3]["error"]) == ("FILE", True)


@pytest.mark.usefixtures("service")
def test_csv_to_standard_output(clip: str, capsys: Captured) -> None:
    assert main(["classify", clip, "--csv", "-"]) == 0

    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["probability"] == "0.07"


@pytest.mark.usefixtures("service")
def test_one_bad_file_is_named_and_the_others_go_on(folder: Path, capsys: Captured) -> None:
    (folder / "c.pcm").write_bytes(b"\0\0")
    (folder / "d.wav").write_bytes(b"RIFF")
    (folder / "d.txt").write_bytes(b"\xb0\xa1")
    with (folder / "e.wav").open("wb") as large:
        large.truncate(MAX_SEND_BYTES + 1)

    out = folder / "verdicts.jsonl"
    code = main(["classify", str(folder), "--sidecar-transcripts", "--jsonl", str(out)])

    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    errors = {Path(line["file"]).name: line["error"]["status"] for line in lines if "error" in line}
    err = capsys.readouterr().err
    assert code == 1
    assert errors == {"c.pcm": "FILE", "d.wav": "FILE", "e.wav": "RESOURCE_EXHAUSTED"}
    assert "6 recordings: 1 emergency, 0 uncertain, 3 failed" in err
    assert all(f"{name}: {status}" in err for name, status in errors.items())
    assert "must be given" in err
    assert "not UTF-8" in err


@pytest.mark.usefixtures("service")
def test_a_refused_recording_is_an_error_document(clip: str, capsys: Captured) -> None:
    code = main(["classify", clip, "--model", "fail-NOT_FOUND", "--json"])

    captured = capsys.readouterr()
    assert code == 1
    assert json.loads(captured.out)["error"] == {"status": "NOT_FOUND", "message": "서비스가 NOT_FOUND(으)로 거절"}
    assert "NOT_FOUND" in captured.err


def test_reads_standard_input(service: Service, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xd5" * 16)))

    assert main(["classify", "-", "--encoding", "alaw", "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["file"] == "-"
    assert service.triage.requests[0].audio == b"\xd5" * 16
    assert service.triage.requests[0].format.encoding == triage_pb2.AUDIO_ENCODING_ALAW


@pytest.mark.usefixtures("service")
def test_an_empty_folder_is_an_error(tmp_path: Path, capsys: Captured) -> None:
    assert main(["classify", str(tmp_path)]) == 1
    assert "no recordings in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "required"),
        (["classify"], "required"),
        (["classify", "{clip}", "--timeout", "0"], "positive number of seconds"),
        (["classify", "{clip}", "--concurrency", "none"], "--concurrency"),
        (["classify", "{clip}", "--encoding", "pcm16"], "needs --rate"),
        (["classify", "{clip}", "--rate", "8000"], "goes with --encoding"),
        (["classify", "-", "-"], "read once"),
        (["classify", "{clip}", "--json", "--csv", "x.csv"], "--json goes to standard output"),
        (["classify", "{clip}", "other.wav", "--transcript", "불"], "--transcript goes with one recording"),
        (["classify", "{clip}", "other.wav", "--call-id", "7"], "--call-id goes with one recording"),
        (["models", "--no-such-option"], "unrecognized"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], complaint: str, clip: str, capsys: Captured) -> None:
    assert main([argument.replace("{clip}", clip) for argument in arguments]) == 2
    assert complaint in capsys.readouterr().err


def test_a_table_file_that_cannot_be_written_is_an_error(
    service: Service, clip: str, tmp_path: Path, capsys: Captured
) -> None:
    assert main(["classify", clip, "--csv", str(tmp_path / "no" / "x.csv")]) == 1

    assert "No such file" in capsys.readouterr().err
    assert service.triage.requests == []


@pytest.mark.usefixtures("service")
def test_lists_models(capsys: Captured) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "loaded, int8 by OpenVINOExecutionProvider" in out
    assert "cnn   version 3   not loaded" in out
    assert "names 3 kinds: 화재, 가스사고, 갇힘" in out

    assert main(["models", "--json"]) == 0
    model, _ = json.loads(capsys.readouterr().out)["models"]
    assert (model["name"], model["corpus"], model["figures"]) == ("multimodal", "합성 말뭉치", {"recall": 0.98})


def test_health_tells_by_its_exit_code(service: Service, capsys: Captured) -> None:
    assert main(["health"]) == 0
    assert "SERVING" in capsys.readouterr().out
    service.set_serving(False)

    assert main(["health", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "address": service.address,
        "status": "NOT_SERVING",
        "serving": False,
    }


@pytest.mark.parametrize("command", [["health"], ["models"]])
def test_nobody_at_the_address_is_an_error_in_json_too(command: list[str], capsys: Captured) -> None:
    with nobody_listening() as address:
        code = main([*command, "--address", address, "--json"])

    captured = capsys.readouterr()
    assert code == 1
    assert json.loads(captured.out)["error"]["status"] == "UNAVAILABLE"
    assert address in captured.err
