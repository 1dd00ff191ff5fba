"""A Triton with small models, shared by the tests of the `onnxruntime` backend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tritonclient import grpc as triton

from tests.integration import small_models as small
from tests.integration.small_models import Config, Repository, Tensor
from tests.triton_process import TritonProcess

# Long enough that requests sent together meet in one batch, whatever the machine does meanwhile.
QUEUE_DELAY_US = 300_000
OPENVINO = """optimization { execution_accelerators { cpu_execution_accelerator {
  name: "openvino" parameters { key: "num_of_threads" value: "1" } } } }"""
TYPES = {
    "BOOL": 9, "UINT8": 2, "UINT16": 4, "UINT32": 12, "UINT64": 13, "INT8": 3, "INT16": 5, "INT32": 6, "INT64": 7,
    "FP16": 10, "FP32": 1, "FP64": 11,
}  # fmt: skip


@pytest.fixture(scope="session")
def small_repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Models that must load; `names` lists them."""
    made = Repository(tmp_path_factory.mktemp("models"))
    made.add("affine", small.affine(), Config())
    made.add("gathered", small.affine(), Config(max_batch_size=16, queue_delay_us=QUEUE_DELAY_US))
    made.add("rows_seen", small.rows_seen(), Config(max_batch_size=16, queue_delay_us=QUEUE_DELAY_US))
    row_by_row = Config(queue_delay_us=QUEUE_DELAY_US, extra=small.parameter("row_by_row", "true"))
    made.add("row_by_row", small.rows_seen("batch"), row_by_row)
    column = Config((Tensor("x", "1", "TYPE_INT64"),), (Tensor("y", "1"),), queue_delay_us=QUEUE_DELAY_US)
    made.add("lookup", small.lookup([10.0, 11.0, 12.0, 13.0, 14.0]), column)
    made.add("difference", small.difference(), Config((Tensor("b", "8"), Tensor("a", "8"))))
    made.add("row_sums", small.row_sums(), Config(outputs=(Tensor("y", "1", extra="reshape { shape: [] }"),)))
    anything = "-1, -1, -1, -1"
    outputs = (Tensor("double", anything), Tensor("total", "1"))
    made.add("total", small.total_and_double(), Config((Tensor("x", anything),), outputs, max_batch_size=0))
    scalar = Config((Tensor("x", "-1"), Tensor("bias", "1")), (Tensor("y", "-1"),), max_batch_size=0)
    made.add("scalar_sum", small.scalar_sum(), scalar)
    ragged = Config((Tensor("x", "-1"),), (Tensor("y", "-1"),), queue_delay_us=QUEUE_DELAY_US)
    made.add("ragged", small.affine(("n", "m")), ragged)
    every = Config(
        tuple(Tensor(f"in_{name}", "3", f"TYPE_{name}") for name in TYPES),
        tuple(Tensor(f"out_{name}", "3", f"TYPE_{name}") for name in TYPES),
    )
    made.add("passthrough", small.passthrough(TYPES), every)
    made.add("named", small.affine(addend=100.0), Config(), file="other.onnx")
    made.add("dense", small.dense(), Config())
    made.add("dense_openvino", small.dense(), Config(extra=OPENVINO))
    return made


@pytest.fixture(scope="session")
def small_triton(small_repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonProcess]:
    """The CPU profile of `small_repository`; models can be loaded and unloaded."""
    options = ["--model-control-mode", "explicit"]
    for name in small_repository.names:
        options += ["--load-model", name]
    log: Path = tmp_path_factory.mktemp("triton") / "triton.log"
    with TritonProcess(small_repository.root, log=log, options=options) as server:
        yield server


@pytest.fixture
def small_client(small_triton: TritonProcess) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(small_triton.grpc_address) as client:
        yield client
