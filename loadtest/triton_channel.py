"""How generators that ask Triton itself are connected to it."""

from typing import Final

CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # each channel a connection of its own
    ("grpc.enable_http_proxy", 0),
)
