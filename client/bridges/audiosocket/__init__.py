"""Calls over Asterisk's AudioSocket: Asterisk dials in by TCP and sends a call's audio."""

from client.bridges.audiosocket.options import AudioSocketOptions, add_arguments, options_from
from client.bridges.calls import Bridge

__all__ = ["AudioSocketOptions", "add_arguments", "open_bridge", "options_from"]


async def open_bridge(options: AudioSocketOptions) -> Bridge:
    """Listens for calls; raises OSError where the address cannot be used."""
    from client.bridges.audiosocket.server import AudioSocketBridge  # PyAV is loaded only where used

    bridge = AudioSocketBridge(options)
    await bridge.open()
    return bridge
