"""What the dialects have in common: the events that they read, and how a message can be wrong."""

import base64
import binascii
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeGuard

from client.bridges.calls import Audio
from client.bridges.handover import HIGHEST_RATE_HZ, LOWEST_RATE_HZ
from client.formats import AudioFormat
from client.results import CallUpdate

# Close codes of RFC 6455, section 7.4.1.
INVALID_PAYLOAD = 1007
POLICY_VIOLATION = 1008

LARGEST_NUMBER = 2**53


class Malformed(Exception):
    """A message breaks the dialect's rules; `code` is the close code that says so."""

    def __init__(self, rule: str, code: int = INVALID_PAYLOAD) -> None:
        super().__init__(rule)
        self.code = code


@dataclass(frozen=True, slots=True)
class Start:
    """A call begins; `token` is the secret that the message itself carried, if any."""

    call_id: str
    format: AudioFormat
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Stop:
    """The far side says that the call has ended."""


Event = Start | Audio | Stop


@dataclass(frozen=True, slots=True)
class DialectSettings:
    """What messages leave open.

    `query` are the parameters of the connection's address. `rate_hz` and `channels` hold for mod_audio_fork where
    neither the address nor the metadata says. `is_l16_big_endian` is Telnyx's byte order. With `tell_by_mark`, alerts
    go to Twilio and Telnyx as marks.
    """

    query: Mapping[str, str] = field(default_factory=dict)
    rate_hz: int = 16000
    channels: int = 1
    is_l16_big_endian: bool = True
    tell_by_mark: bool = False


class Dialect(Protocol):
    """Reads one connection's messages; does no input or output itself."""

    def read(self, message: str | bytes) -> Sequence[Event]:
        """What a message means; raises Malformed with the rule that it breaks."""

    def flush(self) -> Sequence[Event]:
        """What was held back, at the connection's end."""

    def alert(self, update: CallUpdate) -> str | None:
        """The message that tells the far side of an update; None where there is none."""


def parsed(message: str | bytes) -> Mapping[str, object]:
    """The JSON object in a text message; raises Malformed."""
    if isinstance(message, bytes):
        raise Malformed("a binary message; this dialect's are JSON objects in text messages")
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError):
        raise Malformed("a text message that is not JSON") from None
    if not is_object(fields):
        raise Malformed("JSON that is not an object")
    return fields


def is_object(value: object) -> TypeGuard[Mapping[str, object]]:
    """Whether a JSON value is an object."""
    return isinstance(value, dict)


def part(fields: Mapping[str, object], name: str) -> Mapping[str, object]:
    """The object of that name, an empty one where there is none; raises Malformed for another value."""
    value = fields.get(name)
    if value is None:
        return {}
    if not is_object(value):
        raise Malformed(f"{name} is not an object")
    return value


def text(fields: Mapping[str, object], *names: str) -> str:
    """The first text under one of the names, "" where there is none."""
    return next((value for name in names if isinstance(value := fields.get(name), str) and value), "")


def number(fields: Mapping[str, object], name: str) -> int | None:
    """A whole number, as JSON's or as text, None where there is none; raises Malformed for another value."""
    value = fields.get(name)
    if value is None:
        return None
    try:
        whole = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else -1
    except ValueError:
        whole = -1
    if not 0 <= whole < LARGEST_NUMBER:
        raise Malformed(f"{name} is not a whole number from 0 to 2**53 - 1")
    return whole


def payload(media: Mapping[str, object], sample_bytes: int, counts: Counter[str]) -> bytes:
    """The audio of a media message, whole samples of it; raises Malformed for what is not base64."""
    encoded = media.get("payload")
    if not isinstance(encoded, str):
        raise Malformed("media.payload is not text")
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("media.payload is not base64") from None
    return whole_samples(data, sample_bytes, counts)


def whole_samples(data: bytes, sample_bytes: int, counts: Counter[str]) -> bytes:
    """`data` without an incomplete sample at its end.

    It is not kept for the next message: every message begins with a sample, and what a fault left over would swap the
    bytes of all that follows.
    """
    rest = len(data) % sample_bytes
    if not rest:
        return data
    counts["incomplete_samples"] += 1
    return data[:-rest]


def checked_rate(rate_hz: int) -> int:
    """A sampling rate that the service takes; raises Malformed."""
    if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        raise Malformed(f"{rate_hz} Hz; the service takes {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ}", POLICY_VIOLATION)
    return rate_hz


def finding(update: CallUpdate) -> dict[str, object]:
    """What a far side is told of an update."""
    return {
        "event": "wigeup",
        "alert": update.alert,
        "monitored": update.monitored,
        "update": update.number,
        "covered_s": update.covered_s,
        "smoothed": update.smoothed,
        "alert_changed_at_s": update.alert_changed_at_s,
    }
