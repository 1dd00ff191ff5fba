"""Telnyx Media Streaming: JSON events with base64 audio in no certain order, as developers.telnyx.com describes it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from client.bridges.calls import Audio
from client.bridges.websocket.dialects.messages import (
    POLICY_VIOLATION,
    DialectSettings,
    Event,
    Malformed,
    Start,
    Stop,
    checked_rate,
    number,
    parsed,
    part,
    payload,
    text,
)
from client.bridges.websocket.reorder import Reorder
from client.bridges.websocket.tracks import Tracks
from client.formats import G711_RATE_HZ, AudioFormat, Encoding
from client.results import CallUpdate

ENCODINGS: Final = {"PCMU": Encoding.MULAW, "PCMA": Encoding.ALAW, "L16": Encoding.PCM16}
INBOUND: Final = "inbound"
KNOWN_TRACKS: Final = (INBOUND, "outbound")  # the caller, the agent
# The start does not say which tracks will come: so many media messages do (200 ms of one track, 100 of both).
LEARNING_MESSAGES: Final = 10
HELD_BACK: Final = 5  # messages of a track, 100 ms as a rule


@dataclass(frozen=True, slots=True)
class _Chunk:
    track: str
    number: int | None
    data: bytes
    at_ms: int | None


class Telnyx:
    """One or both tracks, each in the order of its chunks, aligned by their timestamps.

    `?tracks=both` or `?tracks=inbound` on the address says which will come; else the first messages do.
    """

    def __init__(self, settings: DialectSettings, counts: Counter[str]) -> None:
        self._settings, self._counts = settings, counts
        self._stream_id = ""
        self._start: Start | None = None
        self._first: list[_Chunk] = []
        self._tracks: Tracks | None = None
        self._order: Mapping[str, Reorder[_Chunk]] = {}

    def read(self, message: str | bytes) -> Sequence[Event]:
        """See Dialect."""
        fields = parsed(message)
        event = fields.get("event")
        if event == "media":
            return self._media(part(fields, "media"))
        if event == "start":
            self._start = self._begin(fields)
            known = {"both": KNOWN_TRACKS, "inbound": (INBOUND,)}.get(self._settings.query.get("tracks", ""))
            return self._settle(known) if known else []
        if event == "stop":
            return [*self.flush(), Stop()]
        if event in ("dtmf", "mark", "error"):
            self._counts[f"{event}_events"] += 1
        elif event != "connected":
            self._counts["unknown_events"] += 1
        return []

    def flush(self) -> Sequence[Event]:
        """See Dialect."""
        events: list[Event] = []
        if self._start is not None and self._tracks is None:
            events += self._settle(self._heard)
        for order in self._order.values():
            events += self._play(order.flush())
        return [*events, *(self._tracks.flush() if self._tracks else ())]

    def alert(self, update: CallUpdate) -> str | None:
        """A mark, where the settings ask for it."""
        if not self._settings.tell_by_mark:
            return None
        return json.dumps({"event": "mark", "stream_id": self._stream_id, "mark": {"name": f"wigeup:{update.alert}"}})

    def _begin(self, fields: Mapping[str, object]) -> Start:
        if self._start is not None:
            raise Malformed("a second start on one connection", POLICY_VIOLATION)
        start = part(fields, "start")
        media_format = part(start, "media_format")
        name = text(media_format, "encoding") or "PCMU"
        encoding = ENCODINGS.get(name.upper())
        if encoding is None:
            raise Malformed(f"encoding {name[:20]}; this bridge takes {', '.join(ENCODINGS)}", POLICY_VIOLATION)
        rate_hz = checked_rate(number(media_format, "sample_rate") or G711_RATE_HZ)
        channels = number(media_format, "channels") or 1
        if channels != 1 or (encoding is not Encoding.PCM16 and rate_hz != G711_RATE_HZ):
            raise Malformed(
                f"{name} at {rate_hz} Hz, {channels} channels; a track has one, G.711 8000 Hz", POLICY_VIOLATION
            )
        self._stream_id = text(fields, "stream_id") or text(start, "stream_id")
        call_id = text(start, "call_control_id") or self._stream_id
        if not call_id:
            raise Malformed("a start without call_control_id and stream_id", POLICY_VIOLATION)
        return Start(call_id, AudioFormat(encoding, rate_hz, 1), text(part(start, "custom_parameters"), "token"))

    @property
    def _heard(self) -> Sequence[str]:
        names = {chunk.track for chunk in self._first}
        return [name for name in KNOWN_TRACKS if name in names] or [INBOUND]

    def _media(self, media: Mapping[str, object]) -> Sequence[Event]:
        if self._start is None:
            raise Malformed("media before start", POLICY_VIOLATION)
        is_l16 = self._start.format.encoding is Encoding.PCM16
        data = payload(media, 2 if is_l16 else 1, self._counts)
        if is_l16 and self._settings.is_l16_big_endian:
            data = np.frombuffer(data, dtype=">i2").astype("<i2").tobytes()
        track = text(media, "track") or INBOUND
        chunk = _Chunk(track, number(media, "chunk"), data, number(media, "timestamp"))
        if self._tracks is not None:
            return self._take(chunk)
        self._first.append(chunk)
        return self._settle(self._heard) if len(self._first) == LEARNING_MESSAGES else []

    def _settle(self, names: Sequence[str]) -> Sequence[Event]:
        """The call begins, with these tracks."""
        assert self._start is not None  # noqa: S101 - narrows the type: only called after a start
        begun = self._start
        audio_format = AudioFormat(begun.format.encoding, begun.format.sample_rate_hz, len(names))
        self._tracks = Tracks(audio_format, self._counts)
        self._order = {name: Reorder(HELD_BACK, self._counts) for name in names}
        events: list[Event] = [Start(begun.call_id, audio_format, begun.token)]
        for chunk in self._first:
            events += self._take(chunk)
        self._first.clear()
        return events

    def _take(self, chunk: _Chunk) -> Sequence[Audio]:
        if chunk.track not in self._order:
            self._counts["unexpected_tracks"] += 1
            return []
        return self._play(self._order[chunk.track].add(chunk.number, chunk))

    def _play(self, due: Sequence[tuple[_Chunk, bool]]) -> Sequence[Audio]:
        assert self._tracks is not None  # noqa: S101 - narrows the type: only called after _settle
        played: list[Audio] = []
        for chunk, after_loss in due:
            channel = list(self._order).index(chunk.track)
            played += self._tracks.add(channel, chunk.data, chunk.at_ms, after_loss=after_loss)
        return played
