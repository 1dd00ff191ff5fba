"""A small sweep of Triton's settings on a real Triton."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loadtest import triton_statistics
from loadtest.tune.command import newest
from loadtest.tune.measuring import Stretches
from loadtest.tune.server import Refused, Triton, profiled, started
from loadtest.tune.sweep import PRESENT, Scale, Sweep
from preprocess_service.model_spec import CNN
from preprocess_service.triton import Arrays
from tests.e2e import tiny_models

SHORT = Stretches(alone_s=0.05, saturated_s=0.1, callers=4)
LIMIT_S = 12.0  # enough for a setting or two beside the present one, on any machine


@pytest.fixture(scope="module")
def triton() -> Iterator[Triton]:
    with started("cpu") as server:
        yield server


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.make_repository(tmp_path_factory.mktemp("tune") / "models", CNN.name)


def rows(count: int) -> list[Arrays]:
    chance = np.random.default_rng(1)
    return [{CNN.audio.name: chance.random((1, *CNN.audio.shape), np.float32)} for _ in range(count)]


def test_settings_are_measured_beside_the_present_one(triton: Triton, repository: Path) -> None:
    told: list[str] = []
    served, version = newest(repository, CNN.name)
    sweep = Sweep(
        *(triton, served, "cpu", version, rows(8)),
        stretches=SHORT,
        cores=2,
        scale=Scale(LIMIT_S, quick=True),
        until=time.monotonic() + LIMIT_S,
        tell=told.append,
    )

    swept = sweep.run()

    pairs = [*swept.against_itself, *(pair for point in swept.points.values() for pair in point.pairs)]
    tried = {*swept.points, *swept.left_out}
    assert {"1 instance, 2 threads", "1 instance", "delay 1 ms", "batch 16", "2 threads"} <= tried
    assert not swept.refused
    for pair in pairs:
        assert not pair.tried.failures
        assert pair.tried.per_s > 0
        assert pair.tried.mean_batch >= 1
        assert pair.tried.alone.latency.count >= 20
    assert swept.noise.throughput > 0
    assert len(told) >= 1 + len(swept.points)
    # Every other setting has gone again.
    assert set(triton_statistics.read_counts(triton.address)) == {f"{PRESENT} 1"}
    triton.unload(PRESENT)


def test_a_setting_that_triton_refuses_is_told_apart(triton: Triton, repository: Path) -> None:
    _, version = newest(repository, CNN.name)
    wrong = replace(CNN.cpu, parameters=(("intra_op_thread_count", "many"),))

    with pytest.raises(Refused, match="intra_op_thread_count"):
        triton.load(profiled(CNN, "cpu", wrong, "wrong"), "cpu", version)
