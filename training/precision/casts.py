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
    names = {whole[output.name]: output.name for output in graph.output if output.name in whole}
    for node in nodes:
        node.input[:] = [whole.get(name, name) for name in node.input]
    nodes = [node for node in nodes if node.output[0] not in names.values()]
    for node in nodes:  # an output takes its value from the node that computed it
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    kept = _used(nodes, {output.name for output in graph.output})
    del graph.node[:]
    graph.node.extend(kept)


def _used(nodes: list[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """The nodes without casts that nobody reads."""
    while True:
        read = outputs.union(*(node.input for node in nodes))
        kept = [node for node in nodes if node.op_type != "Cast" or node.output[0] in read]
        if len(kept) == len(nodes):
            return kept
        nodes = kept


def _casts_to(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and any(each.name == "to" and each.i == kind for each in node.attribute)
