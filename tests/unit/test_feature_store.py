"""Features at scale: shards, restarts, random access, clips that cannot be used."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from preprocess_service.features import inputs, mel
from preprocess_service.features.audio import TELEPHONE_RATE_HZ, resample
from preprocess_service.model_spec import MODELS
from tests.unit.small_corpus import RATE_HZ, speech_like
from training import line, shards
from training.feature_store import Treatment, derive, open_windows, put_windows
from training.line_store import Recording, list_bad_clips, open_line

LSTM = MODELS["lstm"]
CLIPS = 300  # three shards
KILLED_CLIPS = 500  # four shards: a kill after the first is in the middle


def recordings_of(clips, clip_s=0.2):
    return [Recording(f"clip-{at}", "long.wav", at * clip_s, (at + 1) * clip_s, "mark") for at in range(clips)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A recording of CLIPS clips of 0.2 s."""
    made = tmp_path_factory.mktemp("recordings")
    soundfile.write(made / "long.wav", speech_like(0.2 * CLIPS, seed=1), RATE_HZ, subtype="PCM_16")
    return made


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def lines(folder, cache):
    return open_line(folder, recordings_of(CLIPS), cache, workers=2)


def windows_of(lines, cache, treatment=Treatment(), spec=LSTM, chosen=None, workers=1):  # noqa: B008 - frozen
    ids = [f"clip-{at}" for at in range(len(lines))]
    chosen = np.ones(len(lines), bool) if chosen is None else chosen
    return open_windows(lines, ids, chosen, spec, treatment, cache, workers)


@pytest.fixture(scope="module")
def store(lines, cache):
    return windows_of(lines, cache)[0]


def test_windows_are_the_features_of_the_line(lines, store):
    for clip in (0, 127, 128, 299):
        samples = resample(lines.samples(clip), TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)
        np.testing.assert_array_equal(store[clip], inputs.audio_feature(LSTM, samples))


def test_processes_make_what_one_process_makes(lines, store, tmp_path):
    other, _ = windows_of(lines, tmp_path, workers=2)

    np.testing.assert_array_equal(other[:], store[:])


def test_a_store_is_indexed_like_an_array(store):
    whole = store[:]
    random = np.random.default_rng(1).integers(0, len(store), 500)

    assert store.shape == whole.shape == (CLIPS, *LSTM.audio.shape)
    np.testing.assert_array_equal(store[random], whole[random])
    np.testing.assert_array_equal(store[-3], whole[-3])
    np.testing.assert_array_equal(store[250:20:-7], whole[250:20:-7])
    mask = np.arange(len(store)) % 3 == 0
    np.testing.assert_array_equal(store[mask], whole[mask])
    assert store[np.array([], np.int64)].shape == (0, *LSTM.audio.shape)
    with pytest.raises(IndexError):
        store[len(store)]


def test_a_selection_is_a_view_in_another_order(store):
    order = np.random.default_rng(2).permutation(len(store))[:50]

    np.testing.assert_array_equal(store.select(order)[10:20], store[order[10:20]])


def test_half_precision_takes_half_the_disk_and_comes_back_as_float32(lines, store, cache):
    half, _ = windows_of(lines, cache, Treatment(dtype="float16"))

    def disk_bytes(of):
        return sum((folder / "audio.npy").stat().st_size for folder in of.folders)

    assert half[5].dtype == np.float32
    assert disk_bytes(half) < 0.51 * disk_bytes(store)
    np.testing.assert_allclose(half[:], store[:], rtol=1e-3, atol=1e-3)


def test_variants_keep_their_windows_and_differ_in_sound(lines, store, cache):
    chosen = np.arange(CLIPS) % 3 == 0
    one, _ = windows_of(lines, cache, Treatment("augmented", 1), chosen=chosen)
    two, _ = windows_of(lines, cache, Treatment("augmented", 2), chosen=chosen)
    spread = one.spread(chosen)

    assert len(one) == len(two) == chosen.sum()
    assert len(spread) == len(store)
    np.testing.assert_array_equal(spread[chosen], one[:])
    assert not np.array_equal(one[0], store[0])
    assert not np.array_equal(one[0], two[0])
    with pytest.raises(IndexError, match="window 1 is of a clip"):
        spread[1]


