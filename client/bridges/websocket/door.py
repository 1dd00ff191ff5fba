"""Who may connect to the WebSocket bridge: addresses, tokens, sub-protocols."""

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request
from websockets.typing import Subprotocol

from client.bridges.websocket.dialects import DIALECTS

SUBPROTOCOLS: Final = ("audio.drachtio.org", "audiostream.drachtio.org", "audio.jambonz.org")
LARGEST_QUERY: Final = 32  # parameters


class Door:
    """Checks an opening handshake. The token may come as Bearer, as Basic's password, or as `?token=`.

    One that carries no token at all is let in, since Twilio's address can carry none: its `start` must then have it.
    """

    def __init__(self, token: str) -> None:
        """Without a `token` everyone may come in."""
        self._token = token

    def refusal(self, request: Request) -> tuple[HTTPStatus, str] | None:
        """The status and the rule by which a request is refused, None for one that is not."""
        if path_of(request) not in DIALECTS:
            return HTTPStatus.NOT_FOUND, f"no such path; there are {', '.join(DIALECTS)}\n"
        if not self.fits(credentials_of(request), otherwise=True):
            return HTTPStatus.UNAUTHORIZED, "wrong token\n"
        return None

    def fits(self, credentials: Iterable[str], *, otherwise: bool = False) -> bool:
        """Whether one of them is the token; `otherwise` where there is none at all."""
        if not self._token:
            return True
        given = list(credentials)
        if not given:
            return otherwise
        token = self._token.encode()
        # Never stops early: it takes as long whichever of them fits.
        return sum(hmac.compare_digest(each.encode(errors="surrogateescape"), token) for each in given) > 0


def path_of(request: Request) -> str:
    """The path of the address, without a slash at its end."""
    return _parts(request)[0]


def query_of(request: Request) -> Mapping[str, str]:
    """The parameters of the address, none of them twice."""
    return _parts(request)[1]


def credentials_of(request: Request) -> Sequence[str]:
    """All that a request shows as its token."""
    shown = [query_of(request).get("token", "")]
    for header in request.headers.get_all("Authorization"):
        scheme, _, value = header.strip().partition(" ")
        if scheme.lower() == "bearer":
            shown.append(value.strip())
        elif scheme.lower() == "basic":
            shown.append(_password(value.strip()))
    return [each for each in shown if each]


def subprotocol_of(_connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The first offered sub-protocol that is known here; none for the others, which may do without."""
    return next((name for name in offered if name in SUBPROTOCOLS), None)


def _parts(request: Request) -> tuple[str, Mapping[str, str]]:
    try:
        address = urlsplit(request.path)
        query = dict(parse_qsl(address.query, max_num_fields=LARGEST_QUERY))
    except ValueError:
        return "", {}
    return address.path.rstrip("/") or "/", query


def _password(encoded: str) -> str:
    """Of Basic credentials; a text that fits no token for those that are none."""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2] or " "
    except (binascii.Error, ValueError):
        return " "
