"""How recordings are chosen, how lines are compared, and what a sender loses; no service is asked."""

from __future__ import annotations

import csv
import io
import random
import wave
from dataclasses import replace

import numpy as np
import pytest

from loadtest import markdown
from loadtest.__main__ import main
from loadtest.comparison import Heard, Point, drift
from loadtest.direct import chunks_of
from loadtest.loss import ALONE, Held, Loss, summarise
from loadtest.recordings import EMERGENCY, NORMAL, ClipsInTurn, emergency_calls, long_recordings, short_recordings
from loadtest.rtp_sender import damaged, packets_of
from loadtest.senders import frames_of, in_real_time
from preprocess_service.features import g711
from tests.unit.stub_service import nobody_listening

SAMPLES = {NORMAL: 100, EMERGENCY: 20000}  # of a clip, so that one can tell them apart


@pytest.fixture
def folder(tmp_path):
    """Two clips of a second of each label in the test split, one of 8 s, and others."""
    rows = [("path", "text", "label", "split")]
    for label, level in SAMPLES.items():
        for number, (seconds, split) in enumerate([(1, "test"), (1, "test"), (8, "test"), (1, "train")]):
            name = f"{split}-{label}-{number}.ulaw"
            code_words = g711.encode_mulaw(np.full(seconds * 8000, level, np.int16))
            (tmp_path / name).write_bytes(code_words.tobytes())
            rows.append((name, f"{label} {number}", label, split))
    with (tmp_path / "manifest.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return tmp_path


def levels(recording):
    return set(np.abs(g711.decode_mulaw(np.frombuffer(recording.code_words, np.uint8))) // 90)


def test_short_recordings_are_of_the_test_split_of_both_labels_and_no_longer_than_a_window(folder):
    chosen = short_recordings(ClipsInTurn(folder, seed=1), 4, longest_s=7)

    assert [each.label for each in chosen] == [EMERGENCY, NORMAL, EMERGENCY, NORMAL]
    assert all(each.name.startswith(f"test-{each.label}") and each.seconds == 1 for each in chosen)
    assert all(each.text.startswith(each.label) for each in chosen)


def test_long_calls_have_their_length_and_begin_normal(folder):
    made = long_recordings(ClipsInTurn(folder, seed=1), 2, seconds=20, seed=3)

    assert [(each.label, each.seconds, each.text) for each in made] == [(EMERGENCY, 20, ""), (NORMAL, 20, "")]
    assert {0, 1} < levels(made[0])
    assert levels(made[1]) == {0, 1}


def test_the_same_seed_makes_the_same_calls(folder):
    first, second = (emergency_calls(ClipsInTurn(folder, seed=1), 2, 10, seed=2) for _ in range(2))

    assert first == second
    assert first[0].code_words != first[1].code_words


def test_a_manifest_without_labels_is_named(folder):
    (folder / "manifest.csv").write_text("path,text\n", encoding="utf-8")

    with pytest.raises(ValueError, match=r"manifest\.csv lacks the column label, split"):
        ClipsInTurn(folder, seed=1)


def test_the_file_of_a_recording_holds_the_same_samples(folder):
    recording = short_recordings(ClipsInTurn(folder, seed=1), 1, longest_s=7)[0]

    with wave.open(io.BytesIO(recording.wav)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (8000, 1, 8000)
        assert file.readframes(8000) == recording.pcm16
    assert g711.encode_mulaw(np.frombuffer(recording.pcm16, "<i2")).tobytes() == recording.code_words


def heard(*probabilities, raised_from=None, end_frames=None, counts=None):
    """A call with an update a second; `raised_from` is the index of the first with an alert."""
    points = []
    for number, probability in enumerate(probabilities):
        raised = raised_from is not None and number >= raised_from
        points.append(Point(8000 * (number + 1), number + 1.0, probability, probability or 0.0, raised))
    if end_frames is not None:
        last = points[-1]
        points[-1] = Point(end_frames, end_frames / 8000, last.probability, last.smoothed, last.raised)
    return Heard(tuple(points), points[-1].covered_s, 0.9, int(raised_from is not None), 0.0, 0, counts or {})


def test_updates_of_the_same_audio_are_compared_and_the_last_with_the_last():
    apart = drift(heard(0.1, 0.2, 0.3, end_frames=20000), heard(0.1, 0.25, 0.5, end_frames=20160))

    assert sorted(apart.probability) == pytest.approx([0, 0.05, 0.2])
    assert apart.unmatched == 0


def test_a_hop_that_ends_with_the_call_may_have_an_update_of_its_own():
    assert drift(heard(0.1, 0.2, 0.3, 0.3, end_frames=24000), heard(0.1, 0.2, 0.3)).unmatched == 0


def test_updates_without_a_counterpart_are_counted():
    assert drift(heard(0.1, 0.2, 0.3), heard(0.1, 0.3)).unmatched == 1
    assert drift(heard(0.1, None, 0.3), heard(0.1, 0.2, 0.3)).scored_otherwise == 1


def test_what_no_model_answered_for_is_not_compared():
    unanswered = heard(0.1, None, 0.3)
    late = replace(unanswered, points=tuple(replace(each, monitored=each.probability is not None)
                                            for each in unanswered.points))  # fmt: skip

    apart = drift(heard(0.1, 0.2, 0.3), late)

    assert (apart.unmatched, apart.scored_otherwise, len(apart.smoothed)) == (1, 0, 2)
    assert late.not_monitored == 1


def test_losses_are_measured_against_the_same_call_without_them():
    counts = {"lost": 5, "concealed_frames": 160, "lost_frames": 640}
    none = dict.fromkeys(counts, 0)
    held = [
        Held(0, Loss(0.0, ALONE, 0), 150, 0, heard(0.2, 0.8, 0.9, raised_from=1, counts=none)),
        Held(0, Loss(0.0, ALONE, 1), 150, 0, heard(0.2, 0.8, 0.9, raised_from=1, counts=none)),
        Held(0, Loss(0.1, ALONE, 0), 150, 5, heard(0.2, 0.5, 0.9, raised_from=2, counts=counts)),
    ]

    again, lossy = summarise(held, 0.7)

    assert (again.most_drift, again.alert.median_s, again.alert.calls) == (0, 0, 1)
    assert (lossy.lost_sent, lossy.lost_counted, lossy.packets) == (5, 5, 150)
    assert lossy.most_drift == pytest.approx(0.3)
    assert lossy.mean_drift == pytest.approx(0.1)
    assert str(lossy.alert) == str(lossy.level) == "1 of 1, +1 (+1 to +1)"
    assert (lossy.concealed_s, lossy.lost_s) == (0.02, 0.08)


@pytest.mark.parametrize("loss", [0.05, 0.2])
def test_bursts_lose_the_same_part_of_the_packets_in_a_row(loss):
    packets = packets_of(bytes(160 * 100_000))

    wire, lost = damaged(packets, seed=1, loss=loss, burst_packets=5)

    beginnings = [index for index in lost if index - 1 not in lost]
    assert len(wire) == len(packets) - len(lost)
    assert len(lost) / len(packets) == pytest.approx(loss, rel=0.25)
    assert len(lost) / len(beginnings) == pytest.approx(5, rel=0.25)


def test_chunks_of_all_sizes_make_up_the_whole():
    data = random.Random(1).randbytes(60 * 8000)

    chunks = chunks_of(data, random.Random(2))

    assert b"".join(chunks) == data
    assert min(map(len, chunks)) < 20
    assert max(map(len, chunks)) > 8000


async def test_frames_of_20_ms_go_out_in_order():
    frames = frames_of(bytes(range(256)) * 2, 8000)

    sent = [frame async for frame in in_real_time(frames, 8000)]

    assert [len(frame) for frame in sent] == [160, 160, 160, 32]
    assert sent == frames


def test_a_table_in_markdown():
    written = markdown.table(("name", "value"), [("a", markdown.number(0.12345)), ("b", markdown.number(None))])

    assert written == "| name | value |\n| --- | ---: |\n| a | 0.123 |\n| b | – |"


@pytest.mark.parametrize("command", ["lines", "loss"])
def test_without_a_service_the_comparisons_end_with_2(command, folder, capsys):
    with nobody_listening() as address:
        code = main([command, "--address", address, "--clips", str(folder)])

    assert code == 2
    assert "loadtest: " in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["lines", "--count", "2", "--long", "3"], ["loss", "--rates", "1,60"]])
def test_wrong_usage_ends_with_2(wrong):
    with pytest.raises(SystemExit) as ended:
        main(wrong)

    assert ended.value.code == 2
