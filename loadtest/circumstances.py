"""Under which circumstances a figure was measured."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any, Final

import grpc
import psutil  # type: ignore[import-untyped]
from tritonclient.grpc import service_pb2, service_pb2_grpc

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("grpcio", "protobuf", "numpy", "locust", "tritonclient")
CPU_INFO: Final = Path("/proc/cpuinfo")
LIMIT_S: Final = 5.0


def circumstances(triton_address: str) -> dict[str, Any]:
    """Date, commit, machine and versions; None where something cannot be told."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "system": f"{platform.system()} {platform.release()}",
            "load_before": [round(each, 2) for each in os.getloadavg()],  # anything above 0 was somebody else
        },
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
            "triton": _triton_version(triton_address),
        },
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    """The name that the kernel gives to it."""
    if CPU_INFO.is_file():
        for line in CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _triton_version(address: str) -> str | None:
    try:
        with grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            return str(stub.ServerMetadata(service_pb2.ServerMetadataRequest(), timeout=LIMIT_S).version)
    except grpc.RpcError:
        return None