def test_long_clips_have_all_their_windows_in_order(tmp_path):
    soundfile.write(tmp_path / "long.wav", speech_like(20.0, seed=3), RATE_HZ, subtype="PCM_16")
    recordings = [Recording(f"clip-{n}", "long.wav", 0.0, end_s, "") for n, end_s in enumerate((3.0, None, 9.0))]
    lines = open_line(tmp_path, recordings, tmp_path, 1)

    store, lengths = windows_of(lines, tmp_path)

    counts = [len(inputs.windows(LSTM, int(length))) for length in lengths]
    assert counts == [1, 5, 2]
    samples = resample(lines.samples(1), TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)
    (start, end) = inputs.windows(LSTM, len(samples))[4]
    np.testing.assert_array_equal(store[5], inputs.audio_feature(LSTM, samples[start:end]))


def test_derived_windows_keep_their_indices(store, tmp_path):
    computed = []

    def compute(windows):
        computed.append(len(windows))
        return windows.mean(axis=2) * 2

    derived = derive(store, tmp_path / "means", compute, 50, "means")
    again = derive(store, tmp_path / "means", compute, 50, "means")

    assert sum(computed) == CLIPS
    random = np.random.default_rng(4).integers(0, CLIPS, 40)
    np.testing.assert_array_equal(again[random], (store[:].mean(axis=2) * 2)[random])
    assert derived.shape == (CLIPS, LSTM.audio.shape[0])


def test_derived_windows_of_variants_do_not_mix(lines, cache, tmp_path):
    variants = [windows_of(lines, cache, Treatment("augmented", variant))[0] for variant in (1, 2)]

    one, two = (derive(each, tmp_path / "same", lambda windows: windows + 1, 64, "sum") for each in variants)

    np.testing.assert_array_equal(one[:], variants[0][:] + 1)
    np.testing.assert_array_equal(two[:], variants[1][:] + 1)


def test_put_windows_come_back(tmp_path):
    windows = np.random.default_rng(5).random((7, 2, 3)).astype(np.float32)

    np.testing.assert_array_equal(put_windows(tmp_path, "some", windows)[:], windows)


PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from preprocess_service.model_spec import MODELS
from training.feature_store import Treatment, open_windows
from training.line_store import Recording, open_line

if __name__ == "__main__":
    folder, cache = map(Path, sys.argv[1:])
    recordings = [Recording(f"clip-{at}", "long.wav", at * 0.2, (at + 1) * 0.2, "mark") for at in range(KILLED_CLIPS)]
    ids = [each.clip_id for each in recordings]
    lines = open_line(folder, recordings, cache, 1)
    open_windows(lines, ids, np.ones(KILLED_CLIPS, bool), MODELS["lstm"], Treatment(), cache, 2)
