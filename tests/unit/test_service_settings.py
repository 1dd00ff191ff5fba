from __future__ import annotations

import os

import pytest
from pydantic import ValidationError

from preprocess_service.settings import TOTALS, Settings, fitting_workers
from preprocess_service.threads import usable_cores


def test_one_worker_has_all():
    settings = Settings(workers=1)

    assert settings.of_one_worker() == settings


def test_workers_share_totals_rounded_up_and_nothing_else():
    settings = Settings(workers=3, max_in_flight=32, max_waiting=0, max_live_calls=1000, feature_threads=2)
    share = settings.of_one_worker()

    assert (share.max_in_flight, share.max_waiting, share.max_live_calls, share.feature_threads) == (11, 0, 334, 1)
    rest = set(Settings.model_fields) - set(TOTALS)
    assert {name: getattr(share, name) for name in rest} == {name: getattr(settings, name) for name in rest}


@pytest.mark.parametrize(("quota", "cores"), [("150000 100000", 2), ("10000 100000", 1), ("max 100000", 64)])
def test_a_container_counts_as_the_cores_that_it_may_use(tmp_path, quota, cores):
    file = tmp_path / "cpu.max"
    file.write_text(f"{quota}\n", encoding="ascii")

    assert usable_cores(file) == min(cores, len(os.sched_getaffinity(0)))


def test_without_a_container_all_cores_count(tmp_path):
    assert usable_cores(tmp_path / "cpu.max") == len(os.sched_getaffinity(0))


def test_there_is_always_a_worker():
    assert all(1 <= fitting_workers(cores) <= cores for cores in range(1, 257))
    with pytest.raises(ValidationError, match="workers"):
        Settings(workers=0)
