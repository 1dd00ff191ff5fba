"""Clips as the models hear them: one reading of each recording, and clips that cannot be used."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.unit.long_recording import CLIPS, recordings_of, windows_of
from tests.unit.small_corpus import RATE_HZ, speech_like
from training import line
from training.line_store import Recording, list_bad_clips, open_line


def test_a_changed_recording_is_made_anew_and_the_rest_is_kept(long_recording, long_cache, long_lines):
    changed = recordings_of(CLIPS)
    changed[200] = Recording("clip-200", "long.wav", 0.0, 0.4, "another mark")

    other = open_line(long_recording, changed, long_cache, 1)

    assert [one == two for one, two in zip(other.folders, long_lines.folders, strict=True)] == [True, False, True]
    assert other.lengths[200] != long_lines.lengths[200]


def test_clips_of_one_recording_are_what_each_would_be_alone(long_recording, long_lines):
    recording = (long_recording / "long.wav").read_bytes()

    for clip in (0, 1, 127, 128, CLIPS - 1):
        alone = line.line_code_words(recording, clip * 0.2, (clip + 1) * 0.2)
        np.testing.assert_array_equal(long_lines.code_words(clip), alone)


def test_one_bad_stretch_leaves_the_others_of_its_recording(long_recording, tmp_path):
    recordings = recordings_of(4)
    recordings[1] = Recording("clip-1", "long.wav", 1e6, None, "mark")
    recordings[2] = Recording("clip-2", "nowhere.wav", 0.0, None, "missing")

    lines = open_line(long_recording, recordings, tmp_path, 1)

    assert np.flatnonzero(lines.lengths).tolist() == [0, 3]
    assert "1e+06 s to the end" in lines.bad[1]
    assert "nowhere.wav" in lines.bad[2]


OPENS = """
import sys
from pathlib import Path
from training.line_store import Recording, open_line
opened = []
sys.addaudithook(lambda event, values: opened.append(str(values[0])) if event == "open" else None)
recordings = [Recording(f"clip-{at}", path, at * 0.2, (at + 1) * 0.2, "") for at, path in enumerate(sys.argv[3:])]
open_line(Path(sys.argv[1]), recordings, Path(sys.argv[2]), 1)
print(*(Path(path).name for path in opened if path.endswith(".wav")))
"""


def test_a_long_recording_is_read_once_for_clips_one_after_another(long_recording, tmp_path):
    (tmp_path / "long.wav").write_bytes((long_recording / "long.wav").read_bytes())
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    paths = ["long.wav"] * 30 + ["bad.wav"] * 30 + ["long.wav"] * 3
    command = [sys.executable, "-W", "error", "-c", OPENS, tmp_path, tmp_path / "cache", *paths]

    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])

    assert done.stdout.split() == ["long.wav", "bad.wav", "long.wav"]


@pytest.fixture
def damaged(tmp_path):
    """Twenty clips; those at 3, 7 and 11 cannot be used."""
    soundfile.write(tmp_path / "good.wav", speech_like(1.0, seed=8), RATE_HZ, subtype="PCM_16")
    soundfile.write(tmp_path / "short.wav", np.zeros(400), RATE_HZ, subtype="PCM_16")
    (tmp_path / "empty.wav").write_bytes(b"")
    recordings = [Recording(f"clip-{at}", "good.wav", 0.0, None, "") for at in range(40)]
    for at, path in {3: "short.wav", 7: "empty.wav", 11: "nowhere.wav"}.items():
        recordings[at] = Recording(f"clip-{at}", path, 0.0, None, "")
    return tmp_path, recordings


def test_clips_that_cannot_be_used_are_named_and_left_out(damaged):
    folder, recordings = damaged
    lines = open_line(folder, recordings, folder / "cache", 1)

    said = list_bad_clips(lines.bad, recordings, folder / "bad_clips.csv")
    store, lengths = windows_of(lines, folder / "cache")

    assert said is not None
    assert said.startswith("WARNING: 3 of 40 clips (7.5%) cannot be used and are left out")
    assert str(folder / "bad_clips.csv") in said
    assert "clip-3: 0.05 s of audio" in said
    with (folder / "bad_clips.csv").open(encoding="utf-8", newline="") as file:
        reasons = {row["clip_id"]: row["reason"] for row in csv.DictReader(file)}
    assert reasons.keys() == {"clip-3", "clip-7", "clip-11"}
    assert "0.05 s of audio" in reasons["clip-3"]
    assert "0 bytes" in reasons["clip-7"]
    assert "nowhere.wav" in reasons["clip-11"]
    assert np.flatnonzero(lengths == 0).tolist() == [3, 7, 11]
    assert len(store) == 37


def test_however_many_clips_are_bad_the_others_are_used(damaged):
    folder, recordings = damaged
    few = [recordings[at] for at in (0, 3, 7, 11)]
    lines = open_line(folder, few, folder / "cache", 1)

    said = list_bad_clips(lines.bad, few, folder / "bad_clips.csv")

    assert said is not None
    assert said.startswith("WARNING: 3 of 4 clips (75.0%)")
    assert np.flatnonzero(lines.lengths).tolist() == [0]


def test_no_list_of_bad_clips_where_there_are_none(damaged):
    folder, recordings = damaged
    path = folder / "bad_clips.csv"
    path.write_text("of an earlier run")

    assert list_bad_clips({}, recordings, path) is None
    assert not path.exists()