"""


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, timeout_s=240):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)
    return found


def complete_shards(cache):
    return {path: path.stat().st_ino for path in cache.glob("mfcc-*/[0-9a-f]*")}


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    soundfile.write(tmp_path / "long.wav", speech_like(0.2 * KILLED_CLIPS, seed=6), RATE_HZ, subtype="PCM_16")
    script, cache = tmp_path / "run.py", tmp_path / "cache"
    script.write_text(PROGRAM.replace("KILLED_CLIPS", str(KILLED_CLIPS)))
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen([sys.executable, script, tmp_path, cache], env=environment, stderr=subprocess.DEVNULL) as run:
        try:
            wait_for(lambda: complete_shards(cache))
            workers = children_of(run.pid)
        finally:
            run.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(map(is_running, workers)))

    done = complete_shards(cache)
    assert 0 < len(done) < 4
    lines = open_line(tmp_path, recordings_of(KILLED_CLIPS), cache, 1)
    store, _ = windows_of(lines, cache)
    assert {path: inode for path, inode in complete_shards(cache).items() if path in done} == done
    assert len(complete_shards(cache)) == 4
    assert not list(cache.glob("*/.*.partial"))
    for clip in range(0, KILLED_CLIPS, 61):
        samples = resample(lines.samples(clip), TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)
        np.testing.assert_array_equal(store[clip], inputs.audio_feature(LSTM, samples))


def test_memory_does_not_grow_with_the_number_of_clips(tmp_path):
    soundfile.write(tmp_path / "long.wav", speech_like(0.2 * 384, seed=9), RATE_HZ, subtype="PCM_16")

    def peak_bytes(clips):
        cache = tmp_path / str(clips)
        lines = open_line(tmp_path, recordings_of(clips), cache, 1)
        tracemalloc.start()
        windows_of(lines, cache)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_bytes(1)  # loads what stays
    window_bytes = 4 * np.prod(LSTM.audio.shape)

    assert peak_bytes(384) - peak_bytes(64) < 0.1 * (384 - 64) * window_bytes


@dataclass(frozen=True)
class FailingJob:
    fails: bool

    def __len__(self):
        return 1


def write_or_fail(job, folder):
    (folder / "half").write_text("half")
    if job.fails:
        raise RuntimeError("the disk is full")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_shard_ends_the_run_and_leaves_no_half(tmp_path, workers):
    jobs = {"good": FailingJob(False), "bad": FailingJob(True)}

    with pytest.raises(RuntimeError, match="the disk is full"):
        shards.fill(tmp_path, jobs, write_or_fail, workers, "shards")

    assert not (tmp_path / "bad").exists()
    assert not list(tmp_path.glob(".*.partial"))


def test_a_changed_recording_is_made_anew_and_the_rest_is_kept(folder, cache, lines):
    changed = recordings_of(CLIPS)
    changed[200] = Recording("clip-200", "long.wav", 0.0, 0.4, "another mark")

    other = open_line(folder, changed, cache, 1)

    assert [one == two for one, two in zip(other.folders, lines.folders, strict=True)] == [True, False, True]
    assert other.lengths[200] != lines.lengths[200]


def test_arrays_of_another_shape_are_refused(tmp_path):
    with (
        shards.ArrayFile(tmp_path / "a.npy", (3,), np.dtype(np.float32)) as file,
        pytest.raises(ValueError, match=r"arrays of \(4,\); the file holds \(3,\)"),
    ):
        file.append(np.zeros((2, 4), np.float32))


def test_a_growing_file_is_an_npy_file(tmp_path):
    parts = np.random.default_rng(7).random((1200, 3)).astype(np.float32)

    with shards.ArrayFile(tmp_path / "a.npy", (3,), np.dtype(np.float32)) as file:
        for part in np.split(parts, 100):
            file.append(part)

    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), parts)


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


def test_clips_of_one_recording_are_what_each_would_be_alone(folder, lines):
    recording = (folder / "long.wav").read_bytes()

    for clip in (0, 1, 127, 128, CLIPS - 1):
        alone = line.line_code_words(recording, clip * 0.2, (clip + 1) * 0.2)
        np.testing.assert_array_equal(lines.code_words(clip), alone)


def test_one_bad_stretch_leaves_the_others_of_its_recording(folder, tmp_path):
    recordings = recordings_of(4)
    recordings[1] = Recording("clip-1", "long.wav", 1e6, None, "mark")
    recordings[2] = Recording("clip-2", "nowhere.wav", 0.0, None, "missing")

    lines = open_line(folder, recordings, tmp_path, 1)

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


def test_a_long_recording_is_read_once_for_clips_one_after_another(folder, tmp_path):
    (tmp_path / "long.wav").write_bytes((folder / "long.wav").read_bytes())
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    paths = ["long.wav"] * 30 + ["bad.wav"] * 30 + ["long.wav"] * 3
    command = [sys.executable, "-W", "error", "-c", OPENS, tmp_path, tmp_path / "cache", *paths]

    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])

    assert done.stdout.split() == ["long.wav", "bad.wav", "long.wav"]


def test_no_list_of_bad_clips_where_there_are_none(damaged):
    folder, recordings = damaged
    path = folder / "bad_clips.csv"
    path.write_text("of an earlier run")

    assert list_bad_clips({}, recordings, path) is None
    assert not path.exists()
