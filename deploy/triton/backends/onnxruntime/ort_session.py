"""How a model configuration becomes an ONNX Runtime session, by the names and numbers of the C++ backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from model_rules import BATCH_AXIS, Json, Parameters, Refusal, check_configuration

Array = npt.NDArray[Any]
Providers = list[tuple[str, dict[str, str]]]

# The C++ backend's numbers for optimization.graph.level; everything else means "all".
GRAPH_LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
# The C++ backend takes every core; with several instances, each a process, that only makes them spin.
DEFAULT_THREADS = 1
CUDNN_SEARCHES = ("EXHAUSTIVE", "HEURISTIC", "DEFAULT")
ARENA_STRATEGIES = ("kNextPowerOfTwo", "kSameAsRequested")
TENSORRT_PRECISIONS = {"FP16": "trt_fp16_enable", "BF16": "trt_bf16_enable", "INT8": "trt_int8_enable"}
TENSORRT_NAMES = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}


def session_options(config: Json, parameters: Parameters) -> ort.SessionOptions:
    options = ort.SessionOptions()
    level = int(config.get("optimization", {}).get("graph", {}).get("level", 0))
    options.graph_optimization_level = GRAPH_LEVELS.get(level, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    parallel = parameters.number("execution_mode", 0, top=1)
    options.execution_mode = ort.ExecutionMode.ORT_PARALLEL if parallel else ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = parameters.number("intra_op_thread_count", DEFAULT_THREADS)
    options.inter_op_num_threads = parameters.number("inter_op_thread_count", DEFAULT_THREADS)
    if (arena := parameters.flag("enable_mem_arena")) is not None:
        options.enable_cpu_mem_arena = arena
    if (pattern := parameters.flag("enable_mem_pattern")) is not None:
        options.enable_mem_pattern = pattern
    allocator = "session.use_device_allocator_for_initializers"
    if (value := parameters.text(allocator)) is not None:
        options.add_session_config_entry(allocator, value)
    if parameters.row_by_row:
        options.add_free_dimension_override_by_name(BATCH_AXIS, 1)
    return options


def run_options(parameters: Parameters) -> ort.RunOptions:
    options = ort.RunOptions()
    shrinkage = "memory.enable_memory_arena_shrinkage"
    if (value := parameters.text(shrinkage)) is not None:
        options.add_run_config_entry(shrinkage, value)
    return options


def accelerators(config: Json, kind: str, available: Sequence[str]) -> dict[str, dict[str, str]]:
    """The named accelerators (`cpu` or `gpu`) and their parameters; one that this build lacks is refused."""
    listed = config.get("optimization", {}).get("execution_accelerators", {}).get(f"{kind}_execution_accelerator", [])
    allowed = ("openvino",) if kind == "cpu" else ("cuda", "tensorrt")
    for entry in listed:
        if entry["name"] not in allowed:
            raise Refusal(
                f"unknown {kind} execution accelerator '{entry['name']}' is requested; known: {', '.join(allowed)}"
            )
        require_provider(available, PROVIDERS[entry["name"]], f"{kind} execution accelerator '{entry['name']}'")
    return {entry["name"]: dict(entry.get("parameters", {})) for entry in listed}


def require_provider(available: Sequence[str], provider: str, wanted_by: str) -> None:
    if provider not in available:
        raise Refusal(f"{wanted_by} needs {provider}; this ONNX Runtime has {', '.join(available)}")


def cuda_options(given: Mapping[str, str], parameters: Parameters, device: str) -> dict[str, str]:
    """Options of the `cuda` accelerator; the older spelling in `parameters` wins, as in C++."""
    options = {**given, "device_id": device}
    search = parameters.number("cudnn_conv_algo_search", 0, top=len(CUDNN_SEARCHES) - 1)
    strategy = parameters.number("arena_extend_strategy", 0, top=len(ARENA_STRATEGIES) - 1)
    if "cudnn_conv_algo_search" in parameters.values:
        options["cudnn_conv_algo_search"] = CUDNN_SEARCHES[search]
    if "arena_extend_strategy" in parameters.values:
        options["arena_extend_strategy"] = ARENA_STRATEGIES[strategy]
    if (limit := parameters.text("gpu_mem_limit")) is not None:
        options["gpu_mem_limit"] = limit
    if (copy := parameters.flag("do_copy_in_default_stream")) is not None:
        options["do_copy_in_default_stream"] = str(int(copy))
    return options


def tensorrt_options(given: Mapping[str, str], device: str) -> dict[str, str]:
    options = {"device_id": device}
    for name, value in given.items():
        if name == "precision_mode":
            if value not in (*TENSORRT_PRECISIONS, "FP32"):
                raise Refusal(f"tensorrt precision_mode '{value}'; it must be FP32, FP16, BF16 or INT8")
            if value != "FP32":
                options[TENSORRT_PRECISIONS[value]] = "1"
        elif name in TENSORRT_NAMES or name.startswith("trt_"):
            options[TENSORRT_NAMES.get(name, name)] = value
        else:
            raise Refusal(f"unknown parameter '{name}' is provided for the tensorrt execution accelerator")
    return options


def openvino_options(given: Mapping[str, str], parameters: Parameters) -> dict[str, str]:
    """The accelerator's parameters as they are; as many threads as the session unless it names a number."""
    threads = parameters.number("intra_op_thread_count", DEFAULT_THREADS)
    return {"device_type": "CPU", **({"num_of_threads": str(threads)} if threads else {}), **given}


