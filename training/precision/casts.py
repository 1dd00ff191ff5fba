"""Casts of a half-precision graph: those between two nodes that stay float are taken out."""

from __future__ import annotations

import onnx

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def join_float_parts(graph: onnx.GraphProto) -> None:
    """Lets nodes that stay float hand each other what they computed.

    onnxruntime's conversion casts to half and back between them, which costs the very precision that they are to keep,
    and adds a cast twice where a node reads a tensor twice.
    """
    nodes = list({node.output[0]: node for node in graph.node}.values())
    from_float = {node.output[0]: node.input[0] for node in nodes if _casts_to(node, HALF)}
    whole = {
        node.output[0]: from_float[node.input[0]]
        for node in nodes
        if _casts_to(node, FLOAT) and node.input[0] in from_float
    }
    for node in nodes:
        node.input[:] = [whole.get(name, name) for name in node.input]
    used = {name for node in nodes for name in node.input} | {output.name for output in graph.output}
    kept = [node for node in nodes if node.op_type != "Cast" or node.output[0] in used]
    del graph.node[:]
    graph.node.extend(kept)


def _casts_to(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and any(each.name == "to" and each.i == kind for each in node.attribute)
