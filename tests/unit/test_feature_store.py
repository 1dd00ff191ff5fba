"""Features at scale: random access, restarts, memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from preprocess_service.features import inputs, mel
from preprocess_service.features.audio import TELEPHONE_RATE_HZ, resample
from tests.unit.long_recording import CLIPS, LSTM, recordings_of, windows_of, write_recording
from tests.unit.small_corpus import RATE_HZ, speech_like
from training.feature_store import Treatment, derive, put_windows
from training.line_store import Recording, open_line

KILLED_CLIPS = 500  # four shards: a kill after the first is in the middle


@pytest.fixture(scope="module")
def store(long_lines, long_cache):
    return windows_of(long_lines, long_cache)[0]


def test_windows_are_the_features_of_the_line(long_lines, store):
    for clip in (0, 127, 128, 299):
        samples = resample(long_lines.samples(clip), TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)
        np.testing.assert_array_equal(store[clip], inputs.audio_feature(LSTM, samples))


def test_processes_make_what_one_process_makes(long_lines, store, tmp_path):
    other, _ = windows_of(long_lines, tmp_path, workers=2)

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


def test_half_precision_takes_half_the_disk_and_comes_back_as_float32(long_lines, store, long_cache):
    half, _ = windows_of(long_lines, long_cache, Treatment(dtype="float16"))

    def disk_bytes(of):
        return sum((folder / "audio.npy").stat().st_size for folder in of.folders)

    assert half[5].dtype == np.float32
    assert disk_bytes(half) < 0.51 * disk_bytes(store)
    np.testing.assert_allclose(half[:], store[:], rtol=1e-3, atol=1e-3)


def test_variants_keep_their_windows_and_differ_in_sound(long_lines, store, long_cache):
    chosen = np.arange(CLIPS) % 3 == 0
    one, _ = windows_of(long_lines, long_cache, Treatment("augmented", 1), chosen=chosen)
    two, _ = windows_of(long_lines, long_cache, Treatment("augmented", 2), chosen=chosen)
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


def test_derived_windows_of_variants_do_not_mix(long_lines, long_cache, tmp_path):
    variants = [windows_of(long_lines, long_cache, Treatment("augmented", variant))[0] for variant in (1, 2)]

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
    except (FileNotFoundError, ProcessLookupError):
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
    write_recording(tmp_path, KILLED_CLIPS)
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
    write_recording(tmp_path, 384)

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
