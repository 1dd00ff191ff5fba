"""Everything that the report tells, and the JSON beside it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from client.results import ModelInfo
from loadtest.closed_loop import OK, STAGES
from loadtest.figures import figures_to_json
from loadtest.report import compared
from loadtest.report.knee import held, knee
from loadtest.report.measuring import OTHERS, Live, LiveStep, Unary, bracket
from loadtest.report.plan import COMPARED_AT, Plan
from loadtest.report.points import Band, Batching, Point, batching, cores, points
from loadtest.servers import SERVERS

KIND: Final = "report"
BUSY_CORES: Final = 0.1  # of other programs: more than a machine needs for itself


@dataclass(frozen=True)
class Findings:
    """`live_stages_ms` are milliseconds of processor time a second of call by stage, or why there are none."""

    around: Mapping[str, Any]
    model: ModelInfo
    model_after: ModelInfo  # the same once all was measured: another version may have been promoted meanwhile
    plan: Plan
    limit_ms: float  # of the p99
    unary: Unary
    live: Live | None
    live_stages_ms: Mapping[str, float] | str

    @cached_property
    def points(self) -> list[Point]:
        return points(self.unary, self.model.name)

    @property
    def saturation(self) -> Band:
        """Calls answered a second where there is always more to do."""
        return Band.of(each.full.result.answered_per_s for each in self.unary.rounds)

    @property
    def full_cores(self) -> dict[str, float]:
        """Busy meanwhile, by program."""
        return cores([each.full.cost for each in self.unary.rounds])

    @property
    def full_batching(self) -> Batching | None:
        return batching([each.full.cost for each in self.unary.rounds], self.model.name)

    @property
    def others_cores(self) -> float | None:
        """Busy on average with other programs while loads were offered; None where that could not be told."""
        return cores([step.cost for each in self.unary.rounds for step in each.steps]).get(OTHERS)

    @property
    def alone(self) -> Band:
        """The median time of a call that is alone, in milliseconds."""
        return Band.of(each.alone.latency.p50_ms for each in self.unary.rounds)

    @property
    def alone_stages_ms(self) -> dict[str, float]:
        """Its stages by the service's clock, in the order of its way, and what is left: gRPC and the event loops."""
        told = [each.alone.stages_ms for each in self.unary.rounds if each.alone.stages_ms]
        if not told:
            return {}
        medians = {name: statistics.median(each[name] for each in told) for name in STAGES}
        stages = {label: medians[name] for name, label in STAGES.items()}
        return {**stages, "gRPC and everything else": max(0.0, self.alone.median - sum(medians.values()))}

    @property
    def held_rate(self) -> float | None:
        """The highest measured load that is held, and all lower ones with it; None where not even the lowest is."""
        reached = None
        for point in self.points:
            if not point.holds(self.limit_ms):
                break
            reached = point.rate
        return reached

    @cached_property
    def held(self) -> Band | None:
        """The load that is held in every round, between the measured ones; None unless each has one."""
        rounds = [
            held(
                self.unary.rates,
                [step.result.latency.p99_ms for step in each.steps],
                [step.result.statuses.keys() <= {OK} for step in each.steps],
                self.limit_ms,
            )
            for each in self.unary.rounds
        ]
        return _band(rounds)

    @cached_property
    def knee(self) -> Band | None:
        """The knee in every round; None unless it lies within the loads in most rounds."""
        rounds = [
            knee(
                self.unary.rates,
                [step.result.answered_per_s for step in each.steps],
                [step.result.latency.p50_ms for step in each.steps],
            )
            for each in self.unary.rounds
        ]
        found = [each for each in rounds if each is not None]
        return Band.of(found) if len(found) * 2 > len(rounds) else None

    @property
    def compared(self) -> Point:
        """The load next to COMPARED_AT of saturation."""
        return min(self.points, key=lambda point: abs(point.fraction - COMPARED_AT))

    @property
    def is_valid(self) -> bool:
        """Whether the generator was in time at the loads below saturation, and with the fewest live calls."""
        unary = all(point.is_valid for point in self.points if point.fraction < 1)
        return unary and (self.live is None or min(self.live.found.steps, key=lambda step: step.calls).is_valid)

    @property
    def live_carried(self) -> tuple[int, int] | None:
        """Live calls that were carried, and the fewest above that were not or were not tried."""
        return bracket(self.live.found) if self.live else None

    @property
    def doubts(self) -> list[str]:
        """Why the figures may say less about the service than they seem to."""
        others, cores_here = self.others_cores or 0.0, self.around["machine"]["cores"]
        late = [point.rate for point in self.points if not point.is_valid]
        limits = ", ".join(f"{rate:g}/s" for rate in late)
        servers_seen = all(name in self.full_cores for name in SERVERS)
        before, after = self.model.version, self.model_after.version
        found = [
            (before != after, f"version {after} of the model took over from {before} meanwhile"),
            (others > BUSY_CORES, f"other programs kept {others:.1f} of the {cores_here} cores busy meanwhile"),
            (bool(late), f"the generator was late at {limits}: those loads count as not held"),
            (bool(self.around["uncommitted_changes"]), "the working tree had changes that the commit does not hold"),
            (not servers_seen, "the servers' processes were not found, so their processor time is missing"),
            (self.full_batching is None, "Triton gave no statistics of this model, so batches and queue are missing"),
        ]
        return [reason for is_so, reason in found if is_so]

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with the figures that runs can be compared by."""
        live = self.live
        return {
            **self.around,
            "kind": KIND,
            "model": f"{self.model.name}/{self.model.version}",
            "precision": self.model.precision,
            "provider": self.model.provider,
            "plan": {**self.plan.to_dict(), "p99_limit_ms": self.limit_ms},
            "figures": figures_to_json(compared.figures(self)),
            "saturation_per_s": self.saturation.to_dict(),
            "alone_ms": self.alone.to_dict(),
            "alone_stages_ms": self.alone_stages_ms,
            "held_rate_per_s": self.held_rate,
            "held_per_s": self.held.to_dict() if self.held else None,
            "knee_per_s": self.knee.to_dict() if self.knee else None,
            "points": [point.to_dict() for point in self.points],
            "live_calls_carried": live.found.calls if live else None,
            "live_search_ended_by": live.found.ended_by if live else None,
            "live_repeats": [_live_dict(step) for step in live.repeats] if live else [],
            "live_steps": [_live_dict(step) for step in live.searched] if live else [],
            "live_stages_ms_a_second": self.live_stages_ms,
            "others_cores": self.others_cores,
            "doubts": self.doubts,
        }


def _band(values: list[float | None]) -> Band | None:
    known = [value for value in values if value is not None]
    return Band.of(known) if known and len(known) == len(values) else None


def _live_dict(step: LiveStep) -> dict[str, Any]:
    each = step.cost.server_cpu_ms_per(step.result.audio_s)
    return {"result": step.result.to_dict(), "servers": step.cost.to_dict(), "server_cpu_ms_per_audio_s": each}
