"""What a live load test found, and whether it may be believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from loadtest.lag import Distribution, over_time
from loadtest.readings import CallReading, Update

STRETCH_S: Final = 10.0
DETAILS_KEPT: Final = 5


@dataclass(frozen=True)
class Limits:
    """Of 99 of 100: the lag with which calls still count as carried, and the lateness of a generator to be believed."""

    lag_ms: float = 500.0
    lateness_ms: float = 50.0


@dataclass(frozen=True)
class LiveResult:
    """Figures of one run. `lag` is what the limits are about: of updates while all calls were up, from the moment at
    which their audio was to be sent."""

    calls: int
    audio_s: float
    lag: Distribution
    lag_all: Distribution  # of the beginning and the end, too
    lag_from_sending: Distribution
    service_lag: Distribution
    lag_over_time: dict[float, Distribution]
    updates: int
    hops_expected: int
    hops_judged: int
    skipped_hops: int
    degradations: dict[str, int]  # updates that had it, by name
    refused: int
    statuses: dict[str, int]  # calls by how they ended
    details: list[str]
    lateness: Distribution
    held_up: int
    models: list[str]
    limits: Limits

    @property
    def is_valid(self) -> bool:
        """Whether the generator sent in time; if not, the figures say more about it than about the service."""
        return self.lateness.count > 0 and self.lateness.p99_ms <= self.limits.lateness_ms

    @property
    def shortcomings(self) -> list[str]:
        """Why the service did not carry these calls; nothing where it did."""
        failed = self.calls - self.statuses.get("OK", 0)
        missing = self.hops_expected - self.hops_judged - self.skipped_hops
        lag_ms = self.lag.p99_ms
        unwatched = self.degradations.get("DEGRADATION_NOT_MONITORED", 0)
        found = [
            (lag_ms > self.limits.lag_ms, f"p99 lag {lag_ms:.0f} ms, above {self.limits.lag_ms:g} ms"),
            (self.lag.count == 0, "no update while all calls were up"),
            (self.skipped_hops > 0, f"{self.skipped_hops} hops skipped"),
            (missing > 0, f"{missing} hops without an update"),
            (unwatched > 0, f"{unwatched} updates without a model's answer"),
            (failed > 0, f"{failed} calls failed"),
        ]
        return [reason for is_so, reason in found if is_so]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "valid": self.is_valid, "shortcomings": self.shortcomings}


def summarise(readings: Sequence[CallReading], limits: Limits) -> LiveResult:
    """The figures of all calls of a run together; raises ValueError for none."""
    updates = [update for reading in readings for update in reading.updates]
    return LiveResult(
        calls=len(readings),
        audio_s=round(sum(reading.audio_sent_s for reading in readings), 3),
        lag=Distribution.of_seconds(update.lag_s for update in _at_full_load(readings, updates)),
        lag_all=Distribution.of_seconds(update.lag_s for update in updates),
        lag_from_sending=Distribution.of_seconds(update.lag_from_sending_s for update in updates),
        service_lag=Distribution.of_seconds(update.service_lag_s for update in updates),
        lag_over_time=over_time(((update.audio_at_s, update.lag_s) for update in updates), STRETCH_S),
        updates=len(updates),
        hops_expected=sum(reading.hops_expected for reading in readings),
        hops_judged=sum(reading.hops_judged for reading in readings),
        skipped_hops=sum(reading.skipped_hops for reading in readings),
        degradations=dict(Counter(name for update in updates for name in update.degradations)),
        refused=sum(reading.refused for reading in readings),
        statuses=dict(Counter(reading.status for reading in readings)),
        details=_kinds_of(reading.details for reading in readings),
        lateness=Distribution.of_seconds(late for reading in readings for late in reading.lateness_s),
        held_up=sum(reading.held_up for reading in readings),
        models=sorted({f"{reading.model} {reading.model_version}" for reading in readings if reading.model}),
        limits=limits,
    )


def _at_full_load(readings: Sequence[CallReading], updates: Iterable[Update]) -> Iterable[Update]:
    from_s = max(reading.began_s for reading in readings)
    to_s = min(reading.ended_s for reading in readings)
    return (update for update in updates if from_s <= update.audio_at_s <= to_s)


def _kinds_of(details: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, details)))[:DETAILS_KEPT]
