"""Start the Triton that comes in the `nvidia-pytriton` wheel, with this repository's `onnxruntime` backend.

Run it with the Python of Triton's own environment; it needs nothing but the standard library:

    .venv-triton/bin/python deploy/triton/launch.py --model-repository model_repository --profile cpu

The process becomes tritonserver itself, so a signal reaches the server directly. Exit code 2: the start was refused.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).resolve().parent
BACKEND = HERE / "backends" / "onnxruntime"
DEFAULT_RUNTIME_DIRECTORY = HERE.parents[1] / "build" / "triton-backends"
WHEEL = "nvidia-pytriton"
STUB = "triton_python_backend_stub"
# Where inference takes the core from the service's event loop, all calls wait; so that goes first. It is one thread,
# and leaves inference the other cores.
CPU_NICE = 10
LARGEST_NICE = 19
PORT_OPTIONS = ("http", "grpc", "metrics")


class LaunchError(Exception):
    """The server cannot be started; the message names the value and the rule."""


@dataclass(frozen=True)
class Distribution:
    """Where the wheel's tritonserver and its libraries lie."""

    version: str
    server: Path  # pytriton/tritonserver
    libraries: Path  # nvidia_pytriton.libs


@dataclass(frozen=True)
class Interpreter:
    """The Python that the server's stubs will be: the one that runs this launcher."""

    minor: str  # "3.11"
    directory: Path  # holds its `python3`
    library: Path | None  # its shared libpython

    @property
    def library_name(self) -> str:
        return f"libpython{self.minor}.so.1.0"


def find_distribution() -> Distribution:
    """Find the wheel without importing it: pytriton's own imports are neither needed nor installed."""
    try:
        found = metadata.distribution(WHEEL)
    except metadata.PackageNotFoundError:
        raise LaunchError(
            f"{sys.executable} has no package {WHEEL}; run this launcher with the Python of Triton's environment "
            "(requirements/triton.txt)"
        ) from None
    server = Path(str(found.locate_file("pytriton/tritonserver")))
    libraries = Path(str(found.locate_file("nvidia_pytriton.libs")))
    for path in (server / "bin" / "tritonserver", libraries):
        if not path.exists():
            raise LaunchError(f"{path} is missing from {WHEEL} {found.version}; reinstall the wheel for Linux x86-64")
    return Distribution(found.version, server, libraries)


def this_interpreter() -> Interpreter:
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    executable = Path(sys.executable)
    python3 = executable.with_name("python3")
    if python3.resolve() != executable.resolve():
        raise LaunchError(f"{executable}; {python3} must be the same Python, as it is in every virtual environment")
    library_directory = Path(sysconfig.get_config_var("LIBDIR") or "/nonexistent")
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    places = (library_directory, library_directory / multiarch, Path(sys.base_prefix) / "lib")
    candidates = (place / f"libpython{minor}.so.1.0" for place in places)
    return Interpreter(
        minor=minor,
        directory=executable.parent,
        library=next((path for path in candidates if path.exists()), None),
    )


def find_stub(distribution: Distribution, minor: str) -> Path:
    """The wheel's stub for a Python minor; each links that very libpython, so no other will do."""
    stubs = distribution.server / "python_backend_stubs"
    stub = stubs / minor / STUB
    if not stub.is_file():
        known = sorted((path.name for path in stubs.iterdir()), key=lambda name: int(name.partition(".")[2]))
        raise LaunchError(f"Python {minor}; {WHEEL} {distribution.version} serves Python {', '.join(known)}")
    return stub


def find_libpython(distribution: Distribution, interpreter: Interpreter) -> dict[str, Path]:
    """Names that the stub may ask the loader for, and the libpython each must get.

    Some stubs (3.13) ask for a copy inside the wheel by a name of its own. The interpreter's own library takes its
    place where there is one, so that library and standard library are of the same release.
    """
    major, _, minor = interpreter.minor.partition(".")
    bundled = sorted(distribution.libraries.glob(f"libpython{major}-*.{minor}.so.1.0"))
    if interpreter.library is not None:
        own = interpreter.library.resolve()
        return {interpreter.library_name: own, **{path.name: own for path in bundled}}
    if bundled:
        return {path.name: path for path in bundled}
    raise LaunchError(
        f"Python {interpreter.minor} at {sys.base_prefix} has no {interpreter.library_name}; Triton's stub needs a "
        f"Python with a shared library (Debian and Ubuntu: package libpython{interpreter.minor})"
    )


