"""Triton backend `onnxruntime`, written in Python, for servers that lack the C++ backend of that name.

Triton hands over a list of requests; they become one ONNX Runtime call where that is possible. Runs inside Triton's
Python stub, one process per model instance; `model_rules` and `ort_session` lie beside this file.

Tensors cross by DLPack. The stub is compiled against numpy 1: with numpy 2 its `as_numpy()` repeats the first element
and its `Tensor(name, array)` sends no bytes, both with a right shape and no error.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from model_rules import KNOWN_PARAMETERS, Parameters
from ort_session import Array, RunnableGraph, rows_in

Request = Any  # pb_utils.InferenceRequest
Response = Any  # pb_utils.InferenceResponse
Tensor = Any  # pb_utils.Tensor

mark_capsule = ctypes.pythonapi.PyCapsule_SetName
mark_capsule.argtypes = [ctypes.py_object, ctypes.c_char_p]
mark_capsule.restype = ctypes.c_int
USED_CAPSULE = b"used_dltensor"  # a global: the capsule keeps the pointer


def to_tensor(name: str, array: Array) -> Tensor:
    """Wrap a C-contiguous array for a response."""
    if array.size == 0:
        # DLPack of an empty array fails Triton's test for contiguity; here there are no bytes to send, only a shape.
        return pb_utils.Tensor(name, array)
    capsule = array.__dlpack__()
    tensor = pb_utils.Tensor.from_dlpack(name, capsule)
    # Triton takes the capsule over under a name of its own, for which numpy's destructor prints an error per tensor.
    mark_capsule(capsule, USED_CAPSULE)
    return tensor


class TritonPythonModel:
    """One instance of one model version; Triton calls initialize once, then execute from a single thread."""

    def initialize(self, args: Mapping[str, str]) -> None:
        config = json.loads(args["model_config"])
        for name in sorted(Parameters(config).values.keys() - KNOWN_PARAMETERS):
            pb_utils.Logger.log_warn(f"model '{config['name']}': parameter '{name}' has no effect")
        filename = config.get("default_model_filename") or "model.onnx"
        self._graph = RunnableGraph(
            Path(args["model_repository"], args["model_version"], filename),
            config,
            args["model_instance_kind"],
            args["model_instance_device_id"],
        )
        self._batching = int(config["max_batch_size"]) > 0
        self._joining = self._batching and not self._graph.row_by_row
        self._outputs = [entry["name"] for entry in config["output"]]
        self._scalar_inputs = {node.name for node in self._graph.inputs if not node.shape}
        self._scalar_outputs = {
            entry["name"]: [1] * len(entry["dims"])
            for node in self._graph.outputs
            for entry in config["output"]
            if entry["name"] == node.name and not node.shape
        }
        pb_utils.Logger.log_info(f"{args['model_instance_name']}: {filename} on {', '.join(self._graph.providers)}")

    def execute(self, requests: Sequence[Request]) -> list[Response]:
        if self._joining and len(requests) > 1:
            try:
                return self._run_together(requests)
            except Exception as error:
                pb_utils.Logger.log_warn(f"a batch of {len(requests)} failed, its requests run one by one: {error}")
        return [self._run_alone(request) for request in requests]

    def _run_together(self, requests: Sequence[Request]) -> list[Response]:
        feeds = [self._feed(request) for request in requests]
        merged = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
        outputs = self._run(merged, self._requested(requests))
        offsets = accumulate((rows_in(feed) for feed in feeds), initial=0)
        return [
            self._response(request, {name: array[start:end] for name, array in outputs.items()})
            for request, (start, end) in zip(requests, pairwise(offsets), strict=True)
        ]

    def _run_alone(self, request: Request) -> Response:
        try:
            return self._response(request, self._run(self._feed(request), self._requested([request])))
        except Exception as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"onnxruntime: {error}"))

    def _feed(self, request: Request) -> dict[str, Array]:
        """The request's inputs as views of Triton's shared memory, valid while the request is."""
        feed = {tensor.name(): np.from_dlpack(tensor) for tensor in request.inputs()}
        for name in self._scalar_inputs:
            feed[name] = feed[name].reshape(())
        return feed

    def _requested(self, requests: Sequence[Request]) -> list[str]:
        if len(self._outputs) == 1:
            return self._outputs
        wanted = {name for request in requests for name in request.requested_output_names()}
        return [name for name in self._outputs if name in wanted]

    def _run(self, feed: dict[str, Array], names: list[str]) -> dict[str, Array]:
        outputs = dict(zip(names, self._graph.run(names, feed), strict=True))
        if self._batching:
            for name, array in outputs.items():
                if array.shape[:1] != (rows_in(feed),):
                    raise ValueError(f"output '{name}' has shape {array.shape} for a batch of {rows_in(feed)}")
        return outputs

    def _response(self, request: Request, outputs: Mapping[str, Array]) -> Response:
        wanted = self._outputs if len(self._outputs) == 1 else set(request.requested_output_names())
        tensors = [
            to_tensor(name, array.reshape(self._scalar_outputs[name]) if name in self._scalar_outputs else array)
            for name, array in outputs.items()
            if name in wanted
        ]
        return pb_utils.InferenceResponse(tensors)

    def finalize(self) -> None:
        del self._graph
