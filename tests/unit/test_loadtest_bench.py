"""The table of `python -m loadtest bench`, its figures and its command line."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from loadtest.__main__ import main
from loadtest.bench.graphs import NoGraph, Served, plain
from loadtest.bench.measured import Work, ratios
from loadtest.bench.neighbours import Neighbours
from loadtest.bench.questions import Question, make_questions, read_questions, write_questions
from loadtest.bench.rows import CPU, GOALS, LIVE, NAMES, THROUGHPUT, Row, markdown
from loadtest.circumstances import ROOT
from loadtest.figures import Figure, figures_of, figures_to_json
from preprocess_service.contract import MODEL_FILE
from preprocess_service.model_spec import MULTIMODAL
from training.triton_config import model_config


@pytest.mark.parametrize(
    ("goal", "values", "verdict"),
    [
        (CPU, (1.25,), "pass"),
        (CPU, (1.26,), "short"),
        (CPU, (1.2, 1.2, 9.0), "pass"),  # the median counts
        (THROUGHPUT, (0.75,), "pass"),
        (THROUGHPUT, (0.74,), "short"),
        (LIVE, (500.0,), "pass"),
        (LIVE, (501.0,), "short"),
    ],
)
def test_a_row_passes_where_its_median_reaches_the_goal(goal, values, verdict):
    assert Row(goal, values=values).verdict == verdict


def test_a_shortcoming_makes_a_row_short_whatever_its_figure():
    assert Row(LIVE, values=(1.0,), shortcomings=("3 hops skipped",)).verdict == "short"


def test_a_row_without_a_figure_is_not_measured_and_says_why():
    row = Row(CPU, "int8", shortcomings=("not measured: int8 has not passed its gate",))

    assert row.verdict == "not measured"
    assert row.figures == []
    assert "- cpu/int8: not measured: int8 has not passed its gate" in markdown([row])


def test_the_table_has_figure_reach_and_verdict_in_every_row():
    rows = [Row(CPU, "fp32", (1.2, 1.3, 1.22), ("10.1 ms against 8.3",)), Row(LIVE, "int8", (612.3,))]

    lines = markdown(rows).splitlines()

    assert lines[2] == f"| {CPU.figure}, fp32 | 1.22 (1.20–1.30) | ≤ 1.25 | pass |"
    assert lines[3] == f"| {LIVE.figure}, int8 | 612 ms | ≤ 500 ms | short |"
    assert lines[-1] == "- cpu/fp32: 10.1 ms against 8.3"


def test_figures_can_be_compared_with_those_of_a_later_run():
    behind = Figure("bench/cpu/fp32/servers", "ms", "lower", (10.0, 11.0))
    row = Row(CPU, "fp32", (1.2, 1.3), behind=(behind,))

    figures = figures_of({"figures": figures_to_json(row.figures)})

    assert figures["bench/cpu/fp32"].values == (1.2, 1.3)
    assert figures["bench/cpu/fp32/servers"] == behind


def test_every_goal_of_the_issue_can_be_chosen():
    assert len(GOALS) == 10
    assert len(NAMES) == 9  # the comparison with the plain service has a goal for each precision


def test_work_that_goes_on_side_by_side_adds_up():
    both = Work.together([Work(100, 2.0, 1.5), Work(50, 1.0, 0.9)])

    assert both.per_s == pytest.approx(100)
    assert both.cpu_ms == pytest.approx(16)


def test_ratios_are_those_of_the_same_turn():
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="longer"):
        ratios([1.0], [1.0, 2.0])


def test_questions_are_read_as_they_were_written(tmp_path):
    questions = [Question(bytes(range(256)), "여기 불이 났어요"), Question(b"\xff" * 8000, "네")]

    write_questions(questions, tmp_path / "questions.jsonl")

    assert read_questions(tmp_path / "questions.jsonl") == questions


def test_too_few_recordings_of_a_window_are_told(tmp_path):
    (tmp_path / "short.wav").write_bytes(_wav(seconds=2))

    with pytest.raises(ValueError, match=r"holds 0 recordings of 6\.5 to 7 s"):
        make_questions(tmp_path, 1, 7.0, lambda _: True, seed=1)


def test_only_recordings_whose_transcript_fits_are_asked_about(tmp_path):
    for name, said in (("a", "한 마디"), ("b", "너무 길다")):
        (tmp_path / f"{name}.wav").write_bytes(_wav(seconds=6.75))
        (tmp_path / f"{name}.txt").write_text(said, encoding="utf-8")

    (question,) = make_questions(tmp_path, 1, 7.0, lambda said: said == "한 마디", seed=1)

    assert question.transcript == "한 마디"
    assert len(question.audio) == 6.75 * 8000


def test_fp32_is_the_exported_graph_by_the_plain_provider():
    config = model_config(plain(MULTIMODAL), "cpu")

    assert config.default_model_filename == MODEL_FILE
    assert not config.HasField("optimization")
    assert config.max_batch_size == model_config(MULTIMODAL, "cpu").max_batch_size


def test_an_unknown_row_ends_with_2(capsys):
    with pytest.raises(SystemExit) as end:
        main(["bench", "--only", "speed"])

    assert end.value.code == 2
    assert "invalid choice: 'speed'" in capsys.readouterr().err


def _wav(seconds: float) -> bytes:
    file = io.BytesIO()
    samples = np.sin(np.arange(round(seconds * 8000)) / 9) / 4
    soundfile.write(file, samples, 8000, format="WAV", subtype="ULAW")
    return file.getvalue()


def test_what_this_process_and_its_children_do_is_not_the_neighbours():
    neighbours, began, spent = Neighbours(), time.monotonic(), time.process_time()
    while time.process_time() - spent < 0.5:
        sum(range(1000))
    burn = "import time\nwhile time.process_time() < 0.7: sum(range(1000))"
    subprocess.run([sys.executable, "-c", burn], check=True)

    others, wall_s = neighbours.cores(), time.monotonic() - began
    assert 0 <= others <= (os.cpu_count() or 1) - 1.1 / wall_s  # however busy others are


def test_the_load_comes_from_threads_that_gevent_has_not_taken_over():
    check = "import sys, loadtest.bench.command\nsys.exit('gevent' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def test_what_has_no_int8_graph_is_not_compared_as_int8():
    fp32 = Served(MULTIMODAL, Path("multimodal/7"), "fp32")

    fp32.check("fp32")
    with pytest.raises(NoGraph, match="multimodal version 7 is served in fp32: int8 has not passed its gate"):
        fp32.check("int8")