def execution_providers(
    config: Json, parameters: Parameters, kind: str, device: str, available: Sequence[str]
) -> Providers:
    """Providers in order of preference, for an instance of kind `CPU` or `GPU`.

    A GPU instance always has CUDA below whatever it asks for, as in C++. GPU accelerators must be in the build even
    for a CPU instance, which then does not use them: a GPU profile must not be served slowly by mistake.
    """
    providers: Providers = []
    gpu = accelerators(config, "gpu", available)
    cpu = accelerators(config, "cpu", available)
    if kind == "GPU":
        require_provider(available, PROVIDERS["cuda"], "an instance of kind KIND_GPU")
        if "tensorrt" in gpu:
            providers.append((PROVIDERS["tensorrt"], tensorrt_options(gpu["tensorrt"], device)))
        providers.append((PROVIDERS["cuda"], cuda_options(gpu.get("cuda", {}), parameters, device)))
    if "openvino" in cpu:
        providers.append((PROVIDERS["openvino"], openvino_options(cpu["openvino"], parameters)))
    return [*providers, ("CPUExecutionProvider", {})]


def open_session(path: Path, options: ort.SessionOptions, providers: Providers) -> ort.InferenceSession:
    if path.is_dir():
        path = path / "model.onnx"
    if not path.is_file():
        raise Refusal(f"unable to find '{path}'; default_model_filename names a file in the version folder")
    session = ort.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    # A provider with bad options or absent libraries is left out with no more than a line in the log.
    missing = [(name, given) for name, given in providers if name not in session.get_providers()]
    if missing:
        name, given = missing[0]
        raise Refusal(f"{name} could not start with {given}; the reason is in the server's log")
    return session


class RunnableGraph:
    """A graph as an instance of a model runs it."""

    def __init__(self, path: Path, config: Json, kind: str, device: str) -> None:
        """`kind` is Triton's, `CPU` or `GPU`; raises Refusal where the graph cannot be served as configured."""
        parameters = Parameters(config)
        providers = execution_providers(config, parameters, kind, device, ort.get_available_providers())
        self._session = open_session(path, session_options(config, parameters), providers)
        check_configuration(config, self._session)
        self._options = run_options(parameters)
        self.row_by_row = parameters.row_by_row

    @property
    def inputs(self) -> list[ort.NodeArg]:
        return list(self._session.get_inputs())

    @property
    def outputs(self) -> list[ort.NodeArg]:
        return list(self._session.get_outputs())

    @property
    def providers(self) -> list[str]:
        return list(self._session.get_providers())

    def run(self, names: Sequence[str], feed: Mapping[str, Array]) -> list[Array]:
        """The outputs of those names, in their order."""
        if not self.row_by_row:
            return list(self._session.run(names, feed, self._options))
        rows = [
            self._session.run(names, {name: array[row : row + 1] for name, array in feed.items()}, self._options)
            for row in range(rows_in(feed))
        ]
        return rows[0] if len(rows) == 1 else [np.concatenate(each) for each in zip(*rows, strict=True)]


def rows_in(feed: Mapping[str, Array]) -> int:
    """Rows of a batch: the first dimension of any input."""
    return len(next(iter(feed.values())))
