"""For all tests."""

from __future__ import annotations

from hypothesis import settings

# Nothing asserts wall-clock time: the machine may have other work.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
