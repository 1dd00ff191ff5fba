"""`deploy/triton/launch.py`: refusals before the start, and the life of the server that it becomes."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from deploy.triton import launch
from tests.integration import small_models as small
from tests.integration.small_models import Config, Repository
from tests.triton_process import LAUNCHER, TRITON_PYTHON, TritonFailed, TritonProcess, wait_until
from training.triton_config import write_configs


def run_launcher(*options: str, python: Path = TRITON_PYTHON) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, LAUNCHER, *options], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "models")
    made.add("affine", small.affine(), Config())
    return made


@pytest.fixture
def server(repository: Repository, tmp_path: Path) -> Iterator[TritonProcess]:
    with TritonProcess(repository.root, log=tmp_path / "triton.log") as started:
        yield started


def answers(server: TritonProcess) -> bool:
    x = np.ones((1, 8), np.float32)
    tensor = triton.InferInput("x", [1, 8], "FP32").set_data_from_numpy(x)
    with triton.InferenceServerClient(server.grpc_address) as client:
        return bool(client.infer("affine", [tensor]).as_numpy("y").shape == (1, 8))


def test_refuses_a_missing_repository(tmp_path: Path) -> None:
    refusal = run_launcher("--model-repository", str(tmp_path / "absent"))

    assert refusal.returncode == 2
    assert f"--model-repository {tmp_path / 'absent'}; it must be an existing folder" in refusal.stderr


def test_refuses_an_environment_without_the_wheel(tmp_path: Path) -> None:
    refusal = run_launcher("--model-repository", str(tmp_path), python=Path(sys.executable))

    assert refusal.returncode == 2
    assert f"{sys.executable} has no package nvidia-pytriton" in refusal.stderr


def test_refuses_an_occupied_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupant:
        port = occupant.getsockname()[1]
        refusal = run_launcher("--model-repository", str(tmp_path), "--grpc-port", str(port))

    assert refusal.returncode == 2
    assert f"--grpc-port {port} on 127.0.0.1: Address already in use; the port must be free" in refusal.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--http-port", "7007", "--metrics-port", "7007"], "--http-port 7007 is also --metrics-port"),
        (["--http-port", "70000"], "--http-port 70000; a port is 1 to 65535"),
        (["--host", "192.0.2.1"], "on 192.0.2.1: Cannot assign requested address"),
        (["--load-model", "vgg16"], "--load-model vgg16; it needs --model-control-mode explicit"),
        (["--nice", "20"], "--nice 20; it must be 0 to 19"),
        (["--nice", "-1"], "--nice -1; it must be 0 to 19"),
        (["poll"], "'poll'; what goes to tritonserver is written --option=value, after --"),
        (["--runtime-directory", "/proc/nowhere"], "--runtime-directory /proc/nowhere"),
    ],
)
def test_refuses_by_name(tmp_path: Path, options: list[str], message: str) -> None:
    refusal = run_launcher("--model-repository", str(tmp_path), *options)

    assert refusal.returncode == 2
    assert message in refusal.stderr


def fake_distribution(root: Path) -> launch.Distribution:
    server = root / "tritonserver"
    for minor in ("3.9", "3.11"):
        (server / "python_backend_stubs" / minor).mkdir(parents=True)
        (server / "python_backend_stubs" / minor / launch.STUB).write_text("stub")
    (server / "backends" / "python").mkdir(parents=True)
    (server / "backends" / "python" / "libtriton_python.so").write_text("library")
    (root / "libraries").mkdir()
    return launch.Distribution("0.7.0", server, root / "libraries")


def test_refuses_a_python_without_a_stub(tmp_path: Path) -> None:
    with pytest.raises(launch.LaunchError, match=r"Python 3\.14; nvidia-pytriton 0\.7\.0 serves Python 3\.9, 3\.11"):
        launch.find_stub(fake_distribution(tmp_path), "3.14")


def test_refuses_a_python_without_a_shared_library(tmp_path: Path) -> None:
    interpreter = launch.Interpreter("3.11", tmp_path, library=None)

    with pytest.raises(launch.LaunchError, match=r"has no libpython3\.11\.so\.1\.0"):
        launch.find_libpython(fake_distribution(tmp_path), interpreter)


def test_launchers_that_start_at_once_share_one_backend_directory(tmp_path: Path) -> None:
    distribution = fake_distribution(tmp_path)
    interpreter = launch.Interpreter("3.11", tmp_path, library=tmp_path / "libpython3.11.so.1.0")
    runtime = tmp_path / "runtime"

    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(launch.build_backends, runtime, distribution, interpreter) for _ in range(16)]
        built = {job.result() for job in jobs}

    assert list(runtime.iterdir()) == list(built)
    assert (built.pop() / "onnxruntime" / "model.py").is_file()


def test_a_model_has_minutes_to_load(server: TritonProcess) -> None:
    """Triton's own 30 s end in a crash of the whole server on a busy machine."""
    command = Path(f"/proc/{server.pid}/cmdline").read_bytes().decode().split("\0")

    assert "--backend-config=python,stub-timeout-seconds=120" in command


