"""A real Triton over a temporary repository, in which every setting that is tried is a model of its own."""

from __future__ import annotations

import contextlib
import socket
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import grpc
import psutil  # type: ignore[import-untyped]
from google.protobuf import text_format
from tritonclient.grpc import service_pb2, service_pb2_grpc

from deploy.serve import TRITON_PYTHON, Failed, Programs
from loadtest import processes
from loadtest.circumstances import ROOT
from loadtest.triton_channel import CHANNEL_OPTIONS
from preprocess_service.model_spec import ModelSpec, Profile, ProfileName
from training.triton_config import PROFILE_PATHS, model_config

HOST: Final = "127.0.0.1"
GPU_DEVICE: Final = Path("/dev/nvidiactl")
LOAD_LIMIT_S: Final = 180.0
SERVER, STUBS = "tritonserver", "model instances"
_direct: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not reach this loopback


class Refused(Exception):
    """Triton does not load a model with that setting; the message says why."""


def profiled(spec: ModelSpec, kind: ProfileName, profile: Profile, name: str) -> ModelSpec:
    """The model with another profile, under another name."""
    return replace(spec, name=name, cpu=profile) if kind == "cpu" else replace(spec, name=name, gpu=profile)


class Triton:
    """A running server; models come and go while it runs."""

    def __init__(self, repository: Path, address: str, metrics: str, pid: int) -> None:
        self.address, self.metrics, self._repository, self._pid = address, metrics, repository, pid
        self._channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def load(self, spec: ModelSpec, kind: ProfileName, version: Path) -> None:
        """Has the model loaded, with the graph of that version folder; raises Refused."""
        folder = self._repository / spec.name
        config = folder / PROFILE_PATHS[kind]
        config.parent.mkdir(parents=True)
        config.write_text(text_format.MessageToString(model_config(spec, kind)), encoding="utf-8")
        graph = folder / "1" / spec.profile(kind).graph_file
        graph.parent.mkdir()
        graph.symlink_to((version / graph.name).resolve())
        try:
            self._stub.RepositoryModelLoad(
                service_pb2.RepositoryModelLoadRequest(model_name=spec.name), timeout=LOAD_LIMIT_S
            )
        except grpc.RpcError as error:
            raise Refused((error.details() or "").strip().partition("\n")[0]) from error

    def unload(self, name: str) -> None:
        """Ends the model's instances and waits until they are gone: an end costs time that belongs to no other."""
        leaving = self._stubs(name)
        request = service_pb2.RepositoryModelUnloadRequest(model_name=name)
        self._stub.RepositoryModelUnload(request, timeout=LOAD_LIMIT_S)
        _, alive = psutil.wait_procs(leaving, timeout=LOAD_LIMIT_S)
        if alive:
            raise Failed(f"instances of {name} did not end within {LOAD_LIMIT_S:g} s of their unloading")

    def cpu_s(self, name: str) -> dict[str, float]:
        """Processor seconds so far of the server itself and of the model's instances."""
        stubs = [each.pid for each in self._stubs(name)]
        server = psutil.Process(self._pid).cpu_times()
        return {SERVER: server.user + server.system, **processes.cpu_s({STUBS: stubs})}

    def _stubs(self, name: str) -> list[psutil.Process]:
        """The instances' processes; their command line ends with the instance's name, NAME_0_0."""
        found = []
        for child in psutil.Process(self._pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # one that has just ended
                if any(part.startswith(f"{name}_0_") for part in child.cmdline()):
                    found.append(child)
        return found

    def close(self) -> None:
        self._channel.close()


@contextlib.contextmanager
def started(kind: ProfileName) -> Iterator[Triton]:
    """A server without models until the block ends; raises Failed where it does not start."""
    if kind == "gpu" and not GPU_DEVICE.exists():
        raise Failed(f"--profile gpu: there is no {GPU_DEVICE}; the GPU profile is measured on a GPU")
    with tempfile.TemporaryDirectory(prefix="tune-") as temporary:
        repository = Path(temporary) / "repository"
        repository.mkdir()
        http, rpc, metrics = _free_ports(3)
        programs = Programs(Path(temporary))
        command = [
            *(str(TRITON_PYTHON), str(ROOT / "deploy/triton/launch.py"), "--model-repository", str(repository)),
            *("--profile", kind, "--model-control-mode", "explicit", "--host", HOST),
            *("--http-port", str(http), "--grpc-port", str(rpc), "--metrics-port", str(metrics)),
        ]
        try:
            with contextlib.redirect_stdout(sys.stderr):  # standard output may be the JSON's
                programs.start("triton", *command)
            programs.wait("triton", lambda: _is_ready(http))
            triton = Triton(
                repository, f"{HOST}:{rpc}", f"http://{HOST}:{metrics}/metrics", processes.listeners(rpc)[0]
            )
            try:
                yield triton
            finally:
                triton.close()
        finally:
            programs.stop()


def _is_ready(port: int) -> bool:
    try:
        with _direct.open(f"http://{HOST}:{port}/v2/health/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _free_ports(count: int) -> list[int]:
    """Distinct ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in sockets]
