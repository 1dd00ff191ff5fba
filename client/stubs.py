"""The method tables of the Triage and the health service on one channel."""

import grpc
from grpc_health.v1 import health_pb2

from client.results import Health
from preprocess_service.proto.wigeup.v1 import triage_pb2_grpc

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
# A health check answers NOT_FOUND for a service that the server does not have; Watch calls that so.
UNKNOWN_SERVICE = Health("SERVICE_UNKNOWN")


class Stubs:
    """Blocking stubs."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.triage: triage_pb2_grpc.TriageStub = triage_pb2_grpc.TriageStub(channel)
        self.check_health = channel.unary_unary(
            HEALTH_CHECK,
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )


class AioStubs:
    """The same for asyncio."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.triage: triage_pb2_grpc.TriageAsyncStub = triage_pb2_grpc.TriageStub(channel)
        self.check_health = channel.unary_unary(
            HEALTH_CHECK,
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )


def health_request(service: str) -> health_pb2.HealthCheckRequest:
    """The message of one health check; "" asks for the server as a whole."""
    return health_pb2.HealthCheckRequest(service=service)


def health(reply: health_pb2.HealthCheckResponse) -> Health:
    """Converts the answer of a health check."""
    try:
        return Health(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))
    except ValueError:  # a newer server may know more states
        return Health(f"UNKNOWN_{reply.status}")
