"""What goes over the wire to Triton is what protobuf itself would write."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from preprocess_service.admission import Priority
from preprocess_service.model_spec import MODELS, MULTIMODAL
from preprocess_service.triton import infer_request, input_tensors

RANDOM = np.random.default_rng(5)


def arrays_of(spec, rows):
    kinds = {"FP32": np.float32, "INT32": np.int32}
    return {
        each.name: RANDOM.integers(-1000, 1000, (rows, *each.shape)).astype(kinds[each.datatype])
        for each in spec.inputs
    }


@pytest.mark.parametrize("rows", [1, 8])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_bytes_are_the_message(name, rows):
    spec = MODELS[name]
    arrays = arrays_of(spec, rows)
    tensors, contents = input_tensors(spec, arrays)
    expected = service_pb2.ModelInferRequest(
        model_name=spec.name, model_version="7", inputs=tensors, raw_input_contents=contents
    )
    expected.parameters["timeout"].int64_param = 1_500_000
    expected.parameters["priority"].uint64_param = 1

    found = service_pb2.ModelInferRequest.FromString(infer_request(spec, 7, arrays, 1.5, Priority.URGENT))

    assert found == expected


def test_an_array_that_is_a_view_is_sent_in_its_own_order():
    mel = RANDOM.random((300, 128, 2), np.float32)[:, :, 1].T[np.newaxis, ..., np.newaxis]
    arrays: dict[str, Any] = {"mel": mel, "tokens": np.zeros((1, 12), np.int32)}

    request = service_pb2.ModelInferRequest.FromString(infer_request(MULTIMODAL, 1, arrays, 1.0, Priority.NORMAL))

    assert not mel.flags.c_contiguous
    np.testing.assert_array_equal(np.frombuffer(request.raw_input_contents[0], "<f4").reshape(mel.shape), mel)
