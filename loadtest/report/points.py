"""What the rounds say together about every offered load."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.closed_loop import OK
from loadtest.open_loop import HEAD_START_S
from loadtest.report.measuring import OTHERS, Step, Unary
from loadtest.servers import Cost


@dataclass(frozen=True)
class Band:
    """One figure in every round, at least one."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float]) -> Band:
        return cls(tuple(values))

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"median": self.median, "values": list(self.values)}


@dataclass(frozen=True)
class Batching:
    """What Triton did with the model's rows: executions by batch size, and the mean times of a request."""

    batches: Counter[int]
    queue_ms: float
    compute_ms: float

    @property
    def mean_batch(self) -> float:
        return sum(size * count for size, count in self.batches.items()) / self.batches.total()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        batches = {str(size): count for size, count in sorted(self.batches.items())}
        times = {"queue_ms": round(self.queue_ms, 3), "compute_ms": round(self.compute_ms, 3)}
        return {"batches": batches, "mean_batch": round(self.mean_batch, 3), **times}


@dataclass(frozen=True)
class Point:
    """One offered load; times in milliseconds, from when calls were due."""

    rate: float
    fraction: float  # of saturation
    answered_per_s: Band
    p50: Band
    p90: Band
    p99: Band
    longest: Band
    calls: int
    failed: dict[str, int]  # calls of all rounds that had no verdict, by status
    late_ms: float  # median of the rounds' p99 lateness of the generator
    is_valid: bool
    cores: dict[str, float]  # busy on average, by program
    server_cpu_ms: Band | None  # a call
    batching: Batching | None

    def holds(self, limit_ms: float) -> bool:
        """Whether every call was answered, 99 of 100 within the limit, in the middle of the rounds."""
        return self.is_valid and not self.failed and self.p99.median <= limit_ms

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        bands = {name: getattr(self, name).to_dict() for name in ("answered_per_s", "p50", "p90", "p99", "longest")}
        return {
            "rate": self.rate,
            "fraction": round(self.fraction, 4),
            **bands,
            "calls": self.calls,
            "failed": self.failed,
            "generator_late_p99_ms": self.late_ms,
            "valid": self.is_valid,
            "cores": self.cores,
            "server_cpu_ms": self.server_cpu_ms.to_dict() if self.server_cpu_ms else None,
            "triton": self.batching.to_dict() if self.batching else None,
        }


def points(unary: Unary, model: str) -> list[Point]:
    """One point a load."""
    return [
        _point(rate, fraction, [each.steps[index] for each in unary.rounds], model)
        for index, (rate, fraction) in enumerate(zip(unary.rates, unary.fractions, strict=True))
    ]


def _point(rate: float, fraction: float, steps: Sequence[Step], model: str) -> Point:
    results = [step.result for step in steps]
    failed: Counter[str] = Counter()
    for result in results:
        failed.update({name: count for name, count in result.statuses.items() if name != OK})
    costs = [step.cost.server_cpu_ms_per(step.result.latency.count) for step in steps]
    known = [cost for cost in costs if cost is not None]
    return Point(
        rate=rate,
        fraction=fraction,
        answered_per_s=Band.of(each.answered_per_s for each in results),
        p50=Band.of(each.latency.p50_ms for each in results),
        p90=Band.of(each.latency.p90_ms for each in results),
        p99=Band.of(each.latency.p99_ms for each in results),
        longest=Band.of(each.latency.max_ms for each in results),
        calls=sum(each.calls for each in results),
        failed=dict(failed),
        late_ms=statistics.median(each.lateness.p99_ms for each in results),
        is_valid=sum(each.is_valid for each in results) * 2 > len(results),
        cores=cores([step.cost for step in steps], idle_s=HEAD_START_S),
        server_cpu_ms=Band.of(known) if len(known) == len(costs) else None,
        batching=batching([step.cost for step in steps], model),
    )


def cores(costs: Sequence[Cost], idle_s: float = 0.0) -> dict[str, float]:
    """Processor seconds a second of every program that was found in all of these; `idle_s` of each run came before the
    first call, of which only other programs take no notice."""
    names = [name for name in costs[0].cpu_s if all(name in cost.cpu_s for cost in costs)]
    walls_s = {name: sum(cost.wall_s - (0 if name == OTHERS else idle_s) for cost in costs) for name in names}
    return {name: round(sum(cost.cpu_s[name] for cost in costs) / walls_s[name], 4) for name in names}


def batching(costs: Sequence[Cost], model: str) -> Batching | None:
    """What Triton did of one model, in whatever version; None where it gave no statistics or had nothing to do."""
    counts = [each for cost in costs for name, each in (cost.models or {}).items() if name.partition(" ")[0] == model]
    requests = sum(each.requests for each in counts)
    batches = sum((each.batches for each in counts), Counter[int]())
    if not requests or not batches:
        return None
    nanoseconds = [sum(each.queue_ns for each in counts), sum(each.compute_ns for each in counts)]
    queue_ms, compute_ms = (total / 1e6 / requests for total in nanoseconds)
    return Batching(batches, queue_ms, compute_ms)
