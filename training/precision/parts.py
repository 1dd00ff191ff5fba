"""Parts of an ONNX graph that a lower precision would hurt."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import onnx

LINEAR: Final = frozenset({"Conv", "Gemm", "MatMul"})
DENSE: Final = frozenset({"Gemm", "MatMul"})

# By the name of its first output, which no other node has; the objects themselves have no identity that lasts.
Nodes = dict[str, onnx.NodeProto]


def answering(graph: onnx.GraphProto) -> Nodes:
    """The linear node before each output: the last layers."""
    makers, found = _makers(graph), {}
    for output in graph.output:
        reached, left = set[str](), [output.name]
        while left:
            node = makers.get(left.pop())
            if node is None or node.output[0] in reached:
                continue
            reached.add(node.output[0])
            if node.op_type in LINEAR:
                found[node.output[0]] = node
            else:
                left.extend(node.input)
    return found


def first_linear(graph: onnx.GraphProto) -> Nodes:
    """The linear nodes that no other linear node stands before: the first layers."""
    return {
        node.output[0]: node
        for node in graph.node
        if node.op_type in LINEAR and not any(each.op_type in LINEAR for each in _before(graph, node.input).values())
    }


def dense(graph: onnx.GraphProto, most_weights: float = math.inf) -> Nodes:
    """The dense layers of at most so many weights."""
    weights = {each.name: math.prod(each.dims) for each in graph.initializer}
    return {
        node.output[0]: node
        for node in graph.node
        if node.op_type in DENSE and sum(weights.get(name, 0) for name in node.input) <= most_weights
    }


def before_logarithms(graph: onnx.GraphProto) -> Nodes:
    """The nodes of a spectrum: each logarithm and all that it is computed from."""
    found: Nodes = {}
    for logarithm in (node for node in graph.node if node.op_type == "Log"):
        found |= {logarithm.output[0]: logarithm, **_before(graph, logarithm.input)}
    return found


def after(graph: onnx.GraphProto, nodes: Nodes) -> Nodes:
    """Those nodes and all that are computed from them."""
    names, found = {name for node in nodes.values() for name in node.output}, dict(nodes)
    for node in graph.node:  # in topological order
        if names.intersection(node.input):
            names.update(node.output)
            found[node.output[0]] = node
    return found


def _before(graph: onnx.GraphProto, names: Iterable[str]) -> Nodes:
    """All nodes that those tensors are computed from."""
    makers, left = _makers(graph), list(names)
    found: Nodes = {}
    while left:
        node = makers.get(left.pop())
        if node is not None and node.output[0] not in found:
            found[node.output[0]] = node
            left.extend(node.input)
    return found


def _makers(graph: onnx.GraphProto) -> Nodes:
    """The node that makes each tensor."""
    return {name: node for node in graph.node for name in node.output}
