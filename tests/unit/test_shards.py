"""Shards: whole or not at all, and arrays that grow on disk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from training import shards


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