def build_backends(runtime: Path, distribution: Distribution, interpreter: Interpreter) -> Path:
    """Lay out the backend directory and return it.

    Its name is a hash of what goes in, and it appears by one rename: launchers that start at once share it or lose
    the race harmlessly, and a running server never sees its files change.
    """
    stub = find_stub(distribution, interpreter.minor)
    libpython = find_libpython(distribution, interpreter)
    sources = sorted(BACKEND.glob("*.py"))
    parts = [distribution.version, interpreter.minor, str(distribution.server), str(sorted(libpython.items()))]
    parts += [f"{source.name}\0{source.read_text(encoding='utf-8')}" for source in sources]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    # Triton compares paths as text: absolute, no trailing slash.
    target = runtime.resolve() / key
    if target.is_dir():
        return target
    try:
        runtime.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=runtime))
    except OSError as error:
        raise LaunchError(f"--runtime-directory {runtime}: {error.strerror}; it must be a writable folder") from error
    fill_backends(staging, distribution, stub, libpython, sources)
    try:
        staging.rename(target)
    except OSError:  # another launcher was first
        shutil.rmtree(staging)
        if not target.is_dir():
            raise
    return target


def fill_backends(
    folder: Path, distribution: Distribution, stub: Path, libpython: dict[str, Path], sources: Sequence[Path]
) -> None:
    folder.chmod(0o755)  # mkdtemp's 0700 would shut out a server that runs as another user
    shutil.copytree(distribution.server / "backends" / "python", folder / "python")
    # Copies, not links: the stub's RPATH is relative to where it really lies and would beat LD_LIBRARY_PATH.
    shutil.copy(stub, folder / "python" / STUB)
    (folder / "python" / STUB).chmod(0o755)
    (folder / "onnxruntime").mkdir()
    for source in sources:
        shutil.copy(source, folder / "onnxruntime" / source.name)
    (folder / "lib").mkdir()
    for name, path in libpython.items():
        (folder / "lib" / name).symlink_to(path)


def server_environment(distribution: Distribution, interpreter: Interpreter, backends: Path) -> dict[str, str]:
    environment = dict(os.environ)
    libraries = [str(backends / "lib"), str(distribution.libraries)]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join([*libraries, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])
    # The stub's Python is isolated: it ignores PYTHONHOME and PYTHONPATH and takes the packages of the environment
    # whose `python3` comes first on PATH.
    environment["PATH"] = os.pathsep.join([str(interpreter.directory), os.environ.get("PATH", os.defpath)])
    # numpy's BLAS would start a thread per core in every model instance; nothing here multiplies matrices in numpy.
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    # One after another: stubs that start at the same moment were seen to read each other's shared memory, on a busy
    # machine above all, and then they crash or wait for ever.
    environment["TRITON_PARALLEL_INSTANCE_LOADING"] = "0"
    return environment


def server_arguments(options: argparse.Namespace, repository: Path, backends: Path) -> list[str]:
    arguments = [
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        f"--backend-config=python,shm-region-prefix-name={options.shm_prefix}",
        f"--backend-config=python,stub-timeout-seconds={options.stub_timeout}",
        "--model-load-thread-count=1",  # for the same reason as TRITON_PARALLEL_INSTANCE_LOADING
        "--disable-auto-complete-config",  # configurations are written in full; a wrong one must fail, not be mended
        # With models loaded one by one, one that fails must not take the others away: each has its own readiness.
        f"--strict-readiness={str(options.model_control_mode != 'explicit').lower()}",
        f"--model-control-mode={options.model_control_mode}",
        f"--exit-timeout-secs={options.exit_timeout}",
        f"--log-verbose={int(options.verbose)}",
        "--log-format=ISO8601",
    ]
    for kind in PORT_OPTIONS:
        arguments += [f"--{kind}-address={options.host}", f"--{kind}-port={getattr(options, f'{kind}_port')}"]
    arguments.append(f"--model-config-name={options.profile}")  # where there is no such file, config.pbtxt
    if options.profile == "cpu":
        arguments += ["--allow-gpu-metrics=false", "--pinned-memory-pool-byte-size=0"]
    arguments += [f"--load-model={name}" for name in options.load_model]
    return arguments + list(options.server_options)


