"""A call's updates over all its streams, and the summary that they and the last stream's own make."""

from dataclasses import replace

from client.results import CallSummary, CallUpdate, WindowScore

# The longest window of this project's models: how long one was of which only the end is known.
LONGEST_WINDOW_S = 7.0


class History:
    """What has come of a call so far."""

    def __init__(self) -> None:
        self.last_number = 0
        self._ends: list[tuple[float, float]] = []  # end of every scored window and its probability
        self._degradations: dict[str, None] = {}

    def add(self, update: CallUpdate) -> bool:
        """Takes the next update; False, and nothing taken, for one that came before."""
        if update.number <= self.last_number:
            return False
        self.last_number = update.number
        if update.caller.scored and update.caller.probability is not None:
            self._ends.append((update.covered_s, update.caller.probability))
        for party in (update.caller, update.agent):
            self._degradations.update(dict.fromkeys(party.degradations if party else ()))
        return True

    def complete(self, summary: CallSummary) -> CallSummary:
        """The last stream's summary with what the streams before it had found."""
        window_s = max((each.end_s - each.start_s for each in summary.timeline), default=LONGEST_WINDOW_S)
        known_from_s = summary.timeline[0].end_s if summary.timeline else float("inf")
        earlier = tuple(
            WindowScore(max(0.0, end_s - window_s), end_s, probability)
            for end_s, probability in self._ends
            if end_s < known_from_s
        )
        return replace(
            summary,
            timeline=earlier + summary.timeline,
            timeline_from_s=0.0,
            degradations=tuple(dict.fromkeys((*self._degradations, *summary.degradations))),
        )
