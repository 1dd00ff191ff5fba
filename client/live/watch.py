"""Whether anybody watches a live call."""

from collections.abc import Callable

OnMonitored = Callable[[bool, str], None]


class Watch:
    """Calls `on_monitored` at every change, with the reason in words."""

    def __init__(self, on_monitored: OnMonitored | None) -> None:
        self._on_monitored = on_monitored
        self.monitored = False

    def set(self, monitored: bool, reason: str) -> None:
        """Notes how it is now."""
        if monitored == self.monitored:
            return
        self.monitored = monitored
        if self._on_monitored is not None:
            self._on_monitored(monitored, reason)
