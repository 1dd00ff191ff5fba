"""How much of everything is measured, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

COMPARED_AT: Final = 0.7  # of saturation: the load whose figures are compared from run to run
_FRACTIONS: Final = (0.2, 0.4, 0.55, COMPARED_AT, 0.8, 0.9, 1.0, 1.1, 1.25)
_FEW_FRACTIONS: Final = (0.25, 0.5, COMPARED_AT, 0.9, 1.1)


@dataclass(frozen=True)
class Plan:
    """Times in seconds. A round is one caller, then many, then every load once, from the lowest to the highest; what
    is repeated in rounds is spread over the run, so that repetitions differ by what the machine does meanwhile."""

    fractions: Sequence[float] = _FRACTIONS  # of saturation, where no rates are given
    rates: Sequence[float] = ()  # calls a second; these instead
    rounds: int = 5
    seconds: float = 3.0  # of every load
    alone_s: float = 2.0
    full_s: float = 3.0
    full_callers: int = 32  # at once: as many as the service works on at once, unless told otherwise
    warm_up_s: float = 8.0  # Java compiles what it runs often; before that a service is slow
    live_calls: int = 240  # 0 for none
    live_seconds: float = 10.0
    live_repeats: int = 3
    live_search_s: float = 50.0

    def to_dict(self) -> dict[str, Any]:
        """For JSON: runs of different plans cannot be compared."""
        return asdict(self)


def plan_of(*, quick: bool, rates: Sequence[float], rounds: int | None, live_calls: int) -> Plan:
    """The plan for these options; `rates` in any order."""
    rates = tuple(sorted(rates))
    if not quick:
        return Plan(rates=rates, rounds=rounds or Plan.rounds, live_calls=live_calls)
    return Plan(
        fractions=_FEW_FRACTIONS,
        rates=rates,
        rounds=rounds or 2,
        seconds=2.0,
        alone_s=1.0,
        full_s=2.0,
        warm_up_s=5.0,
        live_calls=live_calls,
        live_seconds=5.0,
        live_repeats=2,
        live_search_s=0.0,
    )
