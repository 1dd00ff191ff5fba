"""The `onnxruntime` backend refuses at load what Triton's C++ backend refuses, each by name, in a real Triton."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from tests.integration import small_models as small
from tests.integration.small_models import Config, Repository, Tensor, parameter

X, Y = Tensor("x", "8"), Tensor("y", "8")
RAGGED = Tensor("x", "8", extra="allow_ragged_batch: true")


def accelerator(kind: str, name: str, parameters: str = "") -> str:
    listed = f'{kind}_execution_accelerator {{ name: "{name}" {parameters} }}'
    return f"optimization {{ execution_accelerators {{ {listed} }} }}"


AFFINE, PAIR = small.affine(), small.difference()
FIXED_BATCH = small.affine((4, 8))
CASES: dict[str, tuple[onnx.ModelProto, Config, str]] = {
    "input_name": (AFFINE, Config(inputs=(Tensor("z", "8"),)), "unexpected input 'z'; the graph has x"),
    "output_name": (AFFINE, Config(outputs=(Tensor("z", "8"),)), "unexpected output 'z'; the graph has y"),
    "input_type": (
        AFFINE,
        Config(inputs=(Tensor("x", "8", "TYPE_FP64"),)),
        "input 'x': configuration expects TYPE_FP64, the graph provides tensor(float)",
    ),
    "output_type": (
        AFFINE,
        Config(outputs=(Tensor("y", "8", "TYPE_INT32"),)),
        "output 'y': configuration expects TYPE_INT32, the graph provides tensor(float)",
    ),
    "text": (AFFINE, Config(inputs=(Tensor("x", "8", "TYPE_STRING"),)), "input 'x': data type TYPE_STRING is not"),
    "input_dims": (AFFINE, Config(inputs=(Tensor("x", "7"),)), "input 'x': dims [-1, 7] against graph shape [-1, 8]"),
    "looser_input": (AFFINE, Config(inputs=(Tensor("x", "-1"),)), "must have that value, not another or -1"),
    "input_rank": (AFFINE, Config(inputs=(Tensor("x", "8, 1"),)), "the number of dimensions, with the batch's"),
    "output_dims": (
        AFFINE,
        Config(outputs=(Tensor("y", "7"),)),
        "output 'y': dims [-1, 7] against graph shape [-1, 8]",
    ),
    "tighter_output": (
        small.affine(("n", "m")),
        Config(),
        "output 'y': dims [-1, 8] against graph shape [-1, -1]; they must be equal",
    ),
    "rank_1_output": (small.row_sums(), Config(outputs=(Tensor("y", "1"),)), "with reshape { shape: [] }"),
    "fixed_batch": (FIXED_BATCH, Config(), "input 'x': graph shape [4, 8]; for max_batch_size > 0"),
    "missing_input": (PAIR, Config(inputs=(Tensor("a", "8"),)), "missing input 'b'"),
    "extra_input": (AFFINE, Config(inputs=(X, Tensor("more", "8"))), "unexpected input 'more'"),
    "optional": (AFFINE, Config(inputs=(Tensor("x", "8", extra="optional: true"),)), "input 'x': 'optional' is not"),
    "ragged": (AFFINE, Config(inputs=(RAGGED,)), "input 'x': 'allow_ragged_batch' is not"),
    "cpu_accelerator": (
        AFFINE,
        Config(extra=accelerator("cpu", "tvm")),
        "unknown cpu execution accelerator 'tvm' is requested; known: openvino",
    ),
    "gpu_accelerator": (
        AFFINE,
        Config(extra=accelerator("gpu", "tensorrt")),
        "gpu execution accelerator 'tensorrt' needs TensorrtExecutionProvider; this ONNX Runtime has",
    ),
    "accelerator_option": (
        AFFINE,
        Config(extra=accelerator("cpu", "openvino", 'parameters { key: "precision" value: "FP7" }')),
        "OpenVINOExecutionProvider could not start with {'device_type': 'CPU', 'num_of_threads': '1', 'precision':",
    ),
    "bad_number": (
        AFFINE,
        Config(extra=parameter("intra_op_thread_count", "two")),
        "parameter 'intra_op_thread_count': 'two'; it must be a whole number",
    ),
    "row_by_row_axis": (
        AFFINE,
        Config(extra=parameter("row_by_row", "true")),
        "input 'x': graph shape [-1, 8]; for max_batch_size > 0 the graph's first dimension must be 'batch', as",
    ),
    "row_by_row_alone": (
        small.affine((2, 8)),
        Config(
            inputs=(Tensor("x", "2, 8"),),
            outputs=(Tensor("y", "2, 8"),),
            max_batch_size=0,
            extra=parameter("row_by_row", "true"),
        ),
        "parameter 'row_by_row' needs max_batch_size > 0",
    ),
    "bad_flag": (
        AFFINE,
        Config(extra=parameter("enable_mem_arena", "maybe")),
        "parameter 'enable_mem_arena': 'maybe'; it must be true, false, 1 or 0",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_refuses_at_load_by_name(small_client: Any, small_repository: Repository, name: str) -> None:
    graph, config, rule = CASES[name]
    Repository(small_repository.root).add(f"bad_{name}", graph, config)

    with pytest.raises(InferenceServerException) as refusal:
        small_client.load_model(f"bad_{name}")

    assert rule in refusal.value.message()


def test_a_missing_model_file_is_named(small_client: Any, small_repository: Repository) -> None:
    path = Repository(small_repository.root).add("bad_file", AFFINE, Config())
    path.rename(path.with_name("elsewhere.onnx"))

    with pytest.raises(InferenceServerException) as refusal:
        small_client.load_model("bad_file")

    assert f"unable to find '{path}'" in refusal.value.message()


def test_a_refused_model_leaves_the_others_served(small_client: Any, small_repository: Repository) -> None:
    graph, config, _ = CASES["input_name"]
    Repository(small_repository.root).add("bad_neighbour", graph, config)

    with pytest.raises(InferenceServerException):
        small_client.load_model("bad_neighbour")

    assert not small_client.is_model_ready("bad_neighbour")
    assert small_client.is_model_ready("affine")


def test_accepts_every_parameter_of_the_cpp_backend(small_client: Any, small_repository: Repository) -> None:
    given = {
        "execution_mode": "1",
        "intra_op_thread_count": "2",
        "inter_op_thread_count": "2",
        "enable_mem_arena": "1",
        "enable_mem_pattern": "false",
        "session.use_device_allocator_for_initializers": "1",
        "memory.enable_memory_arena_shrinkage": "cpu:0",
        "cudnn_conv_algo_search": "1",
    }
    extra = "\n".join([*(parameter(*pair) for pair in given.items()), "optimization { graph { level: 1 } }"])

    Repository(small_repository.root).add("tuned", AFFINE, Config(extra=extra))
    small_client.load_model("tuned")

    x = triton.InferInput("x", [1, 8], "FP32").set_data_from_numpy(np.zeros((1, 8), np.float32))
    assert small_client.infer("tuned", [x]).as_numpy("y").shape == (1, 8)
