"""podman and podman-compose, for one project of one compose file."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from deploy.compose_check.commands import Clock, CommandFailed, Output, run

PROJECT: Final = "wigeup-check"
COMPOSE_FILE: Final = "docker-compose.cpu.yml"
LOGS_LIMIT_S: Final = 30.0
INSIDE: Final = Path(__file__).with_name("inside.py")
LEAST_VERSION: Final = (1, 6, 0)  # of podman-compose: Debian 12's 1.0.3 garbles health checks
MOST_FILES_OR_PROCESSES: Final = 16384
CONFIGURATIONS: Final = (Path("/etc/containers/containers.conf"), Path("~/.config/containers/containers.conf"))
_SERVICE_LABEL: Final = "com.docker.compose.service"
_PROJECT_LABEL: Final = "io.podman.compose.project"


class Engine:
    """Runs containers; every method raises CommandFailed."""

    def __init__(self, podman_compose: str, environment: Mapping[str, str], clock: Clock) -> None:
        self._compose = [podman_compose, f"--project-name={PROJECT}", f"--file={COMPOSE_FILE}"]
        self.environment = {**os.environ, **environment}
        self.clock = clock

    def podman(self, *arguments: str, timeout_s: float = 60, given: str = "") -> Output:
        return self._run(["podman", *arguments], timeout_s, given)

    def compose(self, *arguments: str, timeout_s: float = 120) -> Output:
        return self._run([*self._compose, *arguments], timeout_s)

    def _run(self, command: list[str], timeout_s: float, given: str = "") -> Output:
        limit_s = min(timeout_s, self.clock.remaining_s())
        return run(command, timeout_s=limit_s, environment=self.environment, given=given)

    def succeeds(self, *arguments: str) -> bool:
        try:
            self.podman(*arguments)
        except CommandFailed:
            return False
        return True

    def container(self, service: str) -> str:
        """The id of a service's container."""
        filters = (f"label={_PROJECT_LABEL}={PROJECT}", f"label={_SERVICE_LABEL}={service}")
        found = self.podman("ps", "--all", "--quiet", *(f"--filter={each}" for each in filters)).stdout.split()
        if len(found) != 1:
            raise CommandFailed(f"{len(found)} containers of service {service}; there must be one")
        return found[0]

    def inspect(self, service: str) -> dict[str, Any]:
        (found,) = json.loads(self.podman("inspect", self.container(service)).stdout)
        return dict(found)

    def image_bytes(self, image: str) -> int:
        return int(self.podman("image", "inspect", "--format={{.Size}}", image).stdout)

    def inside(self, service: str) -> dict[str, Any]:
        """What `inside.py` sees in a service's container."""
        container = self.container(service)
        answer = self.podman("exec", "--interactive", container, "python", "-", given=INSIDE.read_text("utf-8"))
        return dict(json.loads(answer.stdout))

    def healthy(self, service: str) -> bool:
        """Runs the compose file's health check now; without systemd podman never does it by itself."""
        return self.succeeds("healthcheck", "run", self.container(service))

    def remove_built_images(self, *, keep: bool) -> None:
        if keep:
            return
        for service in ("triton", "preprocess"):
            self.podman("rmi", "--ignore", "--force", f"localhost/{PROJECT}_{service}")

    def last_logs(self) -> str:
        """The ends of the containers' logs, for whoever has to find out what went wrong, even when time is up."""
        self.clock = Clock(LOGS_LIMIT_S)
        parts = []
        for service in ("triton", "preprocess"):
            try:
                output = self.podman("logs", "--tail=30", self.container(service))
            except CommandFailed:
                continue
            parts.append(f"log of {service}:\n{output.stdout}{output.stderr}")
        return "\n".join(parts) or "no logs"

    def wait(self, what: str, true: Callable[[], bool], limit_s: float) -> float:
        """Seconds until something is true; raises CommandFailed if it never is."""
        start = time.monotonic()
        while not true():
            waited_s = time.monotonic() - start
            if waited_s > limit_s or self.clock.remaining_s() == 0:
                raise CommandFailed(f"{what}: not within {waited_s:.0f} s")
            time.sleep(0.5)
        return time.monotonic() - start


def limits_within_ours(scratch: Path) -> dict[str, str]:
    """Where podman is not configured, a variable that makes it ask for no more than this process may have.

    By default it gives root's containers limits that a process which is itself confined may not set.
    """
    if "CONTAINERS_CONF" in os.environ or any(path.expanduser().exists() for path in CONFIGURATIONS):
        return {}
    limits = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    values = {name: _capped(resource.getrlimit(kind)[1]) for name, kind in limits.items()}
    asked = ", ".join(f'"{name}={value}:{value}"' for name, value in values.items())
    path = scratch / "containers.conf"
    path.write_text(f"[containers]\ndefault_ulimits = [{asked}]\n", encoding="utf-8")
    return {"CONTAINERS_CONF": str(path)}


def _capped(limit: int) -> int:
    return MOST_FILES_OR_PROCESSES if limit == resource.RLIM_INFINITY else min(limit, MOST_FILES_OR_PROCESSES)
