"""What a model configuration must satisfy: the C++ onnxruntime backend's rules, checked against the ONNX graph.

A repository that loads here should load there, so what that backend refuses is refused here, each case by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Json = dict[str, Any]

ONNX_TYPES = {
    "TYPE_BOOL": "tensor(bool)",
    "TYPE_UINT8": "tensor(uint8)",
    "TYPE_UINT16": "tensor(uint16)",
    "TYPE_UINT32": "tensor(uint32)",
    "TYPE_UINT64": "tensor(uint64)",
    "TYPE_INT8": "tensor(int8)",
    "TYPE_INT16": "tensor(int16)",
    "TYPE_INT32": "tensor(int32)",
    "TYPE_INT64": "tensor(int64)",
    "TYPE_FP16": "tensor(float16)",
    "TYPE_FP32": "tensor(float)",
    "TYPE_FP64": "tensor(double)",
}
# This backend's own: the graph is compiled for batches of one row, and the rows of a larger one follow each other.
ROW_BY_ROW = "row_by_row"
BATCH_AXIS = "batch"  # what a graph must call its first dimension for that
UNSUPPORTED = ("sequence_batching", "ensemble_scheduling", "batch_input", "batch_output", "model_operations")
KNOWN_PARAMETERS = frozenset(
    (
        "arena_extend_strategy",
        "cudnn_conv_algo_search",
        "do_copy_in_default_stream",
        "enable_mem_arena",
        "enable_mem_pattern",
        "execution_mode",
        "gpu_mem_limit",
        "inter_op_thread_count",
        "intra_op_thread_count",
        "memory.enable_memory_arena_shrinkage",
        ROW_BY_ROW,
        "session.use_device_allocator_for_initializers",
    )
)


class Refusal(ValueError):
    """The model cannot be served as configured; the message names the value and the rule."""


class Parameters:
    """The `parameters` of a model configuration, by the names and defaults of the C++ backend."""

    def __init__(self, config: Json) -> None:
        self.values: dict[str, str] = {
            name: entry["string_value"] for name, entry in config.get("parameters", {}).items()
        }

    def text(self, name: str) -> str | None:
        return self.values.get(name)

    def number(self, name: str, default: int, top: int = 2**31 - 1) -> int:
        """A whole number from 0 to `top`."""
        text = self.values.get(name, str(default))
        if not text.isascii() or not text.isdigit() or int(text) > top:
            raise Refusal(f"parameter '{name}': '{text}'; it must be a whole number from 0 to {top}")
        return int(text)

    def flag(self, name: str) -> bool | None:
        text = self.values.get(name)
        if text is None:
            return None
        if text.lower() not in ("true", "false", "1", "0"):
            raise Refusal(f"parameter '{name}': '{text}'; it must be true, false, 1 or 0")
        return text.lower() in ("true", "1")

    @property
    def row_by_row(self) -> bool:
        return bool(self.flag(ROW_BY_ROW))


class GraphTensor(Protocol):
    """An input or output of the graph, as ONNX Runtime describes it."""

    name: str
    type: str
    shape: list[int | str | None]


class Graph(Protocol):
    def get_inputs(self) -> Sequence[GraphTensor]: ...

    def get_outputs(self) -> Sequence[GraphTensor]: ...


def graph_shape(node: GraphTensor) -> list[int]:
    """The shape in the graph; -1 stands for any symbolic dimension."""
    return [dim if isinstance(dim, int) else -1 for dim in node.shape]


def check_tensor(where: str, entry: Json, node: GraphTensor, rows: int | None, exact: bool) -> None:
    """Compare one configured tensor with the graph by the C++ backend's rules.

    `rows` is what the graph's first dimension must be, None where there are no batches.
    """
    if entry["data_type"] not in ONNX_TYPES:
        raise Refusal(f"{where}: data type {entry['data_type']} is not supported by this backend")
    if ONNX_TYPES[entry["data_type"]] != node.type:
        raise Refusal(f"{where}: configuration expects {entry['data_type']}, the graph provides {node.type}")
    dims = [int(dim) for dim in entry.get("reshape", entry).get("shape" if "reshape" in entry else "dims", [])]
    shape = graph_shape(node)
    if not shape and rows is None:
        if any(dim != 1 for dim in dims):
            raise Refusal(f"{where}: scalar in the graph; the dims {dims} must all be 1")
        return
    if rows is not None and shape[:1] != [rows]:
        rule = f"'{BATCH_AXIS}', as '{ROW_BY_ROW}' needs it" if rows == 1 else "-1"
        raise Refusal(
            f"{where}: graph shape {shape}; for max_batch_size > 0 the graph's first dimension must be {rule}"
        )
    full = dims if rows is None else [rows, *dims]
    fits = len(full) == len(shape) and all(a == b or (not exact and b == -1) for a, b in zip(full, shape, strict=True))
    if not fits:
        raise Refusal(f"{where}: dims {full} against graph shape {shape}; {dims_rule(full, shape, exact)}")


def dims_rule(full: Sequence[int], shape: Sequence[int], exact: bool) -> str:
    if len(full) != len(shape):
        hint = "; a rank-1 output of a batching model is dims: [1] with reshape { shape: [] }" if exact else ""
        return f"the number of dimensions, with the batch's, must be the graph's{hint}"
    return (
        "they must be equal"
        if exact
        else "a dimension that is fixed in the graph must have that value, not another or -1"
    )


def check_configuration(config: Json, graph: Graph) -> None:
    """Refuse whatever the C++ backend would refuse at load, each by name."""
    present = [name for name in UNSUPPORTED if config.get(name)]
    if present:
        raise Refusal(f"'{present[0]}' is not supported by this backend")
    batching = int(config["max_batch_size"]) > 0
    row_by_row = Parameters(config).row_by_row
    if row_by_row and not batching:
        raise Refusal(f"parameter '{ROW_BY_ROW}' needs max_batch_size > 0")
    rows = (1 if row_by_row else -1) if batching else None
    inputs = {node.name: node for node in graph.get_inputs()}
    outputs = {node.name: node for node in graph.get_outputs()}
    for entry in config["input"]:
        for flag in ("optional", "allow_ragged_batch"):
            if entry.get(flag):
                raise Refusal(f"input '{entry['name']}': '{flag}' is not supported")
    for kind, nodes in (("input", inputs), ("output", outputs)):
        for entry in config[kind]:
            where = f"{kind} '{entry['name']}'"
            if entry["name"] not in nodes:
                raise Refusal(f"unexpected {where}; the graph has {', '.join(sorted(nodes))}")
            check_tensor(where, entry, nodes[entry["name"]], rows, exact=kind == "output")
    absent = sorted(inputs.keys() - {entry["name"] for entry in config["input"]})
    if absent:
        raise Refusal(f"missing input '{absent[0]}'; every input of the graph must be in the configuration")
