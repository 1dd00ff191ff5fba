"""How a live call gathers, keeps and sends again its audio."""

import math
from dataclasses import dataclass, fields

DEFAULT_HOP_S = 1.0  # the service's, where a call names none


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """All in seconds.

    `piece_s`: audio in one message, up to twice as much. `buffer_s`: audio that no update has covered yet and that is
    held at most. `window_s`, `words_s`: audio and transcripts from before the last update that are sent again over a
    new connection. `reconnect_s`: how long a call may go without its service before it fails. `stale_s`: without an
    update although one is due, the call counts as not monitored. `stalled_s`: after as long the connection is given up.
    `heartbeat_s`: of a source that pauses the service hears so often, in messages without audio.

    Raises ValueError for one that is not a positive number.
    """

    piece_s: float = 0.1
    buffer_s: float = 60.0
    window_s: float = 8.0
    words_s: float = 60.0
    reconnect_s: float = 30.0
    stale_s: float = 5.0
    stalled_s: float = 20.0
    heartbeat_s: float = 10.0

    def __post_init__(self) -> None:
        for field in fields(self):
            seconds = getattr(self, field.name)
            if not (math.isfinite(seconds) and seconds > 0):
                raise ValueError(f"{field.name} is {seconds}; it is a positive number of seconds")
