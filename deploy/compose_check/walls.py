"""What the containers may do and who can reach them."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any, Final

from deploy.compose_check.commands import CommandFailed
from deploy.compose_check.engine import PROJECT, Engine
from deploy.compose_check.report import demand

SERVICES: Final = ("triton", "preprocess")
TRITON_PORTS: Final = (8000, 8001, 8002)
METRIC: Final = "nv_inference_request_success"
NOT_IN_SERVICE: Final = frozenset({"tensorflow", "keras", "torch", "librosa", "onnxruntime"})
FILES: Final = {
    "triton": ["backends", "launch.py", "requirements.txt", "runtime"],
    "preprocess": ["preprocess_service", "requirements.txt"],
}
_MEGABYTE: Final = 1_000_000


class Walls:
    """Looks at the running containers once, then judges."""

    def __init__(self, engine: Engine, base: str, taken_before: Iterable[int]) -> None:
        self._engine, self._base, self._taken_before = engine, base, set(taken_before)
        self._seen = {service: engine.inside(service) for service in SERVICES}
        self._inspected = {service: engine.inspect(service) for service in SERVICES}

    def unprivileged(self) -> str:
        """No process is root, has a capability or can gain one."""
        shown = []
        for service, seen in self._seen.items():
            for process in seen["processes"]:
                users = {int(user) for user in (process["Uid"] + " " + process["Gid"]).split()}
                demand(0 not in users, f"{service}: {process['Name']} runs as root")
                held = int(process["CapEff"], 16) | int(process["CapBnd"], 16)
                demand(held == 0, f"{service}: {process['Name']} has capabilities {held:x}")
                demand(process["NoNewPrivs"] == "1", f"{service}: {process['Name']} may gain privileges")
            user = seen["processes"][0]["Uid"].split()[0]
            shown.append(f"{service}: {len(seen['processes'])} processes as user {user}")
        return "; ".join(shown) + "; no capabilities, no new privileges"

    def read_only(self) -> str:
        """Neither the image's files nor the models can be written."""
        for service, seen in self._seen.items():
            demand(not seen["writable"], f"{service} may write to {', '.join(seen['writable'])}")
        return "root file system and /models in both containers"

    def triton_is_shut_in(self) -> str:
        """No published port, no way out, no way in from the network that the service is published on."""
        published = [port for port, host in _ports(self._inspected["triton"]).items() if host]
        demand(not published, f"published: {published}")
        for port in set(TRITON_PORTS) - self._taken_before:
            demand(not listens("127.0.0.1", port), f"something listens on the host's port {port} since the start")
        demand(not self._seen["triton"]["default_route"], "Triton has a way out")
        address = self._network("triton", "inside")["IPAddress"]
        self._cannot_be_reached_from_edge(address)
        demand(METRIC in self._seen["preprocess"]["metrics"], f"no {METRIC} at triton:8002 from the service")
        skipped = sorted(self._taken_before & set(TRITON_PORTS))
        remark = f" (not looked at, in use before: {skipped})" if skipped else ""
        return f"nothing published{remark}, no default route, the other network cannot reach it; metrics inside only"

    def service_is_on_loopback(self, port: int) -> str:
        """Published on 127.0.0.1 alone."""
        (hosts,) = [host for host in _ports(self._inspected["preprocess"]).values() if host]
        addresses = {host["HostIp"] for host in hosts}
        demand(addresses == {"127.0.0.1"}, f"published on {addresses}")
        gateway = self._network("preprocess", "edge")["Gateway"]
        demand(not listens(gateway, port), f"answers on the host's address {gateway}, too")
        return f"127.0.0.1:{port} and no other address of the host"

    def images(self) -> str:
        """Nothing in the images that their process does not need."""
        service = self._seen["preprocess"]
        extra = sorted(NOT_IN_SERVICE & set(service["packages"]))
        demand(not extra, f"the service's image has {', '.join(extra)}")
        for name, seen in self._seen.items():
            demand(seen["files"] == FILES[name], f"{name}: {seen['files']} in the image, {FILES[name]} expected")
            demand(not seen["compilers"], f"{name}: the image has {', '.join(seen['compilers'])}")
        absent = ", ".join(sorted(NOT_IN_SERVICE))
        return f"the service's has none of {absent}; no compiler, no weights, no stray file in either"

    def sizes(self) -> str:
        base = self._engine.image_bytes(self._base)
        shown = []
        for service, inspected in self._inspected.items():
            size = self._engine.image_bytes(inspected["Image"])
            shown.append(f"{service} {size / _MEGABYTE:.0f} MB ({(size - base) / _MEGABYTE:.0f} MB above its base)")
        return ", ".join(shown)

    def log_limits(self) -> str:
        sizes = {name: each["HostConfig"]["LogConfig"]["Size"] for name, each in self._inspected.items()}
        demand(all(size not in ("", "0B") for size in sizes.values()), f"log sizes {sizes}")
        return ", ".join(f"{name} {size}" for name, size in sizes.items())

    def _network(self, service: str, network: str) -> dict[str, Any]:
        networks = self._inspected[service]["NetworkSettings"]["Networks"]
        demand(f"{PROJECT}_{network}" in networks, f"{service} is in {sorted(networks)}")
        return dict(networks[f"{PROJECT}_{network}"])

    def _cannot_be_reached_from_edge(self, address: str) -> None:
        """A container beside the service, in the network that is not internal, asks for Triton's address."""
        ask = f"import socket; socket.create_connection(({address!r}, {TRITON_PORTS[1]}), timeout=3)"
        container = ("--rm", f"--network={PROJECT}_edge", "--entrypoint=python", self._inspected["preprocess"]["Image"])
        try:
            self._engine.podman("run", *container, "-c", ask, timeout_s=60)
        except CommandFailed as error:
            demand("Error: " in str(error) and "socket.py" in str(error), f"another container could not ask: {error}")
            return
        demand(False, f"a container of the other network reaches {address}:{TRITON_PORTS[1]}")


def _ports(inspected: dict[str, Any]) -> dict[str, Any]:
    return dict(inspected["NetworkSettings"]["Ports"] or {})


def listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True
