"""For all tests."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import settings

# Nothing asserts wall-clock time: the machine may have other work.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# First, so that no process still has one of them before it when the others have nothing left to do.
LONGEST_FILES: Final = (
    "test_training_command.py",
    "test_training_overfits.py",
    "test_promotion.py",
    "test_live_faults.py",
    "test_live_lines.py",
    "test_serve.py",
    "test_faults.py",
    "test_parity.py",
    "test_loading.py",
    "test_classify.py",
    "test_report.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