def test_sigterm_ends_the_server_with_all_that_it_started(server: TritonProcess) -> None:
    assert len(server.processes()) == 2  # the server and the stub of the model's one instance

    assert server.stop() == 0

    assert server.processes() == []
    assert server.shared_memory() == []


def test_a_killed_server_leaves_nothing_and_restarts_on_its_ports(server: TritonProcess) -> None:
    address = server.grpc_address
    assert server.shared_memory()

    server.kill()
    assert server.shared_memory() == []
    server.restart()

    assert server.grpc_address == address
    assert answers(server)


def test_listens_on_loopback_only(server: TritonProcess) -> None:
    listening = listening_addresses({server.grpc_port, server.http_port, server.metrics_port})

    # 127.0.0.1, as the kernel writes it, and the same in an IPv6 socket (::ffff:127.0.0.1)
    assert listening
    assert listening <= {"0100007F", "0000000000000000FFFF00000100007F"}


def listening_addresses(ports: set[int]) -> set[str]:
    """Local addresses, as the kernel writes them, on which one of the ports is listened on."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, port = line.split()[1].split(":")
            if line.split()[3] == "0A" and int(port, 16) in ports:
                found.add(address)
    return found


def test_poll_mode_serves_a_model_that_is_added_later(repository: Repository, tmp_path: Path) -> None:
    options = ["--model-control-mode", "poll", "--", "--repository-poll-secs=1"]
    with TritonProcess(repository.root, log=tmp_path / "triton.log", options=options) as server:
        repository.add("later", small.affine(), Config())

        with triton.InferenceServerClient(server.grpc_address) as client:
            assert wait_until(lambda: bool(client.is_model_ready("later")), limit_s=60)


def test_a_failed_start_shows_the_end_of_the_log(repository: Repository, tmp_path: Path) -> None:
    repository.add("bad", small.affine(), Config(outputs=(small.Tensor("z", "8"),)))

    with pytest.raises(TritonFailed, match=r"exit code 1(.|\n)*unexpected output 'z'"):
        TritonProcess(repository.root, log=tmp_path / "triton.log").start()


def test_a_profile_without_files_of_its_own_serves_config_pbtxt(repository: Repository, tmp_path: Path) -> None:
    shutil.copy(repository.root / "affine/1/model.onnx", repository.root / "affine/1/gpu.onnx")

    with TritonProcess(repository.root, log=tmp_path / "triton.log", options=("--profile", "gpu")) as server:
        with triton.InferenceServerClient(server.grpc_address) as client:
            config = client.get_model_config("affine").config

        assert config.default_model_filename == "gpu.onnx"
        assert answers(server)


def test_tensorrt_is_not_served_by_something_else(tmp_path: Path) -> None:
    """Its configuration is found, and refused where no build of ONNX Runtime has TensorRT."""
    write_configs(tmp_path / "models")
    (tmp_path / "models/multimodal/1").mkdir()
    options = ("--profile", "gpu-tensorrt", "--model-control-mode", "explicit")

    with (
        TritonProcess(tmp_path / "models", log=tmp_path / "triton.log", options=options) as server,
        triton.InferenceServerClient(server.grpc_address) as client,
        pytest.raises(InferenceServerException, match="'tensorrt' needs TensorrtExecutionProvider"),
    ):
        client.load_model("multimodal")
