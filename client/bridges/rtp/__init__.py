"""Calls that come in over RTP (RFC 3550, 3551): Asterisk's ExternalMedia, rtpengine, SIPREC recorders, ffmpeg."""

from client.bridges.calls import Bridge
from client.bridges.rtp.options import RtpOptions, add_arguments, options_from

__all__ = ["RtpOptions", "add_arguments", "open_bridge", "options_from"]


async def open_bridge(options: RtpOptions) -> Bridge:
    """Listens for calls; raises OSError where a port cannot be had."""
    from client.bridges.rtp.bridge import RtpBridge  # numpy and av are loaded only where a bridge is opened

    return await RtpBridge.open(options)
