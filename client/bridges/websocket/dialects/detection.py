"""The dialect of a connection whose path does not say it."""

from collections import Counter
from collections.abc import Mapping, Sequence

from client.bridges.websocket.dialects.fork import Fork
from client.bridges.websocket.dialects.messages import (
    POLICY_VIOLATION,
    Dialect,
    DialectSettings,
    Event,
    Malformed,
    parsed,
    part,
)
from client.bridges.websocket.dialects.telnyx import Telnyx
from client.bridges.websocket.dialects.twilio import Twilio
from client.results import CallUpdate


class Detection:
    """Decides by the first message that differs between the dialects, and leaves the rest to the one it found."""

    def __init__(self, settings: DialectSettings, counts: Counter[str]) -> None:
        self._settings, self._counts = settings, counts
        self._found: Dialect | None = None

    def read(self, message: str | bytes) -> Sequence[Event]:
        """See Dialect."""
        if self._found is None:
            self._found = self._find(message)
        return self._found.read(message) if self._found else []

    def flush(self) -> Sequence[Event]:
        """See Dialect."""
        return self._found.flush() if self._found else []

    def alert(self, update: CallUpdate) -> str | None:
        """See Dialect."""
        return self._found.alert(update) if self._found else None

    def _find(self, message: str | bytes) -> Dialect | None:
        if isinstance(message, bytes):
            return Fork(self._settings, self._counts, needs_metadata=False)
        fields = parsed(message)
        if "event" in fields:
            return self._find_by_event(fields)
        return Fork(self._settings, self._counts, needs_metadata="sampleRate" in fields)

    def _find_by_event(self, fields: Mapping[str, object]) -> Dialect | None:
        """By the spelling of the stream's name; None for a `connected`, which has none."""
        if fields["event"] == "connected":
            return None
        start = part(fields, "start")
        if "streamSid" in fields or "streamSid" in start:
            return Twilio(self._settings, self._counts)
        if "stream_id" in fields or "stream_id" in start:
            return Telnyx(self._settings, self._counts)
        raise Malformed("an event without streamSid or stream_id before the start", POLICY_VIOLATION)
