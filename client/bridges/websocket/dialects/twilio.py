"""Twilio Media Streams: JSON events with base64 mu-law, as twilio.com/docs/voice/media-streams/websocket-messages."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from client.bridges.calls import Audio
from client.bridges.websocket.dialects.messages import (
    POLICY_VIOLATION,
    DialectSettings,
    Event,
    Malformed,
    Start,
    Stop,
    number,
    parsed,
    part,
    payload,
    text,
)
from client.bridges.websocket.tracks import Tracks
from client.formats import G711_RATE_HZ, AudioFormat
from client.results import CallUpdate

ENCODING: Final = "audio/x-mulaw"
INBOUND: Final = "inbound"
KNOWN_TRACKS: Final = (INBOUND, "outbound")  # the caller, the agent


class Twilio:
    """Both tracks of a stream become two channels, aligned by their timestamps; one track becomes one."""

    def __init__(self, settings: DialectSettings, counts: Counter[str]) -> None:
        self._settings, self._counts = settings, counts
        self._stream_sid = ""
        self._tracks: Tracks | None = None
        self._channels: Mapping[str, int] = {}
        self._last_number: int | None = None
        self._after_loss: set[str] = set()

    def read(self, message: str | bytes) -> Sequence[Event]:
        """See Dialect."""
        fields = parsed(message)
        event = fields.get("event")
        self._follow(number(fields, "sequenceNumber"))
        if event == "media":
            return self._media(part(fields, "media"))
        if event == "start":
            return [self._start(fields)]
        if event == "stop":
            return [*self.flush(), Stop()]
        if event in ("dtmf", "mark"):
            self._counts[f"{event}_events"] += 1
        elif event != "connected":
            self._counts["unknown_events"] += 1
        return []

    def flush(self) -> Sequence[Audio]:
        """See Dialect."""
        return self._tracks.flush() if self._tracks else []

    def alert(self, update: CallUpdate) -> str | None:
        """A mark, Twilio's only message that carries a name, where the settings ask for it."""
        if not self._settings.tell_by_mark:
            return None
        return json.dumps({"event": "mark", "streamSid": self._stream_sid, "mark": {"name": f"wigeup:{update.alert}"}})

    def _follow(self, message_number: int | None) -> None:
        """Notes which messages are missing: numbers count all of a stream's."""
        if message_number is None:
            return
        missing = 0 if self._last_number is None else message_number - self._last_number - 1
        if missing > 0:
            self._counts["lost_messages"] += missing
            self._after_loss.update(self._channels)
        elif missing < 0:
            self._counts["disordered_messages"] += 1
        self._last_number = max(message_number, self._last_number or 0)

    def _start(self, fields: Mapping[str, object]) -> Start:
        if self._tracks is not None:
            raise Malformed("a second start on one connection", POLICY_VIOLATION)
        start = part(fields, "start")
        media_format = part(start, "mediaFormat")
        encoding = text(media_format, "encoding") or ENCODING
        rate_hz = number(media_format, "sampleRate") or G711_RATE_HZ
        if (encoding, rate_hz) != (ENCODING, G711_RATE_HZ):
            raise Malformed(f"{encoding[:40]} at {rate_hz} Hz; this dialect is {ENCODING} at 8000", POLICY_VIOLATION)
        self._stream_sid = text(fields, "streamSid") or text(start, "streamSid")
        call_id = text(start, "callSid") or self._stream_sid
        if not call_id:
            raise Malformed("a start without callSid and streamSid", POLICY_VIOLATION)
        named = start.get("tracks")
        tracks = [name for name in KNOWN_TRACKS if isinstance(named, list) and name in named] or [INBOUND]
        self._channels = {name: channel for channel, name in enumerate(tracks)}
        audio_format = AudioFormat.mulaw(len(tracks))
        self._tracks = Tracks(audio_format, self._counts)
        return Start(call_id, audio_format, text(part(start, "customParameters"), "token"))

    def _media(self, media: Mapping[str, object]) -> Sequence[Audio]:
        if self._tracks is None:
            raise Malformed("media before start", POLICY_VIOLATION)
        name = text(media, "track") or INBOUND
        if name not in self._channels:
            self._counts["unexpected_tracks"] += 1
            return []
        data = payload(media, 1, self._counts)
        after_loss = name in self._after_loss
        self._after_loss.discard(name)
        return self._tracks.add(self._channels[name], data, number(media, "timestamp"), after_loss=after_loss)
