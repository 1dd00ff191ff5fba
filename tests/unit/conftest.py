"""What several unit tests read and none changes."""

from __future__ import annotations

import pytest

from tests.unit.long_recording import CLIPS, recordings_of, write_recording
from training.line_store import open_line


@pytest.fixture(scope="session")
def long_recording(tmp_path_factory):
    """The folder of one recording of CLIPS clips."""
    made = tmp_path_factory.mktemp("recordings")
    write_recording(made)
    return made


@pytest.fixture(scope="session")
def long_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def long_lines(long_recording, long_cache):
    return open_line(long_recording, recordings_of(CLIPS), long_cache, workers=2)
