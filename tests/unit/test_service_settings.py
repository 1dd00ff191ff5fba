from __future__ import annotations

import pytest
from pydantic import ValidationError

from preprocess_service.settings import TOTALS, Settings, fitting_workers


def test_one_worker_has_all():
    settings = Settings(workers=1)

    assert settings.of_one_worker() == settings


def test_workers_share_totals_rounded_up_and_nothing_else():
    settings = Settings(workers=3, max_in_flight=32, max_waiting=0, max_live_calls=1000, feature_threads=2)
    share = settings.of_one_worker()

    assert (share.max_in_flight, share.max_waiting, share.max_live_calls, share.feature_threads) == (11, 0, 334, 1)
    rest = set(Settings.model_fields) - set(TOTALS)
    assert {name: getattr(share, name) for name in rest} == {name: getattr(settings, name) for name in rest}


def test_there_is_always_a_worker():
    assert all(1 <= fitting_workers(cores) <= cores for cores in range(1, 257))
    with pytest.raises(ValidationError, match="workers"):
        Settings(workers=0)
