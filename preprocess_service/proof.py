"""The proof that Triton serves what a contract says: tensors, the graph's file, the answer to a known question."""

from __future__ import annotations

from dataclasses import replace

from preprocess_service.admission import Priority
from preprocess_service.contract import canary_inputs
from preprocess_service.deadline import Deadline
from preprocess_service.errors import WrongAnswer
from preprocess_service.model_spec import TensorSpec
from preprocess_service.repository import ServedModel
from preprocess_service.triton import TritonClient


async def prove(triton: TritonClient, served: ServedModel, deadline: Deadline) -> ServedModel:
    """The model with what Triton says of it; raises WrongAnswer where that does not fit, TritonUnavailable."""
    spec, version = served.spec, served.version
    metadata = await triton.metadata(spec.name, version, deadline)
    for kind, tensors, specs in (
        ("inputs", metadata.inputs, spec.inputs),
        ("outputs", metadata.outputs, spec.outputs),
    ):
        found = {TensorSpec(each.name, each.datatype, tuple(each.shape[1:])) for each in tensors}
        if found != set(specs):
            raise WrongAnswer(f"Triton's {kind} of {spec.name}/{version} are {found}; the spec says {specs}")
    config = await triton.config(spec.name, version, deadline)
    served = replace(served, graph_file=config.graph_file, max_batch_size=max(1, config.max_batch_size))
    await ask_canary(triton, served, deadline)
    return served


async def ask_canary(triton: TritonClient, served: ServedModel, deadline: Deadline) -> None:
    """Raises WrongAnswer where Triton's answer is not the one that the contract holds for the graph that it serves."""
    spec, graph = served.spec, served.graph
    if graph is None:
        known = ", ".join(served.contract.graphs)
        raise WrongAnswer(
            f"Triton serves {served.graph_file!r} of {spec.name}/{served.version}; its contract knows {known}"
        )
    answer = await triton.infer(spec, served.version, canary_inputs(spec), Priority.URGENT, deadline)
    probability, expected = float(answer.probabilities[0]), graph.canary
    if not abs(probability - expected.probability) <= expected.tolerance:
        raise WrongAnswer(
            f"Triton answers the canary of {spec.name}/{served.version} with {probability:.6f}; "
            f"{expected.probability:.6f} ± {expected.tolerance:g} is right"
        )
