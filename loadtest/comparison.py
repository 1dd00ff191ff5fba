"""What was found of one call over one line, and how far two lines lie apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from client.live.replies import NOT_MONITORED


@dataclass(frozen=True, slots=True)
class Point:
    """One update. `probability` is None where the window carried no evidence, or no model answered (`monitored`)."""

    position_frames: int
    covered_s: float
    probability: float | None
    smoothed: float
    raised: bool
    monitored: bool = True


@dataclass(frozen=True)
class Heard:
    """A whole call; `counts` is what its bridge counted, of a stream nothing."""

    points: tuple[Point, ...]
    audio_s: float
    strongest: float
    alerts: int
    lost_s: float
    skipped_hops: int
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def last(self) -> float | None:
        """The probability of the last update."""
        return self.points[-1].probability if self.points else None

    @property
    def raised_at_s(self) -> float | None:
        """Seconds of the call's audio when an alert first stood; None if none did."""
        return next((point.covered_s for point in self.points if point.raised), None)

    @property
    def not_monitored(self) -> int:
        """Updates for which no model answered in time."""
        return sum(not point.monitored for point in self.points)

    def reached_at_s(self, level: float) -> float | None:
        """The same of when the smoothed probability first was at that level."""
        return next((point.covered_s for point in self.points if point.smoothed >= level), None)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; an update is [covered_s, probability, smoothed, raised]."""
        return {
            "updates": [[each.covered_s, each.probability, each.smoothed, each.raised] for each in self.points],
            "audio_s": self.audio_s,
            "last": self.last,
            "strongest": self.strongest,
            "alerts": self.alerts,
            "raised_at_s": self.raised_at_s,
            "lost_s": self.lost_s,
            "skipped_hops": self.skipped_hops,
            "not_monitored": self.not_monitored,
            "counts": dict(self.counts),
        }


@dataclass(frozen=True)
class Drift:
    """How far the updates of one line lie from those of another.

    `unmatched` of either have no counterpart, or one that no model answered for; of `scored_otherwise` only one line's
    window carried evidence.
    """

    probability: tuple[float, ...]
    smoothed: tuple[float, ...]
    unmatched: int
    scored_otherwise: int


def heard_of(
    updates: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], counts: Mapping[str, int] | None = None
) -> Heard:
    """From updates and summary as the client's results write them (`to_dict`)."""
    return Heard(
        points=tuple(map(_point, updates)),
        audio_s=summary["audio_s"],
        strongest=summary["probability"],
        alerts=summary["alerts"],
        lost_s=summary["lost_s"],
        skipped_hops=summary["skipped_hops"],
        counts=counts or {},
    )


def drift(reference: Heard, other: Heard) -> Drift:
    """Differences of all updates that cover the same audio, and of the last ones of both."""
    ours, theirs = _by_position(reference), _by_position(other)
    pairs = [(ours[place], theirs[place]) for place in ours.keys() & theirs.keys()]
    pairs = [(one, two) for one, two in pairs if one.monitored and two.monitored]
    scored = [(one.probability, two.probability) for one, two in pairs]
    return Drift(
        probability=tuple(abs(two - one) for one, two in scored if one is not None and two is not None),
        smoothed=tuple(abs(two.smoothed - one.smoothed) for one, two in pairs),
        unmatched=len(ours.keys() | theirs.keys()) - len(pairs),
        scored_otherwise=sum((one is None) != (two is None) for one, two in scored),
    )


def _by_position(heard: Heard) -> dict[int | None, Point]:
    """The last update covers all, whatever little may be missing at the end of one line: its place is None.

    Where a call ends with a hop, that hop may or may not have had an update before the last: it has no place.
    """
    if not heard.points:
        return {}
    last = heard.points[-1]
    places: dict[int | None, Point] = {
        point.position_frames: point for point in heard.points if point.position_frames < last.position_frames
    }
    return places | {None: last}


def _point(update: Mapping[str, Any]) -> Point:
    caller = update["caller"]
    return Point(
        position_frames=update["state"]["position_frames"],
        covered_s=update["covered_s"],
        probability=caller["probability"] if caller["scored"] else None,
        smoothed=update["smoothed"],
        raised=update["alert"] == "raised",
        monitored=NOT_MONITORED not in caller["degradations"],
    )
