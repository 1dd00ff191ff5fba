"""What follows from a sweep: another configuration, or none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf import text_format

from loadtest.tune import decision, settings
from loadtest.tune.measuring import Point
from loadtest.tune.server import profiled
from loadtest.tune.sweep import Swept
from preprocess_service.model_spec import ModelSpec, Profile, ProfileName
from training.triton_config import HEADER, model_config


@dataclass(frozen=True)
class Proposal:
    """A profile that measured better than the present one, by more than the noise, twice."""

    point: Point
    profile: Profile
    lines: tuple[str, ...]  # arguments of Profile to change
    pbtxt: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"setting": self.point.label, "profile_lines": list(self.lines), "pbtxt": self.pbtxt}


def propose(swept: Swept, spec: ModelSpec, kind: ProfileName) -> Proposal | None:
    """None where nothing is better than the present setting by more than the noise, or the noise is too great to tell.

    The second measurement of the best decides, not the first: of many settings the best is partly the luckiest.
    """
    final = swept.final
    if final is None or swept.noise.is_unsteady or not decision.is_better(final, swept.final_noise):
        return None
    profile = swept.profiles[final.label]
    changed = model_config(profiled(spec, kind, profile, spec.name), kind)
    lines = tuple(settings.spec_lines(profile, swept.present))
    return Proposal(final, profile, lines, HEADER + text_format.MessageToString(changed))
