"""Calls over WebSockets: Twilio, Telnyx, jambonz and FreeSWITCH's mod_audio_fork, all on one port."""

from client.bridges.calls import Bridge
from client.bridges.websocket.options import WebSocketOptions, add_arguments, options_from

__all__ = ["WebSocketOptions", "add_arguments", "open_bridge", "options_from"]


async def open_bridge(options: WebSocketOptions) -> Bridge:
    """Listens for calls; raises OSError where the address or the certificate cannot be used."""
    from client.bridges.websocket.server import WebSocketBridge  # numpy and websockets are loaded only where used

    bridge = WebSocketBridge(options)
    await bridge.open()
    return bridge
