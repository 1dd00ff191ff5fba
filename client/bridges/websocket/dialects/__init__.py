"""Dialects of call audio over WebSockets, by the path of the connection's address."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from client.bridges.websocket.dialects.detection import Detection
from client.bridges.websocket.dialects.fork import Fork
from client.bridges.websocket.dialects.messages import Dialect, DialectSettings
from client.bridges.websocket.dialects.telnyx import Telnyx
from client.bridges.websocket.dialects.twilio import Twilio

DIALECTS: Final[Mapping[str, Callable[[DialectSettings, Counter[str]], Dialect]]] = {
    "/": Detection,
    "/twilio": Twilio,
    "/telnyx": Telnyx,
    "/jambonz": lambda settings, counts: Fork(settings, counts, needs_metadata=True),
    "/audio_fork": lambda settings, counts: Fork(settings, counts, needs_metadata=False),
}
