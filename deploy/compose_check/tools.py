"""The programs that the check needs, and their installation where that is wished for."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.compose_check.commands import CommandFailed, SetupError, run
from deploy.compose_check.engine import LEAST_VERSION

# Debian's packages, and the programs of which one must be there.
DEBIAN_PACKAGES: Final = {
    "podman": ("podman",),
    "runc": ("crun", "runc"),
    "netavark": ("netavark",),
    "aardvark-dns": ("aardvark-dns",),  # finds services by name
    "iptables": ("iptables", "nft"),  # netavark publishes ports with it
    "catatonit": ("catatonit",),  # `init: true`
}
STAND_IN_PACKAGES: Final = {"debootstrap": ("debootstrap",)}
_PLACES: Final = ("/usr/sbin", "/sbin", "/usr/lib/podman", "/usr/libexec/podman")
SEARCH_PATH: Final = os.pathsep.join([os.environ.get("PATH", os.defpath), *_PLACES])


def require(packages: Mapping[str, tuple[str, ...]], *, install: bool) -> None:
    """Raises SetupError where a program is missing, after having tried to install it if that is wished for."""
    missing = _missing(packages)
    if missing and install:
        _install(missing)
        missing = _missing(packages)
    if missing:
        raise SetupError(
            f"missing: {', '.join(missing)}; as root on Debian: apt-get install {' '.join(missing)}, or --install here"
        )


def _missing(packages: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [
        package
        for package, programs in packages.items()
        if not any(shutil.which(program, path=SEARCH_PATH) for program in programs)
    ]


def _install(packages: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run(["apt-get", "update"], timeout_s=180, environment=environment)
        command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
        run(command, timeout_s=300, environment=environment)
    except (OSError, CommandFailed) as error:
        raise SetupError(f"cannot install {', '.join(packages)}: {error}") from error


def podman_compose(given: str | None, scratch: Path) -> tuple[str, str]:
    """A recent enough podman-compose and its version: the given one, the one on PATH, or one for this check only."""
    program = given or shutil.which("podman-compose")
    version = _version(program) if program else ()
    if program and version >= LEAST_VERSION:
        return program, ".".join(map(str, version))
    if given:
        raise SetupError(f"{given}; podman-compose must be {'.'.join(map(str, LEAST_VERSION))} or newer")
    environment = scratch / "podman-compose"
    wanted = f"podman-compose>={'.'.join(map(str, LEAST_VERSION))}"
    try:
        run([sys.executable, "-m", "venv", str(environment)], timeout_s=120)
        run([str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", wanted], timeout_s=180)
    except CommandFailed as error:
        raise SetupError(f"podman-compose is missing or too old, and cannot be installed: {error}") from error
    program = str(environment / "bin" / "podman-compose")
    return program, ".".join(map(str, _version(program))) + ", in an environment for this check only"


def _version(program: str) -> tuple[int, ...]:
    try:
        output = run([program, "--version"], timeout_s=60)
    except (OSError, CommandFailed):
        return ()
    found = re.search(r"podman-compos\w+ +version:? +(\d+)\.(\d+)\.(\d+)", output.stdout + output.stderr)
    return tuple(map(int, found.groups())) if found else ()
