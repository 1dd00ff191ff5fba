"""The compose files, judged as text: what `python -m deploy.compose_check` runs, and what only a GPU host could run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy.compose_check.base_image import DOCKERFILES
from deploy.compose_check.engine import COMPOSE_FILE
from deploy.triton import launch
from preprocess_service.model_spec import ENGINE_FOLDER
from preprocess_service.settings import PREFIX, Settings

ROOT: Final = Path(__file__).resolve().parents[2]
GPU_FILE: Final = "docker-compose.yml"
FILES: Final = (GPU_FILE, COMPOSE_FILE)
MODELS: Final = "${WIGEUP_MODEL_REPOSITORY:-./model_repository}:/models:ro"
# Those of the compose files themselves; every other variable is a setting of the service.
COMPOSE_VARIABLES: Final = {"WIGEUP_PUBLISH", "WIGEUP_TRITON_PROFILE", "WIGEUP_ENGINES"}
PROFILE: Final = "${WIGEUP_TRITON_PROFILE:-gpu}"
ENGINES: Final = f"${{WIGEUP_ENGINES:-engines}}:{ENGINE_FOLDER}"
# Where the wheel's server and NVIDIA's image must differ: there is a Python-based backend in one only.
WHEEL_ONLY: Final = ("--backend-directory=", "--model-load-thread-count=", "--backend-config=python,")
DIFFERS_BY_IMAGE: Final = {"cpu_shares", "image", "build", "command", "user", "deploy", "healthcheck", "volumes"}


def document(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / name).read_text(encoding="utf-8")))


def service(file: str, name: str) -> dict[str, Any]:
    """A service with what it `extends`, merged as Compose does it for mappings."""
    found = dict(document(file)["services"][name])
    base = found.pop("extends", None)
    return {**service(base["file"], base["service"]), **found} if base else found


SERVICES: Final = tuple((file, name) for file in FILES for name in document(file)["services"])


def instruction(dockerfile: Path, name: str) -> str:
    text = (ROOT / dockerfile).read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(rf"^{name} (.+)$", text, re.MULTILINE)
    assert len(found) == 1, f"{dockerfile}: {len(found)} {name}"
    return str(found[0])


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text.removesuffix("s"))


def launcher_flags(*options: str) -> list[str]:
    parsed = launch.parse_arguments(["--model-repository", "/models", "--host", "0.0.0.0", *options])
    return launch.server_arguments(parsed, Path("/models"), Path("/backends"))


def test_gpu_triton_gets_the_flags_of_the_launcher() -> None:
    program, *flags = service(GPU_FILE, "triton")["command"]

    explicit = ("--model-control-mode", "explicit")
    expected = [flag for flag in launcher_flags("--profile", "gpu", *explicit) if not flag.startswith(WHEEL_ONLY)]
    assert program == "tritonserver"
    assert [flag.replace(PROFILE, "gpu") for flag in flags] == expected


def test_gpu_file_serves_the_gpu_profile_unless_another_is_named() -> None:
    flags = service(GPU_FILE, "triton")["command"]

    assert [flag for flag in flags if "model-config-name" in flag] == [f"--model-config-name={PROFILE}"]


def test_engines_belong_to_who_writes_them() -> None:
    volume = document(GPU_FILE)["volumes"]["engines"]["driver_opts"]["o"].split(",")
    user, group = service(GPU_FILE, "triton")["user"].split(":")

    assert {f"uid={user}", f"gid={group}"} <= set(volume)


def test_cpu_image_serves_the_cpu_profile() -> None:
    program, script, *options = json.loads(instruction(Path("deploy/triton/Dockerfile"), "ENTRYPOINT"))

    parsed = launch.parse_arguments([*options, *service(COMPOSE_FILE, "triton")["command"]])
    assert (program, script) == ("python", "launch.py")
    assert (parsed.profile, parsed.host, parsed.model_repository) == ("cpu", "0.0.0.0", Path("/models"))
    assert "--model-config-name=cpu" in launch.server_arguments(parsed, parsed.model_repository, Path("/backends"))


def test_inference_on_cores_goes_behind_the_service() -> None:
    """Niceness counts within a container, shares between them."""
    nice = {
        profile: launch.parse_arguments(["--model-repository", "/models", "--profile", profile]).nice
        for profile in ("cpu", "gpu", "gpu-tensorrt")
    }

    assert nice == {"cpu": 10, "gpu": 0, "gpu-tensorrt": 0}
    assert service(COMPOSE_FILE, "triton")["cpu_shares"] == 128
    assert not any("cpu_shares" in service(file, "preprocess") for file in FILES)


def test_cpu_triton_loads_what_it_is_told_as_the_gpu_triton_does() -> None:
    parsed = launch.parse_arguments(["--model-repository", "/models", *service(COMPOSE_FILE, "triton")["command"]])

    flags = launch.server_arguments(parsed, Path("/models"), Path("/backends"))
    assert "--model-control-mode=explicit" in flags
    assert {flag for flag in flags if "readiness" in flag} == {"--strict-readiness=false"}


@pytest.mark.parametrize("file", FILES)
def test_the_models_loaded_at_the_start_are_the_settings_default(file: str) -> None:
    names = ",".join(Settings.model_fields["loaded_models"].default)

    assert service(file, "preprocess")["environment"]["WIGEUP_LOADED_MODELS"] == f"${{WIGEUP_LOADED_MODELS:-{names}}}"


def test_gpu_triton_reserves_a_gpu() -> None:
    (device,) = service(GPU_FILE, "triton")["deploy"]["resources"]["reservations"]["devices"]

    assert device["driver"] == "nvidia"
    assert "gpu" in device["capabilities"]


def test_gpu_image_is_pinned_to_the_release_of_the_wheel() -> None:
    image = service(GPU_FILE, "triton")["image"]

    # tritonserver 2.51.0, which nvidia-pytriton 0.7.0 carries, is release 24.10.
    assert re.search(r"^nvidia-pytriton==0\.7\.0\b", (ROOT / "requirements/triton.in").read_text(), re.MULTILINE)
    assert image == "nvcr.io/nvidia/tritonserver:24.10-py3"


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=str)
def test_dockerfiles_start_from_a_pinned_tag(dockerfile: Path) -> None:
    assert re.fullmatch(r"python:\d+\.\d+-slim", instruction(dockerfile, "FROM"))


def test_the_service_is_the_same_in_both_files() -> None:
    assert service(COMPOSE_FILE, "preprocess") == service(GPU_FILE, "preprocess")


def test_triton_is_the_same_in_both_files_but_for_its_image() -> None:
    gpu, cpu = ({k: v for k, v in service(file, "triton").items() if k not in DIFFERS_BY_IMAGE} for file in FILES)

    assert gpu == cpu


def test_networks_and_name_are_the_same_in_both_files() -> None:
    gpu, cpu = (document(file) for file in FILES)

    assert gpu["networks"] == cpu["networks"]
    assert gpu["name"] == cpu["name"]


@pytest.mark.parametrize("file", FILES)
def test_triton_can_be_reached_by_the_service_only(file: str) -> None:
    triton = service(file, "triton")

    assert "ports" not in triton
    assert [document(file)["networks"][network] for network in triton["networks"]] == [{"internal": True}]
    assert set(triton["networks"]) < set(service(file, "preprocess")["networks"])


@pytest.mark.parametrize("file", FILES)
def test_the_service_is_published_on_loopback_by_default(file: str) -> None:
    assert service(file, "preprocess")["ports"] == ["${WIGEUP_PUBLISH:-127.0.0.1:50051}:50051"]


@pytest.mark.parametrize(("file", "name"), SERVICES)
def test_models_are_mounted_read_only(file: str, name: str) -> None:
    assert service(file, name)["volumes"] == [MODELS, *([ENGINES] if (file, name) == (GPU_FILE, "triton") else [])]


@pytest.mark.parametrize("file", FILES)
def test_the_service_finds_triton_and_the_models(file: str) -> None:
    environment = service(file, "preprocess")["environment"]
    triton_flags = launcher_flags("--profile", "gpu")

    host, _, port = environment["WIGEUP_TRITON_ADDRESS"].partition(":")
    assert host in document(file)["services"]
    assert f"--grpc-port={port}" in triton_flags
    assert environment["WIGEUP_MODEL_REPOSITORY"] == "/models"


@pytest.mark.parametrize("file", FILES)
def test_every_variable_is_a_setting(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    used = set(re.findall(rf"{PREFIX}\w+", text)) | set(service(file, "preprocess")["environment"])

    assert used - COMPOSE_VARIABLES <= {PREFIX + name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize(("file", "name"), SERVICES)
def test_containers_are_confined(file: str, name: str) -> None:
    confined = service(file, name)

    assert confined["cap_drop"] == ["ALL"]
    assert confined["security_opt"] == ["no-new-privileges:true"]
    assert confined["read_only"] is True
    assert confined["init"] is True
    assert not confined.keys() & {"privileged", "cap_add", "network_mode", "pid", "ipc"}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=str)
def test_images_run_as_a_numbered_user(dockerfile: Path) -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", instruction(dockerfile, "USER"))


def test_nvidias_image_runs_as_a_numbered_user() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service(GPU_FILE, "triton")["user"])
    assert "user" not in service(COMPOSE_FILE, "triton")  # its image says so itself


@pytest.mark.parametrize(("file", "name"), SERVICES)
def test_containers_live_on(file: str, name: str) -> None:
    lasting = service(file, name)

    assert lasting["restart"] == "unless-stopped"
    assert {"max-size", "max-file"} <= lasting["logging"]["options"].keys()


@pytest.mark.parametrize("file", FILES)
def test_the_service_waits_for_triton(file: str) -> None:
    assert service(file, "preprocess")["depends_on"] == {"triton": {"condition": "service_healthy"}}


@pytest.mark.parametrize(("file", "name"), SERVICES)
def test_health_is_checked(file: str, name: str) -> None:
    check = service(file, name)["healthcheck"]

    assert check["test"][0] == "CMD"
    assert seconds(check["timeout"]) < seconds(check["interval"])
    if name == "triton":
        assert "http://127.0.0.1:8000/v2/health/ready" in " ".join(check["test"])


@pytest.mark.parametrize(("name", "dockerfile"), tuple(zip(("preprocess", "triton"), DOCKERFILES, strict=True)))
def test_health_is_checked_as_the_dockerfile_says(name: str, dockerfile: Path) -> None:
    options, _, command = instruction(dockerfile, "HEALTHCHECK").partition("CMD ")
    check = service(COMPOSE_FILE, name)["healthcheck"]

    assert dockerfile.as_posix() == service(COMPOSE_FILE, name)["build"]["dockerfile"]
    assert check["test"] == ["CMD", *json.loads(command)]
    for option in ("interval", "timeout", "retries", "start_period"):
        assert f"--{option.replace('_', '-')}={check[option]}" in options.split()


def test_the_grace_is_longer_than_what_the_processes_take() -> None:
    triton = launch.parse_arguments(["--model-repository", "/models"]).exit_timeout

    assert seconds(service(GPU_FILE, "triton")["stop_grace_period"]) > triton
    assert (
        seconds(service(GPU_FILE, "preprocess")["stop_grace_period"])
        > Settings.model_fields["shutdown_grace_s"].default
    )


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=str)
def test_packages_are_pinned_and_no_index_is_named(dockerfile: Path) -> None:
    text = (ROOT / dockerfile).read_text(encoding="utf-8")

    assert "pip install --require-hashes" in text
    assert not re.search(r"index-url|https?://(?!127\.0\.0\.1)", text)


def test_build_contexts_hold_only_what_is_copied() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [line.removeprefix("!") for line in lines if line.startswith("!")]
    copied = [
        source.split()[0]
        for dockerfile in DOCKERFILES
        for source in re.findall(r"^COPY (.+)$", (ROOT / dockerfile).read_text(encoding="utf-8"), re.MULTILINE)
    ]

    assert next(line for line in lines if line and not line.startswith("#")) == "*"
    assert all(any(source == path or source.startswith(path + "/") for path in kept) for source in copied)
    assert all(any(source == path or source.startswith(path + "/") for source in copied) for path in kept)
