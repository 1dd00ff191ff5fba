"""When a live call raises an alert, and when the alert is cleared: one smoothed probability with two levels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from preprocess_service.contract import AlertSettings

NOT_BELOW: Final = -1.0


@dataclass(frozen=True)
class AlertState:
    """All that the policy must know of a call; the defaults are those of a call's beginning.

    The fields are those of the API's CallState, where `covered_s` is the position. Times are seconds of audio from the
    call's beginning.
    """

    smoothed: float = 0.0
    raised: bool = False
    changed_at_s: float = 0.0  # when `raised` last changed
    below_since_s: float = NOT_BELOW  # since when a raised alert might be cleared; negative: not
    alerts: int = 0  # raised so far
    covered_s: float = 0.0  # the end of the last window, scored or not

    def unheard(self, at_s: float) -> AlertState:
        """The state after time in which nothing was scored: it brings an alert no nearer to being raised or cleared."""
        covered_s = max(at_s, self.covered_s)
        paused_s = covered_s - self.covered_s if self.below_since_s >= 0 else 0.0
        return replace(self, below_since_s=self.below_since_s + paused_s, covered_s=covered_s)


@dataclass(frozen=True)
class AlertPolicy:
    """The caller's probability, smoothed exponentially over seconds of audio, raises an alert at one level and clears
    it after it has stayed below a lower one.

    A call begins at 0, as most calls are normal: nothing is raised by a single window that is short, and an emergency
    from the first second on is raised after about a time constant.
    """

    settings: AlertSettings

    def step(self, state: AlertState, probability: float | None, at_s: float, *, has_words: bool) -> AlertState:
        """The state after the window that ends at `at_s`, at any distance from the one before.

        `probability` is calibrated, 0 to 1; None where the window was not scored (see `AlertState.unheard`).
        """
        covered_s = max(at_s, state.covered_s)
        elapsed_s = covered_s - state.covered_s
        if probability is None:
            below_since_s = state.below_since_s + elapsed_s if state.below_since_s >= 0 else NOT_BELOW
            return replace(state, below_since_s=below_since_s, covered_s=covered_s)
        moved_by = -math.expm1(-elapsed_s / self.settings.time_constant_s)
        smoothed = state.smoothed + (probability - state.smoothed) * moved_by
        moved = replace(state, smoothed=smoothed, covered_s=covered_s)
        return self._held(moved, has_words) if state.raised else self._watched(moved, has_words)

    def _watched(self, state: AlertState, has_words: bool) -> AlertState:
        if state.smoothed < self.settings.levels(has_words).raise_at:
            return state
        return replace(
            state, raised=True, changed_at_s=state.covered_s, below_since_s=NOT_BELOW, alerts=state.alerts + 1
        )

    def _held(self, state: AlertState, has_words: bool) -> AlertState:
        if state.smoothed >= self.settings.levels(has_words).clear_at:
            return replace(state, below_since_s=NOT_BELOW)
        since_s = state.below_since_s if state.below_since_s >= 0 else state.covered_s
        if state.covered_s - since_s < self.settings.clear_after_s:
            return replace(state, below_since_s=since_s)
        return replace(state, raised=False, changed_at_s=state.covered_s, below_since_s=NOT_BELOW)
