"""The gRPC channel: limits, keepalive, encryption. Shared by the sync and the async client."""

import ipaddress
import math
from dataclasses import dataclass

import grpc

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_DEADLINE_S = 10.0

_MIB = 1024 * 1024
# 48 MiB is an hour and a half of G.711, or 25 minutes of 16-bit PCM at 16 kHz.
MAX_SEND_BYTES = 48 * _MIB
# Preprocess answers with tensors, which may be larger than the audio behind them.
MAX_RECEIVE_BYTES = 64 * _MIB

# A peer that is gone without a word is found out in 16 s. Pings go out only while a call is in flight and nothing has
# come for so long; the service allows them every 10 s, and a second more keeps clear of its count. gRPC stops after two
# without data, so that a server that was not set up for keepalive never sees enough of them to answer with GOAWAY.
# The timeout is given twice: a ping by which gRPC measures the line may be under way when the peer goes; then no other
# is sent, and that one would be waited for a whole minute.
KEEPALIVE_TIME_MS = 11_000
KEEPALIVE_TIMEOUT_MS = 5_000
# gRPC's own 1 s to 120 s would leave a gateway without its service for two minutes after a restart.
FIRST_RECONNECT_MS = 200
MAX_RECONNECT_MS = 2_000

ChannelOptions = tuple[tuple[str, str | int], ...]


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """Where the service is and how calls reach it.

    `deadline_s` bounds every call that names no deadline of its own. With `wait_for_ready` a call waits, within
    its deadline, for a connection not yet made; without it such a call fails at once with ServiceUnavailable.
    `root_certificates` (PEM) switches TLS on. With `own_connection` the channel shares no TCP connection with
    other channels of the process, so that a service of several processes spreads them.

    Raises ValueError for an empty address or a default deadline that is not a positive number of seconds.
    """

    address: str = DEFAULT_ADDRESS
    deadline_s: float = DEFAULT_DEADLINE_S
    wait_for_ready: bool = False
    root_certificates: bytes | None = None
    own_connection: bool = False

    def __post_init__(self) -> None:
        if not self.address:
            raise ValueError("address is empty; it is HOST:PORT")
        if not (math.isfinite(self.deadline_s) and self.deadline_s > 0):
            raise ValueError(f"deadline_s is {self.deadline_s}; it is a positive number of seconds")


def channel_options(settings: ChannelSettings) -> ChannelOptions:
    """gRPC channel arguments for these settings."""
    options: dict[str, str | int] = {
        "grpc.max_send_message_length": MAX_SEND_BYTES,
        "grpc.max_receive_message_length": MAX_RECEIVE_BYTES,
        "grpc.keepalive_time_ms": KEEPALIVE_TIME_MS,
        "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
        "grpc.http2.ping_timeout_ms": KEEPALIVE_TIMEOUT_MS,
        "grpc.keepalive_permit_without_calls": 0,
        "grpc.initial_reconnect_backoff_ms": FIRST_RECONNECT_MS,
        "grpc.max_reconnect_backoff_ms": MAX_RECONNECT_MS,
    }
    if settings.own_connection:
        options["grpc.use_local_subchannel_pool"] = 1
    if is_loopback(settings.address):
        # A proxy from the environment cannot reach this machine's own loopback.
        options["grpc.enable_http_proxy"] = 0
    return tuple(options.items())


def is_loopback(address: str) -> bool:
    """Whether HOST:PORT names this machine's loopback interface."""
    return is_loopback_host(address.rpartition(":")[0].strip("[]"))


def is_loopback_host(host: str) -> bool:
    """Whether a name or address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def open_channel(settings: ChannelSettings) -> grpc.Channel:
    """A blocking channel; it connects on its first call."""
    options = channel_options(settings)
    if settings.root_certificates is None:
        return grpc.insecure_channel(settings.address, options=options)
    credentials = grpc.ssl_channel_credentials(settings.root_certificates)
    return grpc.secure_channel(settings.address, credentials, options=options)


def open_aio_channel(settings: ChannelSettings) -> grpc.aio.Channel:
    """An asyncio channel of the running event loop; it connects on its first call."""
    options = channel_options(settings)
    if settings.root_certificates is None:
        return grpc.aio.insecure_channel(settings.address, options=options)
    credentials = grpc.ssl_channel_credentials(settings.root_certificates)
    return grpc.aio.secure_channel(settings.address, credentials, options=options)
