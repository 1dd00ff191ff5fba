"""A setting measured beside the present one: short stretches of load on either in turn, so that noise is visible.

Both are loaded at once; whichever is not asked costs nothing. What else the machine does meets both alike, and what it
does to the present setting from one stretch to the next is the noise.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadtest import triton_statistics
from loadtest.tune.load import Served, send_in_turn
from loadtest.tune.server import Triton

CLIENT: Final = "client"
MS_A_S: Final = 1000
FEWEST_ANSWERS: Final = 20  # in a stretch, of a model that is slow


class NothingAnswered(Exception):
    """There is nothing to compare with."""


@dataclass(frozen=True)
class Stretches:
    """How long load is held: with one caller and with many."""

    alone_s: float = 0.4
    saturated_s: float = 0.7
    callers: int = 64

    def for_latency(self, alone_s: float, cores: int) -> Stretches:
        """Longer ones for a slow model, so that every stretch holds some answers and many batches."""
        whole_queue_s = 2 * self.callers * alone_s / cores
        return Stretches(
            max(self.alone_s, FEWEST_ANSWERS * alone_s), max(self.saturated_s, whole_queue_s), self.callers
        )

    @property
    def pair_s(self) -> float:
        return 2 * (self.alone_s + self.saturated_s)


@dataclass(frozen=True)
class Sample:
    """One setting once: alone, and at saturation with what that cost."""

    alone: Served
    saturated: Served
    cpu_ms: Mapping[str, float]  # of processor time an answer at saturation, by program
    mean_batch: float

    @property
    def latency_ms(self) -> float:
        """Infinite where nothing was answered."""
        return self.alone.latency.p50_ms if self.alone.latency.count else math.inf

    @property
    def per_s(self) -> float:
        return self.saturated.per_s

    @property
    def server_cpu_ms(self) -> float:
        """Of processor time an answer, the client's not counted."""
        return sum(spent for program, spent in self.cpu_ms.items() if program != CLIENT)

    @property
    def failures(self) -> dict[str, int]:
        return {**self.alone.failures, **self.saturated.failures}


@dataclass(frozen=True)
class Pair:
    """A setting and the present one, one right after the other."""

    tried: Sample
    present: Sample

    @property
    def throughput(self) -> float:
        return self.tried.per_s / self.present.per_s

    @property
    def latency(self) -> float:
        return self.tried.latency_ms / self.present.latency_ms

    @property
    def server_cpu(self) -> float:
        """No number where the stretches were too short for the system's clock."""
        return self.tried.server_cpu_ms / self.present.server_cpu_ms if self.present.server_cpu_ms else math.nan


@dataclass(frozen=True)
class Point:
    """A setting with all its pairs; ratios to the present setting and absolute figures are medians."""

    label: str
    pairs: tuple[Pair, ...]

    @property
    def throughput(self) -> float:
        return statistics.median(each.throughput for each in self.pairs)

    @property
    def latency(self) -> float:
        return statistics.median(each.latency for each in self.pairs)

    @property
    def server_cpu(self) -> float:
        return statistics.median(each.server_cpu for each in self.pairs)

    def median(self, figure: Callable[[Sample], float]) -> float:
        return statistics.median(figure(each.tried) for each in self.pairs)

    @property
    def failures(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for pair in self.pairs:
            for status, count in pair.tried.failures.items():
                found[status] = found.get(status, 0) + count
        return found

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "setting": self.label,
            "throughput_ratio": [round(each.throughput, 4) for each in self.pairs],
            "latency_ratio": [_finite(each.latency, 4) for each in self.pairs],
            "server_cpu_ratio": [_finite(each.server_cpu, 4) for each in self.pairs],
            "per_s": [round(each.tried.per_s, 2) for each in self.pairs],
            "latency_ms": [_finite(each.tried.latency_ms, 3) for each in self.pairs],
            "present_per_s": [round(each.present.per_s, 2) for each in self.pairs],
            "present_latency_ms": [each.present.latency_ms for each in self.pairs],
            "p99_ms": [each.tried.saturated.latency.p99_ms for each in self.pairs],
            "mean_batch": [round(each.tried.mean_batch, 3) for each in self.pairs],
            "cpu_ms": [dict(each.tried.cpu_ms) for each in self.pairs],
            "failures": self.failures,
        }


class Meter:
    """Puts load on models of one Triton."""

    def __init__(self, triton: Triton, stretches: Stretches) -> None:
        self._triton, self.stretches = triton, stretches

    def pairs(
        self, tried: str, present: str, requests: Mapping[str, Sequence[bytes]], count: int, first: int = 0
    ) -> tuple[Pair, ...]:
        """So many samples of both models in turn; who is first changes from pair to pair, which count from `first`."""
        made = []
        for number in range(first, first + count):
            order = (tried, present) if number % 2 == 0 else (present, tried)
            samples = {name: self.sample(name, requests[name]) for name in order}
            if not samples[present].per_s or math.isinf(samples[present].latency_ms):
                raise NothingAnswered(
                    f"the present setting answers nothing: {samples[present].failures or 'no reason'}"
                )
            made.append(Pair(samples[tried], samples[present]))
        return tuple(made)

    def sample(self, name: str, requests: Sequence[bytes]) -> Sample:
        address, held = self._triton.address, self.stretches
        alone = send_in_turn(address, requests, 1, held.alone_s, FEWEST_ANSWERS)
        batches, cpu_s = triton_statistics.read_counts(address), self._cpu_s(name)
        saturated = send_in_turn(address, requests, held.callers, held.saturated_s)
        spent = {program: after - cpu_s[program] for program, after in self._cpu_s(name).items()}
        counts = triton_statistics.changes(batches, triton_statistics.read_counts(address))
        ran = counts[f"{name} 1"] if f"{name} 1" in counts else triton_statistics.ModelCounts()
        answers = max(1, ran.inferences)
        cpu_ms = {program: round(MS_A_S * each / answers, 3) for program, each in spent.items()}
        return Sample(alone, saturated, cpu_ms, ran.inferences / max(1, ran.executions))

    def _cpu_s(self, name: str) -> dict[str, float]:
        return {**self._triton.cpu_s(name), CLIENT: time.process_time()}


def _finite(value: float, digits: int) -> float | None:
    """JSON has no infinity, and no way to say that there is no number but null."""
    return round(value, digits) if math.isfinite(value) else None
