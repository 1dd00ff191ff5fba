"""Which ONNX Runtime providers the backend asks for, on machines that this one need not be."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest

from deploy.triton.launch import BACKEND

GPU_BUILD = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
CPU: tuple[str, dict[str, str]] = ("CPUExecutionProvider", {})


@pytest.fixture
def ort_session(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as Triton's stub imports it: its folder is on the path."""
    monkeypatch.syspath_prepend(BACKEND)
    return importlib.import_module("ort_session")


def accelerated(kind: str, name: str, parameters: dict[str, str]) -> dict[str, Any]:
    listed = {f"{kind}_execution_accelerator": [{"name": name, "parameters": parameters}]}
    return {"optimization": {"execution_accelerators": listed}}


def providers(module: ModuleType, config: dict[str, Any], kind: str, available: list[str]) -> Any:
    return module.execution_providers(config, module.Parameters(config), kind, "1", available)


def test_a_gpu_instance_runs_on_cuda_with_the_configured_search(ort_session: ModuleType) -> None:
    config = {"parameters": {"cudnn_conv_algo_search": {"string_value": "1"}}}

    cuda = {"device_id": "1", "cudnn_conv_algo_search": "HEURISTIC"}
    assert providers(ort_session, config, "GPU", GPU_BUILD) == [("CUDAExecutionProvider", cuda), CPU]


def test_tensorrt_stands_above_cuda_under_its_own_option_names(ort_session: ModuleType) -> None:
    config = accelerated("gpu", "tensorrt", {"precision_mode": "FP16", "max_workspace_size_bytes": "64"})

    tensorrt = {"device_id": "1", "trt_fp16_enable": "1", "trt_max_workspace_size": "64"}
    assert providers(ort_session, config, "GPU", GPU_BUILD) == [
        ("TensorrtExecutionProvider", tensorrt),
        ("CUDAExecutionProvider", {"device_id": "1"}),
        CPU,
    ]


def test_cuda_options_pass_and_the_older_spelling_wins(ort_session: ModuleType) -> None:
    config = accelerated("gpu", "cuda", {"cudnn_conv_algo_search": "DEFAULT", "use_tf32": "0"})
    config["parameters"] = {"cudnn_conv_algo_search": {"string_value": "0"}}

    cuda = {"device_id": "1", "cudnn_conv_algo_search": "EXHAUSTIVE", "use_tf32": "0"}
    assert providers(ort_session, config, "GPU", GPU_BUILD) == [("CUDAExecutionProvider", cuda), CPU]


def test_openvino_gets_the_sessions_threads(ort_session: ModuleType) -> None:
    config = accelerated("cpu", "openvino", {"precision": "FP32"})

    openvino = {"device_type": "CPU", "num_of_threads": "1", "precision": "FP32"}
    assert providers(ort_session, config, "CPU", ["OpenVINOExecutionProvider"]) == [
        ("OpenVINOExecutionProvider", openvino),
        CPU,
    ]


@pytest.mark.parametrize(
    ("config", "kind", "message"),
    [
        ({}, "GPU", "an instance of kind KIND_GPU needs CUDAExecutionProvider"),
        (accelerated("gpu", "cuda", {}), "CPU", "'cuda' needs CUDAExecutionProvider; this ONNX Runtime has CPU"),
        (accelerated("cpu", "openvino", {}), "CPU", "'openvino' needs OpenVINOExecutionProvider"),
        (accelerated("gpu", "openvino", {}), "CPU", "unknown gpu execution accelerator 'openvino' is requested"),
    ],
)
def test_refuses_what_the_build_lacks(ort_session: ModuleType, config: dict[str, Any], kind: str, message: str) -> None:
    with pytest.raises(ort_session.Refusal, match=message):
        providers(ort_session, config, kind, ["CPUExecutionProvider"])


@pytest.mark.parametrize("parameters", [{"precision_mode": "FP4"}, {"workspace": "1"}])
def test_refuses_unknown_tensorrt_settings(ort_session: ModuleType, parameters: dict[str, str]) -> None:
    with pytest.raises(ort_session.Refusal, match="tensorrt"):
        providers(ort_session, accelerated("gpu", "tensorrt", parameters), "GPU", GPU_BUILD)
