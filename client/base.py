"""What the sync and the asyncio client have in common."""

from typing import TypedDict

from client.channel import DEFAULT_ADDRESS, DEFAULT_DEADLINE_S, ChannelSettings


class CallOptions(TypedDict):
    """Keyword arguments of one gRPC call."""

    timeout: float
    wait_for_ready: bool


class ClientBase:
    """Settings and life time of a client; its channel is opened on the first call and used for all.

    `deadline_s` (default 10 s) bounds each call and can be given anew with each. With `wait_for_ready` a call
    waits, within its deadline, for a connection not yet made. A failed call is never sent again: in overload
    that would add to the load. `root_certificates` (PEM) switches TLS on. `own_connection` keeps this client's
    TCP connection apart from those of other clients in the process.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        deadline_s: float = DEFAULT_DEADLINE_S,
        wait_for_ready: bool = False,
        root_certificates: bytes | None = None,
        own_connection: bool = False,
    ) -> None:
        self._settings = ChannelSettings(address, deadline_s, wait_for_ready, root_certificates, own_connection)
        self._closed = False
        self._prepare()

    def _prepare(self) -> None:
        """What a kind of client sets up at once; the asyncio client waits for its event loop."""

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the client is closed")

    def _call_options(self, deadline_s: float | None, wait_for_ready: bool | None) -> CallOptions:
        return CallOptions(
            timeout=self._settings.deadline_s if deadline_s is None else deadline_s,
            wait_for_ready=self._settings.wait_for_ready if wait_for_ready is None else wait_for_ready,
        )
