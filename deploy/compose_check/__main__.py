"""Build docker-compose.cpu.yml under podman, run it, use it, break it, and take it down.

    python -m deploy.compose_check [--install] [--model-repository FOLDER]

Exit code 0: all is well; 1: something is not, and the output says what; 2: the check cannot be run here as things are.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from deploy.compose_check import base_image, packages, tools
from deploy.compose_check.calls import Caller, check_logs
from deploy.compose_check.commands import Clock, CommandFailed, SetupError, run
from deploy.compose_check.engine import COMPOSE_FILE, Engine, limits_within_ours
from deploy.compose_check.report import CheckFailed, Report, demand
from deploy.compose_check.walls import TRITON_PORTS, Walls, listens

ROOT: Final = Path(__file__).resolve().parents[2]
TEARDOWN_LIMIT_S: Final = 150.0
START_LIMIT_S: Final = 240.0
NOT_SHOWN: Final = (
    (
        "docker-compose.yml itself, on a GPU host: NVIDIA's image with its C++ ONNX Runtime backend, the GPU "
        "reservation, each model's config.pbtxt, and that the image runs with a read-only root as user 1000 (its "
        "flags, mounts and the service's part are compared with what ran here by tests/unit/test_compose.py)"
    ),
    "Docker's own engine and `docker compose`: restarts by policy and health checks on a timer",
)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.compose_check", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    repository = Path(os.environ.get("WIGEUP_MODEL_REPOSITORY", ROOT / "model_repository"))
    add("--model-repository", type=Path, default=repository, help="folder of models with weights (%(default)s)")
    add("--install", action="store_true", help="install missing Debian packages (as root)")
    add("--keep-images", action="store_true", help="leave the built images for a quicker next run")
    add("--podman-compose", metavar="PROGRAM", help="default: the one on PATH if recent, else one for this run only")
    add("--limit", type=float, default=1500.0, metavar="SECONDS", help="longest run before it is ended (%(default)s)")
    return parser.parse_args(arguments)


def check_repository(path: Path) -> Path:
    """Raises SetupError where there is no model with weights."""
    if not any(path.glob("*/[0-9]*/model.onnx")):
        raise SetupError(f"{path}; no model there has weights: run `make models`, or give --model-repository")
    return path.resolve()


def prepare(options: argparse.Namespace, scratch: Path, port: int, report: Report) -> Engine:
    """The engine with all that it needs here; raises SetupError."""
    repository = check_repository(options.model_repository)
    tools.require(tools.DEBIAN_PACKAGES, install=options.install)
    program, version = tools.podman_compose(options.podman_compose, scratch)
    environment = {
        "PATH": tools.SEARCH_PATH,
        "WIGEUP_MODEL_REPOSITORY": str(repository),
        "WIGEUP_PUBLISH": f"127.0.0.1:{port}",
        **limits_within_ours(scratch),
    }
    report.step(f"{run(['podman', '--version'], timeout_s=30).stdout.strip()}, podman-compose {version}")
    return Engine(program, environment, Clock(options.limit))


def build(engine: Engine, scratch: Path, report: Report) -> None:
    report.step(f"build the images of {COMPOSE_FILE}")
    lent = " ".join(packages.build_options(scratch))
    engine.compose(f"--podman-build-args={lent}", "build", timeout_s=900)


def start(engine: Engine, report: Report) -> None:
    """In the order that the file demands; podman before 4.6 does not wait for health by itself."""
    report.step("start")
    for service in ("triton", "preprocess"):
        engine.compose("up", "--detach", "--no-deps", "--no-build", service)
        seconds = engine.wait(f"{service} healthy", partial(engine.healthy, service), START_LIMIT_S)
        report.note(f"{service} healthy after {seconds:.0f} s")


def check(engine: Engine, port: int, taken: Sequence[int], report: Report) -> None:
    caller = Caller(engine, f"127.0.0.1:{port}")
    report.check("a call through the published port", caller.verdicts)
    walls = Walls(engine, base_image.base_name(), taken)
    report.check("unprivileged", walls.unprivileged)
    report.check("read-only", walls.read_only)
    report.check("Triton is shut in", walls.triton_is_shut_in)
    report.check("the service is published", lambda: walls.service_is_on_loopback(port))
    report.check("contents of the images", walls.images)
    report.check("sizes of the images", walls.sizes)
    report.check("log limits", walls.log_limits)
    report.check("outage of Triton", caller.outage)
    report.check("logs", lambda: check_logs(engine))
    report.check("clean stop", lambda: stop(engine))


def stop(engine: Engine) -> str:
    """Both processes end by themselves when told to, with code 0."""
    engine.compose("stop", timeout_s=120)
    codes = {service: engine.inspect(service)["State"]["ExitCode"] for service in ("preprocess", "triton")}
    demand(set(codes.values()) == {0}, f"exit codes {codes}")
    return "exit code 0 of both"


def take_down(engine: Engine, *, keep_images: bool, report: Report) -> None:
    """Whatever has been reached, nothing stays: no container, no network, no borrowed name."""
    report.step("take down")
    engine.clock = Clock(TEARDOWN_LIMIT_S)
    actions: tuple[tuple[str, Callable[[], object]], ...] = (
        ("containers and networks", partial(engine.compose, "down", "--volumes", timeout_s=90)),
        ("images", partial(engine.remove_built_images, keep=keep_images)),
        ("base image", partial(base_image.take_back, engine, keep=keep_images)),
    )
    for name, action in actions:
        try:
            action()
        except CommandFailed as error:
            report.fail(f"take down {name}", str(error))


def conclude(report: Report, *, stood_in: bool) -> int:
    report.step("what this run does not show")
    if stood_in:
        report.note(
            f"- {base_image.base_name()} could not be pulled: Debian {base_image.SUITE} with its Python 3.11 stood in"
        )
    for text in NOT_SHOWN:
        report.note(f"- {text}")
    report.step(f"FAILED: {', '.join(report.failures)}" if report.failures else "all checks passed")
    return 1 if report.failures else 0


def check_all(options: argparse.Namespace, scratch: Path, report: Report) -> int:
    port, taken = free_port(), [port for port in TRITON_PORTS if listens("127.0.0.1", port)]
    engine = prepare(options, scratch, port, report)
    stood_in = False
    try:
        report.step(f"base image {base_image.base_name()}")
        stood_in = base_image.provide(engine, scratch, install=options.install)
        report.note("cannot be pulled; made of Debian's packages instead" if stood_in else "the real one")
        build(engine, scratch, report)
        start(engine, report)
        check(engine, port, taken, report)
    except (CommandFailed, CheckFailed) as error:
        report.fail("run", str(error))
        report.note(engine.last_logs())
    finally:
        take_down(engine, keep_images=options.keep_images, report=report)
    return conclude(report, stood_in=stood_in)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything is taken down then, too
    build_folder = ROOT / "build"
    build_folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="compose-check-", dir=build_folder) as scratch:
        try:
            return check_all(options, Path(scratch), Report())
        except SetupError as error:
            sys.stderr.write(f"compose-check: {error}\n")
            return 2


if __name__ == "__main__":
    sys.exit(main())