def check_repository(path: Path) -> Path:
    if not path.is_dir():
        raise LaunchError(f"--model-repository {path}; it must be an existing folder")
    return path.resolve()


def check_ports(options: argparse.Namespace) -> None:
    """tritonserver finds a taken port only after every model has been loaded: look before."""
    ports = {kind: getattr(options, f"{kind}_port") for kind in PORT_OPTIONS}
    for kind, port in ports.items():
        if not 1 <= port <= 65535:
            raise LaunchError(f"--{kind}-port {port}; a port is 1 to 65535")
        same = [f"--{other}-port" for other in ports if other != kind and ports[other] == port]
        if same:
            raise LaunchError(f"--{kind}-port {port} is also {same[0]}; the three ports must differ")
        check_port_free(kind, options.host, port)


def check_port_free(kind: str, host: str, port: int) -> None:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise LaunchError(f"--host {host}: {error.strerror}; it must be an address of this machine") from error
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: TIME_WAIT is no occupant
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            raise LaunchError(f"--{kind}-port {port} on {host}: {error.strerror}; the port must be free") from error


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="launch.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model-repository", type=Path, required=True, help="folder of models")
    profiles = "cpu: configs/cpu.pbtxt; gpu-tensorrt: configs/gpu-tensorrt.pbtxt; gpu: config.pbtxt"
    add("--profile", choices=("cpu", "gpu", "gpu-tensorrt"), default="cpu", help=profiles)
    add("--host", default="127.0.0.1", help="address of all three ports (%(default)s)")
    add("--grpc-port", type=int, default=8001)
    add("--http-port", type=int, default=8000)
    add("--metrics-port", type=int, default=8002)
    add(
        "--model-control-mode",
        choices=("none", "explicit", "poll"),
        default="none",
        help="none: all models at the start; explicit: those that it is told to load; poll: all, and what changes",
    )
    add("--load-model", action="append", default=[], metavar="NAME", help="repeatable; explicit mode only")
    add("--exit-timeout", type=int, default=30, metavar="SECONDS", help="grace for running requests (%(default)s)")
    add("--runtime-directory", type=Path, default=DEFAULT_RUNTIME_DIRECTORY, help="where backends are laid out")
    # Triton gives 30 s otherwise, too little on a busy machine: a stub that is late crashes the server.
    add("--stub-timeout", type=int, default=120, metavar="S", help="time for a model to load (default %(default)s)")
    # The process id survives exec, so the default is unique on a machine and tells whose shared memory it is.
    add("--shm-prefix", default=f"triton_{os.getpid()}_", help="name prefix of shared memory regions")
    add("--nice", type=int, metavar="N", help=f"0 to {LARGEST_NICE} (profile cpu: {CPU_NICE}, others: 0)")
    add("--verbose", action="store_true")
    add("server_options", nargs="*", metavar="-- OPTION", help="after --, handed to tritonserver as they are")
    options = parser.parse_args(arguments)
    if options.load_model and options.model_control_mode != "explicit":
        parser.error(f"--load-model {options.load_model[0]}; it needs --model-control-mode explicit")
    stray = [option for option in options.server_options if not option.startswith("-")]
    if stray:
        parser.error(f"{stray[0]!r}; what goes to tritonserver is written --option=value, after --")
    if options.nice is None:
        options.nice = CPU_NICE if options.profile == "cpu" else 0
    if not 0 <= options.nice <= LARGEST_NICE:
        parser.error(f"--nice {options.nice}; it must be 0 to {LARGEST_NICE}")
    if options.exit_timeout < 0:
        parser.error(f"--exit-timeout {options.exit_timeout}; it must not be negative")
    return options


def launch(options: argparse.Namespace) -> NoReturn:
    """Check everything that can be checked, then become tritonserver."""
    repository = check_repository(options.model_repository)
    distribution = find_distribution()
    interpreter = this_interpreter()
    backends = build_backends(options.runtime_directory, distribution, interpreter)
    check_ports(options)
    server = str(distribution.server / "bin" / "tritonserver")
    environment = server_environment(distribution, interpreter, backends)
    os.nice(options.nice)
    os.execve(server, [server, *server_arguments(options, repository, backends)], environment)  # noqa: S606


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    try:
        launch(options)
    except LaunchError as error:
        sys.stderr.write(f"launch.py: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
