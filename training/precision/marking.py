"""Names that tell one network's graph from another's of the same shape.

ONNX Runtime's TensorRT provider files an engine under the graph's file name, the names of its inputs and the names of
its nodes' outputs (TRTGenerateId), not under its weights: a new version of a model would be answered by the old one's
engine.
"""

from __future__ import annotations

import hashlib

import onnx


def mark_weights(graph: onnx.GraphProto) -> None:
    """Appends a digest of all weights to every tensor within the graph; its inputs, outputs and weights keep theirs."""
    digest = hashlib.sha256()
    for weights in graph.initializer:
        digest.update(weights.SerializeToString(deterministic=True))
    kept = {"", *(value.name for value in graph.output)}
    marked = {
        name: f"{name}@{digest.hexdigest()[:16]}" for node in graph.node for name in node.output if name not in kept
    }
    for node in graph.node:
        node.input[:] = [marked.get(name, name) for name in node.input]
        node.output[:] = [marked.get(name, name) for name in node.output]
    for value in graph.value_info:
        value.name = marked.get(value.name, value.name)
