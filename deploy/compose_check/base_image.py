"""The image that both Dockerfiles start from: the real one, or a stand-in where no registry can be reached."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final

from deploy.compose_check.commands import CommandFailed, SetupError, run
from deploy.compose_check.engine import Engine
from deploy.compose_check.tools import STAND_IN_PACKAGES, require

DOCKERFILES: Final = (Path("preprocess_service/Dockerfile"), Path("deploy/triton/Dockerfile"))
STAND_IN: Final = "localhost/wigeup-check-base:stand-in"
LABEL: Final = "wigeup.stand-in"
SUITE: Final = "bookworm"  # its Python is 3.11
# The shared library is what Triton's Python stub links; NVIDIA's and Docker's images have it.
_DEBIAN_PACKAGES: Final = "python3,python3-venv,libpython3.11,ca-certificates"
_PATH: Final = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


def base_name() -> str:
    """The full name of the one image that the Dockerfiles start from."""
    names = {
        name
        for path in DOCKERFILES
        for name in re.findall(r"^FROM (\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    if len(names) != 1:
        raise SetupError(f"the Dockerfiles start from {sorted(names)}; the check knows one base image")
    (name,) = names
    return f"docker.io/library/{name}"


def provide(engine: Engine, scratch: Path, *, install: bool) -> bool:
    """Sees to it that the base image is there; true if it is a stand-in."""
    name = base_name()
    if engine.succeeds("image", "exists", name):
        return _is_stand_in(engine, name)
    try:
        engine.podman("pull", "--quiet", name, timeout_s=300)
    except CommandFailed:
        if not engine.succeeds("image", "exists", STAND_IN):
            _make_stand_in(engine, scratch, install=install)
        engine.podman("tag", STAND_IN, name)
        return True
    return False


def take_back(engine: Engine, *, keep: bool) -> None:
    """Gives the borrowed name back, so that no later build takes the stand-in for the real image."""
    name = base_name()
    if engine.succeeds("image", "exists", name) and _is_stand_in(engine, name):
        engine.podman("untag", name, name)
    if not keep:
        engine.succeeds("rmi", STAND_IN)


def _is_stand_in(engine: Engine, name: str) -> bool:
    template = '--format={{index .Config.Labels "' + LABEL + '"}}'
    return engine.podman("image", "inspect", template, name).stdout.strip() == "yes"


def _make_stand_in(engine: Engine, scratch: Path, *, install: bool) -> None:
    require(STAND_IN_PACKAGES, install=install)
    root = scratch / "stand-in"
    environment = engine.environment
    command = ["debootstrap", "--variant=minbase", f"--include={_DEBIAN_PACKAGES}", SUITE, str(root)]
    try:
        run(command, timeout_s=min(600, engine.clock.remaining_s()), environment=environment)
        # As in the real image, `python` and `pip` lie in /usr/local and may install there.
        run(["chroot", str(root), "python3", "-m", "venv", "/usr/local"], timeout_s=120, environment=environment)
    except CommandFailed as error:
        raise SetupError(f"no registry answers, and a stand-in needs root and a Debian mirror: {error}") from error
    for cache in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(root / cache)
    archive = scratch / "stand-in.tar"
    run(["tar", "-C", str(root), "-cf", str(archive), "."], timeout_s=120)
    changes = (f"ENV PATH={_PATH}", f"LABEL {LABEL}=yes", 'CMD ["python3"]')
    engine.podman("import", *(f"--change={change}" for change in changes), str(archive), STAND_IN, timeout_s=180)
