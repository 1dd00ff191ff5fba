"""What a run costs the servers: processor time of the programs, and Triton's own counts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from client.channel import is_loopback
from loadtest import processes, triton_statistics
from loadtest.triton_statistics import ModelCounts

SERVICE, TRITON, GENERATOR = "service", "triton", "generator"
SERVERS: Final = (SERVICE, TRITON)


@dataclass(frozen=True)
class Servers:
    """Where the servers are. Programs without processes that can be found are left out of the figures."""

    address: str
    triton_address: str
    metrics_url: str
    pids: Mapping[str, Sequence[int]] = field(default_factory=dict)  # given by hand, by program

    def programs(self) -> dict[str, Sequence[int]]:
        """The processes of the service and of Triton: those given, else those that listen on their ports here."""
        addresses = {SERVICE: self.address, TRITON: self.triton_address}
        found = {name: self.pids.get(name) or _listening(address) for name, address in addresses.items()}
        return {name: pids for name, pids in found.items() if pids}


def _listening(address: str) -> list[int]:
    port = address.rpartition(":")[2]
    return processes.listeners(int(port)) if is_loopback(address) and port.isdecimal() else []


@dataclass(frozen=True)
class Cost:
    """What happened on the servers while a run went on; what could not be read is None."""

    wall_s: float
    cpu_s: dict[str, float]  # by program
    models: dict[str, ModelCounts] | None
    metrics: dict[str, float] | None

    def server_cpu_ms_per(self, units: float) -> float | None:
        """Processor time of service and Triton for each unit of work; None unless both were found."""
        if units <= 0 or not all(name in self.cpu_s for name in SERVERS):
            return None
        return round(1000 * sum(self.cpu_s[name] for name in SERVERS) / units, 3)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        models = None if self.models is None else {name: each.to_dict() for name, each in self.models.items()}
        return {"wall_s": round(self.wall_s, 3), "cpu_s": self.cpu_s, "triton": models, "triton_metrics": self.metrics}


class Meter:
    """Reads the servers when it is made, before a run, and again by `stop`, after it."""

    def __init__(self, servers: Servers, generator: Sequence[int]) -> None:
        """`generator`: the processes that make the load."""
        self._servers = servers
        self._programs = {**servers.programs(), GENERATOR: generator}
        self._models, self._metrics = _models(servers), _metrics(servers)
        self._cpu_s, self._began = processes.cpu_s(self._programs), time.monotonic()

    def stop(self) -> Cost:
        wall_s, cpu_s = time.monotonic() - self._began, processes.cpu_s(self._programs)
        models, metrics = _models(self._servers), _metrics(self._servers)
        return Cost(
            wall_s,
            processes.spent_s(self._cpu_s, cpu_s),
            None if models is None or self._models is None else triton_statistics.changes(self._models, models),
            None if metrics is None or self._metrics is None else _difference(self._metrics, metrics),
        )


def _difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in after}


def _models(servers: Servers) -> dict[str, ModelCounts] | None:
    try:
        return triton_statistics.read_counts(servers.triton_address)
    except grpc.RpcError:
        return None


def _metrics(servers: Servers) -> dict[str, float] | None:
    try:
        return triton_statistics.read_metrics(servers.metrics_url)
    except (OSError, ValueError):
        return None
