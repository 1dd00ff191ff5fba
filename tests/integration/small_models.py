"""Small ONNX models and their configurations for the tests of the `onnxruntime` backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

# What the oldest Triton release in use still loads.
IR_VERSION = 10
OPSET = 21

FLOAT = TensorProto.FLOAT
Shape = Sequence[int | str]


@dataclass(frozen=True)
class Tensor:
    """A configured input or output."""

    name: str
    dims: str  # as in the configuration: "8" or "-1, 4"
    data_type: str = "TYPE_FP32"
    extra: str = ""

    def __str__(self) -> str:
        return f'{{ name: "{self.name}" data_type: {self.data_type} dims: [{self.dims}] {self.extra} }}'


@dataclass(frozen=True)
class Config:
    """A config.pbtxt with the fields that the tests vary."""

    inputs: Sequence[Tensor] = (Tensor("x", "8"),)
    outputs: Sequence[Tensor] = (Tensor("y", "8"),)
    max_batch_size: int = 8
    queue_delay_us: int = 0
    extra: str = ""

    def __str__(self) -> str:
        batching = f"dynamic_batching {{ max_queue_delay_microseconds: {self.queue_delay_us} }}"
        lines = [
            'backend: "onnxruntime"',
            f"max_batch_size: {self.max_batch_size}",
            *(f"input {tensor}" for tensor in self.inputs),
            *(f"output {tensor}" for tensor in self.outputs),
            "instance_group { count: 1 }",
            batching if self.max_batch_size else "",
            self.extra,
        ]
        return "\n".join(lines) + "\n"


def parameter(name: str, value: str) -> str:
    """A line for `Config.extra`."""
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}'


@dataclass(frozen=True)
class Repository:
    """A model repository under construction."""

    root: Path
    names: list[str] = field(default_factory=list)

    def add(self, name: str, graph: onnx.ModelProto, config: Config, file: str = "model.onnx") -> Path:
        """Write the model with `config` as its CPU profile; returns the path of the ONNX file."""
        folder = self.root / name
        (folder / "1").mkdir(parents=True, exist_ok=True)
        (folder / "configs").mkdir(exist_ok=True)
        # The other profile names a file that is not there: loading it would show.
        (folder / "config.pbtxt").write_text(f'{config}default_model_filename: "gpu.onnx"\n')
        (folder / "configs" / "cpu.pbtxt").write_text(f'{config}default_model_filename: "{file}"\n')
        path = folder / "1" / file
        onnx.save(graph, path)
        self.names.append(name)
        return path


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, int, Shape]],
    outputs: Sequence[tuple[str, int, Shape]],
    constants: dict[str, npt.NDArray[Any]] | None = None,
) -> onnx.ModelProto:
    """A checked ONNX model; strings in a shape are symbolic dimensions."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, kind, list(shape)) for name, kind, shape in inputs],
        [helper.make_tensor_value_info(name, kind, list(shape)) for name, kind, shape in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(made)
    return made


def affine(x_shape: Shape = ("n", 8), y_shape: Shape | None = None, addend: float = 0.1) -> onnx.ModelProto:
    """y = 1.7 x + addend."""
    constants = {"factor": np.array([1.7], np.float32), "addend": np.array([addend], np.float32)}
    nodes = [helper.make_node("Mul", ["x", "factor"], ["scaled"]), helper.make_node("Add", ["scaled", "addend"], ["y"])]
    return model(nodes, [("x", FLOAT, x_shape)], [("y", FLOAT, y_shape or x_shape)], constants)


def row_sums() -> onnx.ModelProto:
    """y[i] = sum of x[i], of rank 1."""
    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)
    return model([node], [("x", FLOAT, ["n", 8])], [("y", FLOAT, ["n"])], {"axes": np.array([1], np.int64)})


def rows_seen(axis: str = "n") -> onnx.ModelProto:
    """y = the number of rows in this run, in every element: it shows how many requests shared the run."""
    nodes = [
        helper.make_node("Shape", ["x"], ["rows"], start=0, end=1),
        helper.make_node("Cast", ["rows"], ["count"], to=FLOAT),
        helper.make_node("Sub", ["x", "x"], ["zeros"]),
        helper.make_node("Add", ["zeros", "count"], ["y"]),
    ]
    return model(nodes, [("x", FLOAT, [axis, 8])], [("y", FLOAT, [axis, 8])])


def total_and_double() -> onnx.ModelProto:
    """total = sum of x, a scalar; double = 2 x, of any shape."""
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        helper.make_node("Add", ["x", "x"], ["double"]),
    ]
    shape = ["a", "b", "c", "d"]
    return model(nodes, [("x", FLOAT, shape)], [("total", FLOAT, []), ("double", FLOAT, shape)])


def scalar_sum() -> onnx.ModelProto:
    """y = x + bias, where bias is a scalar input."""
    node = helper.make_node("Add", ["x", "bias"], ["y"])
    return model([node], [("x", FLOAT, ["n"]), ("bias", FLOAT, [])], [("y", FLOAT, ["n"])])


def difference() -> onnx.ModelProto:
    """y = a - b."""
    node = helper.make_node("Sub", ["a", "b"], ["y"])
    return model([node], [("a", FLOAT, ["n", 8]), ("b", FLOAT, ["n", 8])], [("y", FLOAT, ["n", 8])])


def lookup(table: Sequence[float]) -> onnx.ModelProto:
    """y = table[x]; ONNX Runtime fails where x is not an index of the table."""
    node = helper.make_node("Gather", ["table", "x"], ["y"])
    kind = TensorProto.INT64
    return model([node], [("x", kind, ["n", 1])], [("y", FLOAT, ["n", 1])], {"table": np.array(table, np.float32)})


def dense(seed: int = 5) -> onnx.ModelProto:
    """y = relu(x W), 8 to 8."""
    weights = np.random.default_rng(seed).standard_normal((8, 8)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "weights"], ["product"]), helper.make_node("Relu", ["product"], ["y"])]
    return model(nodes, [("x", FLOAT, ["n", 8])], [("y", FLOAT, ["n", 8])], {"weights": weights})


def passthrough(kinds: dict[str, int]) -> onnx.ModelProto:
    """One input and one equal output per data type: in_<name> to out_<name>."""
    nodes = [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in kinds]
    shape: Shape = ["n", 3]
    return model(
        nodes,
        [(f"in_{name}", kind, shape) for name, kind in kinds.items()],
        [(f"out_{name}", kind, shape) for name, kind in kinds.items()],
    )
