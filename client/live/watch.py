"""Whether anybody watches a live call."""

from collections.abc import Callable

OnMonitored = Callable[[bool, str], None]


class Watch:
    """Calls `on_monitored` at every change, with the reason in words."""

    def __init__(self, on_monitored: OnMonitored | None) -> None:
        self._on_monitored = on_monitored
        self._state: bool | None = None  # not known before something has come or failed

    @property
    def monitored(self) -> bool:
        """Whether the service watches."""
        return self._state is True

    def set(self, monitored: bool, reason: str) -> None:
        """Notes how it is now."""
        if monitored == self._state:
            return
        self._state = monitored
        if self._on_monitored is not None:
            self._on_monitored(monitored, reason)

    def end(self) -> None:
        """The call is over, which is not worth an alarm."""
        self._state, self._on_monitored = False, None
