"""Alert policies for contracts that no training has made."""

from __future__ import annotations

from preprocess_service.contract import AlertFigures, AlertLevels, AlertSettings

UNTRIED = AlertFigures(
    hours=0,
    false_alarms=0,
    at_most_per_hour=None,
    emergency_calls=0,
    raised_before=0,
    missed=0,
    median_delay_s=None,
    p90_delay_s=None,
)


def levels(raise_at: float, clear_at: float) -> AlertLevels:
    return AlertLevels(raise_at=raise_at, clear_at=clear_at, validation=UNTRIED)


def settings(
    with_transcript: AlertLevels | None = None,
    without_transcript: AlertLevels | None = None,
    *,
    time_constant_s: float = 2.0,
    clear_after_s: float = 10.0,
) -> AlertSettings:
    """Raised from 0.6 on and cleared below 0.3, unless told otherwise."""
    return AlertSettings(
        time_constant_s=time_constant_s,
        clear_after_s=clear_after_s,
        with_transcript=with_transcript or levels(0.6, 0.3),
        without_transcript=without_transcript or levels(0.6, 0.3),
        false_alarms_per_hour=1.0,
    )
