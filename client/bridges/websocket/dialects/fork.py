"""Binary linear PCM after at most one text message: jambonz' `listen` and FreeSWITCH's mod_audio_fork."""

import json
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence

from client.bridges.calls import Audio
from client.bridges.websocket.dialects.messages import (
    POLICY_VIOLATION,
    DialectSettings,
    Event,
    Malformed,
    Start,
    checked_rate,
    finding,
    number,
    parsed,
    text,
    whole_samples,
)
from client.formats import AudioFormat
from client.results import CallUpdate

CALL_ID_NAMES = ("callSid", "call_sid", "callId", "call_id", "callid", "Call-Id", "uuid")
CHANNELS = {"mono": 1, "mixed": 1, "stereo": 2}


class Fork:
    """One channel, or two with the caller in the first.

    Its text message is metadata: of jambonz a JSON object that says `sampleRate` and `mixType`, of mod_audio_fork
    anything or nothing. What it leaves open the address says (`?rate=8000&mix=stereo&call_id=...`), else the settings.
    """

    def __init__(self, settings: DialectSettings, counts: Counter[str], *, needs_metadata: bool) -> None:
        self._settings, self._counts = settings, counts
        self._needs_metadata = needs_metadata
        self._frame_bytes = 0

    def read(self, message: str | bytes) -> Sequence[Event]:
        """See Dialect."""
        if self._frame_bytes and isinstance(message, str):
            self._counts["text_messages"] += 1  # such as DTMF
            return []
        events: list[Event] = []
        if not self._frame_bytes:
            events.append(self._start(self._metadata(message)))
        if isinstance(message, bytes):
            data = whole_samples(message, self._frame_bytes, self._counts)
            events += [Audio(data)] if data else []
        return events

    def flush(self) -> Sequence[Audio]:
        """See Dialect: nothing is held back."""
        return []

    def alert(self, update: CallUpdate) -> str | None:
        """What mod_audio_fork hands on as its event `mod_audio_fork::json`."""
        return json.dumps({"type": "json", **finding(update)})

    def _metadata(self, message: str | bytes) -> Mapping[str, object]:
        if self._needs_metadata:
            if isinstance(message, bytes):
                raise Malformed("audio before the metadata", POLICY_VIOLATION)
            return parsed(message)
        try:
            return {} if isinstance(message, bytes) else parsed(message)
        except Malformed:
            return {}  # any text will do

    def _start(self, metadata: Mapping[str, object]) -> Start:
        query = self._settings.query
        rate_hz = number(metadata, "sampleRate") or _rate(query.get("rate", "")) or self._settings.rate_hz
        mix = text(metadata, "mixType") or query.get("mix", "")
        if mix and mix not in CHANNELS:
            raise Malformed(f"mix {mix[:20]}; it is {', '.join(CHANNELS)}", POLICY_VIOLATION)
        audio_format = AudioFormat.pcm16(checked_rate(rate_hz), CHANNELS.get(mix, self._settings.channels))
        self._frame_bytes = 2 * audio_format.channels
        call_id = text(metadata, *CALL_ID_NAMES) or query.get("call_id", "") or f"fork-{uuid.uuid4()}"
        return Start(call_id, audio_format, text(metadata, "token"))


def _rate(written: str) -> int:
    """Samples per second of "8k", "16000" and the like, 0 for nothing; raises Malformed."""
    thousands = written.removesuffix("k")
    if not written:
        return 0
    if not (thousands.isascii() and thousands.isdigit() and len(thousands) <= 6):
        raise Malformed(f"rate {written[:20]}; it is a number such as 8000 or 8k", POLICY_VIOLATION)
    return int(thousands) * (1000 if written.endswith("k") else 1)
