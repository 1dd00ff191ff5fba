"""The sweep: every coordinate around the present setting, a small grid of the best, and the best once more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loadtest.tune import decision, questions, settings
from loadtest.tune.decision import Noise
from loadtest.tune.measuring import Meter, Pair, Point, Sample, Stretches
from loadtest.tune.server import Refused, Triton, profiled
from preprocess_service.model_spec import Profile, ProfileName
from preprocess_service.repository import ServedModel
from preprocess_service.triton import Arrays

PRESENT, ITSELF = "present", "itself"
PAIRS: Final = 3  # of a setting: many short ones, so that what else the machine does meets both alike
NULL_PAIRS: Final = 6  # of the present setting with itself
FINAL_PAIRS: Final = 6  # of the best
GRID_FROM: Final = 3  # coordinates whose best levels are combined
NONE: Final = Noise(0, 0)  # before there is anything to tell it from
AHEAD_S: Final = 8.0  # to have a setting loaded, before one was


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    limit_s: float
    quick: bool = False

    @property
    def pairs(self) -> int:
        return 1 if self.quick else PAIRS

    @property
    def null_pairs(self) -> int:
        return NULL_PAIRS // 2 if self.quick else NULL_PAIRS

    @property
    def final_pairs(self) -> int:
        return FINAL_PAIRS // 2 if self.quick else FINAL_PAIRS


@dataclass
class Swept:
    """What was measured; `refused` says why, by setting, and `left_out` for what there was no time."""

    present: Profile
    against_itself: tuple[Pair, ...]
    points: dict[str, Point] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    final: Point | None = None
    noise: Noise = NONE  # of a point
    final_noise: Noise = NONE

    @property
    def present_samples(self) -> list[Sample]:
        """The present setting, whenever it was measured."""
        pairs = [pair for point in self.points.values() for pair in point.pairs]
        return [each for pair in self.against_itself for each in (pair.tried, pair.present)] + [
            pair.present for pair in pairs
        ]


class Sweep:
    """One model on one kind of machine; `until` is a moment of the monotonic clock."""

    def __init__(
        self,
        triton: Triton,
        served: ServedModel,
        kind: ProfileName,
        version: Path,
        arrays: list[Arrays],
        *,
        stretches: Stretches,
        cores: int,
        scale: Scale,
        until: float,
        tell: Callable[[str], None],
    ) -> None:
        self._triton, self._served, self._kind, self._version = triton, served, kind, version
        self._arrays, self._cores, self._scale, self._until, self._tell = arrays, cores, scale, until, tell
        self._present = served.spec.profile(kind)
        self._meter = Meter(triton, stretches)
        self._requests = {PRESENT: questions.infer_requests(served, PRESENT, arrays)}
        self._numbers = 0
        self._load_s = AHEAD_S

    @property
    def stretches(self) -> Stretches:
        """How long load is held; fitted to the model by `run`."""
        return self._meter.stretches

    def run(self) -> Swept:
        """Raises Refused where the present setting itself cannot be loaded."""
        self._load(PRESENT, self._present)
        first = self._meter.sample(PRESENT, self._requests[PRESENT])  # warms up, and tells how slow the model is
        self._meter.stretches = self._meter.stretches.for_latency(first.latency_ms / 1000, self._cores)
        self._load(ITSELF, self._present)
        swept = Swept(self._present, self._pairs(ITSELF, self._scale.null_pairs))
        self._triton.unload(ITSELF)
        self._say(Point("as now, against itself", swept.against_itself))
        coordinates = settings.coordinates(self._present, self._kind, self._cores, self._served.contract)
        if self._scale.quick:
            coordinates = [settings.Coordinate(each.name, each.profiles[:1]) for each in coordinates]
        combined = [settings.all_cores_in_one(self._present, self._cores)] if self._kind == "cpu" else []
        # A coordinate's first levels before any of its last: what there is no time for is what lies farthest off.
        profiles = sorted(
            ((place, profile) for each in coordinates for place, profile in enumerate(each.profiles)),
            key=lambda each: each[0],
        )
        self._measure(swept, [*combined, *(profile for _, profile in profiles)])
        self._tell_noise(swept)
        if not self._scale.quick:
            self._measure(swept, settings.grid(self._present, self._best_levels(swept, coordinates)))
            self._tell_noise(swept)
        self._confirm(swept)
        return swept

    def _best_levels(self, swept: Swept, coordinates: Iterable[settings.Coordinate]) -> list[Profile]:
        """Of the coordinates that promise most, the best level that may be served."""
        found: list[tuple[float, Profile]] = []
        for each in coordinates:
            measured = [
                (decision.gain(swept.points[label]), profile)
                for profile in each.profiles
                if (label := self._label(profile)) in swept.points and self._may_serve(profile)
            ]
            if measured:
                found.append(max(measured, key=lambda pair: pair[0]))
        found.sort(key=lambda pair: pair[0], reverse=True)
        return [profile for _, profile in found[:GRID_FROM]]

    def _confirm(self, swept: Swept) -> None:
        """The best so far measured anew: the best of many is partly the luckiest."""
        if swept.noise.is_unsteady:
            return
        admitted = [point for label, point in swept.points.items() if self._may_serve(swept.profiles[label])]
        best = decision.best(admitted, swept.noise)
        if best is not None:
            self._tell(f"once more: {best.label}")
            name = self._load_next(swept.profiles[best.label])
            swept.final = Point(best.label, self._pairs(name, self._scale.final_pairs))
            self._triton.unload(name)
            self._say(swept.final)

    def _measure(self, swept: Swept, profiles: Iterable[Profile]) -> None:
        for profile in profiles:
            label = self._label(profile)
            if label in swept.points or label in swept.refused or profile == self._present:
                continue
            if time.monotonic() + self._cost_s() > self._until:
                swept.left_out.append(label)
                continue
            began = time.monotonic()
            try:
                name = self._load_next(profile)
            except Refused as error:
                swept.refused[label] = str(error)
                continue
            self._load_s = max(self._load_s / 2, time.monotonic() - began)
            swept.points[label] = self._point(label, name, decision.noise(swept.against_itself, [], 1))
            swept.profiles[label] = profile
            self._triton.unload(name)
            self._say(swept.points[label])

    def _point(self, label: str, name: str, of_one: Noise) -> Point:
        """One pair, and the others unless the first has shown that the setting is far worse."""
        pairs = self._meter.pairs(name, PRESENT, self._requests, 1)
        if self._scale.pairs > 1 and not decision.is_hopeless(pairs[0], of_one):
            pairs += self._meter.pairs(name, PRESENT, self._requests, self._scale.pairs - 1, first=1)
        del self._requests[name]
        return Point(label, pairs)

    def _tell_noise(self, swept: Swept) -> None:
        points = list(swept.points.values())
        swept.noise = decision.noise(swept.against_itself, points, self._scale.pairs)
        swept.final_noise = decision.noise(swept.against_itself, points, self._scale.final_pairs)

    def _cost_s(self) -> float:
        """Of a setting, with the time that the last look at the best one needs kept back."""
        pairs = self._scale.pairs + self._scale.final_pairs
        return 2 * self._load_s + pairs * self._meter.stretches.pair_s * 1.2

    def _load_next(self, profile: Profile) -> str:
        self._numbers += 1
        name = f"setting-{self._numbers}"
        self._load(name, profile)
        return name

    def _load(self, name: str, profile: Profile) -> None:
        self._triton.load(profiled(self._served.spec, self._kind, profile, name), self._kind, self._version)
        if name not in self._requests:
            self._requests[name] = questions.infer_requests(self._served, name, self._arrays)

    def _pairs(self, name: str, count: int) -> tuple[Pair, ...]:
        pairs = self._meter.pairs(name, PRESENT, self._requests, count)
        del self._requests[name]
        return pairs

    def _label(self, profile: Profile) -> str:
        return settings.differences(profile, self._present)

    def _may_serve(self, profile: Profile) -> bool:
        return settings.may_be_served(profile, self._kind, self._served.contract)

    def _say(self, point: Point) -> None:
        self._tell(f"{point.label}: throughput × {point.throughput:.3f}, latency × {point.latency:.3f}")
