"""The gRPC server: wiring, start, clean stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import Final

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from preprocess_service.catalogue import Catalogue
from preprocess_service.contract import ContractMismatch
from preprocess_service.line import Line
from preprocess_service.live.monitor import Monitor
from preprocess_service.ports import CannotListen, address_of
from preprocess_service.proto.wigeup.v1 import triage_pb2_grpc
from preprocess_service.readiness import SERVICE, Readiness
from preprocess_service.servicer import MAX_TENSOR_BYTES, TriageServicer
from preprocess_service.settings import Settings
from preprocess_service.shelf import Shelf
from preprocess_service.threads import Threads
from preprocess_service.triage import Triage
from preprocess_service.triton import TritonClient
from preprocess_service.turns import Turns

logger = logging.getLogger(__name__)

LAST_ANSWERS_S: Final = 0.2  # for the last answers to leave the machine
SPARE_RPCS: Final = 64
SENT_AHEAD_BYTES: Final = 2**20  # a stream, before its messages are read
PING_AFTER_MS: Final = 20_000
PING_TIMEOUT_MS: Final = 10_000
MESSAGE_OVERHEAD_BYTES: Final = 16 * 2**20  # over the largest audio, so that a larger one is refused with a reason


def run(settings: Settings, shelf: Shelf, line: Line | None = None) -> int:
    """As `serve`; 0 after a clean stop, 2 where the service cannot start as it is set up."""
    try:
        asyncio.run(serve(settings, shelf, line))
    except (ContractMismatch, CannotListen) as error:
        logging.getLogger("preprocess_service").critical("cannot start", extra={"reason": str(error)})
        return 2
    return 0


async def serve(settings: Settings, shelf: Shelf, line: Line | None) -> None:
    """Serves until SIGTERM or SIGINT, then lets requests under way end; a worker also until its supervisor is gone.

    Raises ContractMismatch where a model must not be served, CannotListen where the port is taken.
    """
    triton = TritonClient(settings.triton_address, settings.triton_timeout_s)
    catalogue = Catalogue(settings, triton, shelf)
    if line is not None:
        line.checked()
    threads, turns = Threads(settings.feature_threads), Turns()
    triage = Triage(settings, catalogue, triton, threads, turns)
    monitor = Monitor(settings, catalogue, triton, threads, turns)
    health_servicer = health_aio.HealthServicer()
    readiness = Readiness(catalogue, health_servicer, settings.canary_interval_s)
    server = _server(settings, shares_port=line is not None)
    servicer = TriageServicer(settings, catalogue, triage, monitor)
    triage_pb2_grpc.add_TriageServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    if line is None:
        port = _listen(server, settings)

    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await readiness.start()
    await triage.warm_up()
    if line is not None:  # the kernel gives connections to whoever listens, whether it takes them already or not
        await line.wait(stop)
        port = _listen(server, settings)
    await server.start()
    if line is not None:
        line.listens()
    watch = asyncio.create_task(readiness.watch())
    models = [served.name for served, _ in catalogue.models]
    logger.info("listening", extra={"host": settings.host, "port": port, "models": models})
    await stop.wait()

    logger.info("stopping", extra={"grace_s": settings.shutdown_grace_s})
    watch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watch
    await health_servicer.enter_graceful_shutdown()
    monitor.stop()
    await _stop(server, servicer, settings.shutdown_grace_s)
    await monitor.close()
    await triage.close()
    await catalogue.close()
    await triton.close()
    threads.close()
    if line is not None:
        line.close()
    logger.info("stopped")


async def _stop(server: grpc.aio.Server, servicer: TriageServicer, grace_s: float) -> None:
    """Takes no new calls and ends when those under way are answered, whoever still watches the health service."""
    stopping = asyncio.create_task(server.stop(grace_s))
    idle = asyncio.create_task(servicer.idle.wait())
    await asyncio.wait((stopping, idle), return_when=asyncio.FIRST_COMPLETED)
    idle.cancel()
    await server.stop(LAST_ANSWERS_S)
    await stopping


def _server(settings: Settings, *, shares_port: bool) -> grpc.aio.Server:
    return grpc.aio.server(
        # Beyond what may be inside and wait, urgent calls and those for a model to be loaded included; the rest is
        # health checks.
        maximum_concurrent_rpcs=(
            settings.max_in_flight + 3 * settings.max_waiting + 2 * settings.max_live_calls + SPARE_RPCS
        ),
        options=(
            ("grpc.max_receive_message_length", settings.max_audio_bytes + MESSAGE_OVERHEAD_BYTES),
            ("grpc.max_send_message_length", MAX_TENSOR_BYTES + MESSAGE_OVERHEAD_BYTES),
            ("grpc.so_reuseport", int(shares_port)),  # a second service there is a mistake, and must be told so
            # By itself gRPC widens what may be sent ahead, as far as tens of MiB a stream, which this process must hold
            # for whoever sends and never reads an answer.
            ("grpc.http2.bdp_probe", 0),
            ("grpc.http2.lookahead_bytes", SENT_AHEAD_BYTES),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            # A gateway that has lost its power says nothing: its calls end when it does not answer a ping.
            ("grpc.keepalive_time_ms", PING_AFTER_MS),
            ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
        ),
    )


def _listen(server: grpc.aio.Server, settings: Settings) -> int:
    address = address_of(settings.host, settings.port)
    try:
        if settings.tls_certificate is None or settings.tls_key is None:
            return server.add_insecure_port(address)
        pair = (settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())
        return server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    except RuntimeError as error:
        raise CannotListen(f"cannot listen on {address}: {error}") from error
