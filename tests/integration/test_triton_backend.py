"""What the Python-based `onnxruntime` backend answers, in a real Triton, against ONNX Runtime itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
from tritonclient import grpc as triton
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.integration.conftest import TYPES
from tests.integration.small_models import Repository
from tests.triton_process import TritonProcess

Array = npt.NDArray[Any]
Feed = dict[str, Array]

random = np.random.default_rng(20)


def rows(count: int) -> Array:
    return random.standard_normal((count, 8)).astype(np.float32)


def to_inputs(feed: Feed) -> list[Any]:
    inputs = []
    for name, array in feed.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        inputs.append(tensor.set_data_from_numpy(array))
    return inputs


def infer(client: Any, model: str, feed: Feed, outputs: Sequence[str] | None = None) -> Any:
    requested = None if outputs is None else [triton.InferRequestedOutput(name) for name in outputs]
    return client.infer(model, to_inputs(feed), outputs=requested)


async def infer_together(server: TritonProcess, model: str, feeds: Sequence[Feed]) -> list[Any]:
    """Send all requests at once; a failed one yields its exception."""
    async with aio.InferenceServerClient(server.grpc_address) as client:
        calls = (client.infer(model, to_inputs(feed)) for feed in feeds)
        return await asyncio.gather(*calls, return_exceptions=True)


def by_onnx_runtime(repository: Repository, model: str, feed: Feed, file: str = "model.onnx") -> list[Array]:
    session = ort.InferenceSession(repository.root / model / "1" / file, providers=["CPUExecutionProvider"])
    return [np.asarray(array) for array in session.run(None, feed)]


def counts(client: Any, model: str) -> tuple[int, int]:
    """Inferences and executions so far."""
    stats = client.get_inference_statistics(model).model_stats[0]
    return stats.inference_count, stats.execution_count


def test_a_batch_equals_onnx_runtime_bit_for_bit(small_client: Any, small_repository: Repository) -> None:
    feed = {"x": rows(5)}

    answer = infer(small_client, "affine", feed).as_numpy("y")

    np.testing.assert_array_equal(answer, by_onnx_runtime(small_repository, "affine", feed)[0], strict=True)


async def test_concurrent_requests_share_a_run_and_each_gets_its_own_answer(
    small_triton: TritonProcess, small_client: Any, small_repository: Repository
) -> None:
    feeds = [{"x": rows(1 + number % 3)} for number in range(24)]
    inferences, executions = counts(small_client, "gathered")

    answers = await infer_together(small_triton, "gathered", feeds)

    for feed, answer in zip(feeds, answers, strict=True):
        expected = by_onnx_runtime(small_repository, "gathered", feed)[0]
        np.testing.assert_array_equal(answer.as_numpy("y"), expected, strict=True)
    inferences, executions = (
        now - before for now, before in zip(counts(small_client, "gathered"), (inferences, executions), strict=True)
    )
    assert inferences == sum(len(feed["x"]) for feed in feeds)
    assert executions < len(feeds)


async def test_requests_of_one_batch_become_one_run_of_onnx_runtime(small_triton: TritonProcess) -> None:
    answers = await infer_together(small_triton, "rows_seen", [{"x": rows(1)} for _ in range(8)])

    # Triton's own counters would not show a backend that runs the requests of a batch one by one.
    assert max(answer.as_numpy("y").max() for answer in answers) > 1


async def test_row_by_row_every_row_has_a_run_of_its_own(small_triton: TritonProcess, small_client: Any) -> None:
    _, executions = counts(small_client, "row_by_row")

    answers = await infer_together(small_triton, "row_by_row", [{"x": rows(1 + number % 3)} for number in range(6)])

    assert [answer.as_numpy("y").shape for answer in answers] == [(1 + number % 3, 8) for number in range(6)]
    assert {float(value) for answer in answers for value in answer.as_numpy("y").flat} == {1.0}
    assert counts(small_client, "row_by_row")[1] - executions < len(answers)  # one batch all the same


async def test_a_failing_request_fails_alone(small_triton: TritonProcess, small_client: Any) -> None:
    indices = [0, 4, 99, 2, 1]  # the table has five rows
    _, executions = counts(small_client, "lookup")

    answers = await infer_together(small_triton, "lookup", [{"x": np.array([[index]])} for index in indices])

    assert isinstance(answers[2], InferenceServerException)
    assert "idx=99 must be within" in str(answers[2])
    values = [answer.as_numpy("y").item() for number, answer in enumerate(answers) if number != 2]
    assert values == [10.0, 14.0, 12.0, 11.0]
    assert counts(small_client, "lookup")[1] - executions < len(indices)


async def test_requests_of_different_shapes_do_not_spoil_each_other(
    small_triton: TritonProcess, small_repository: Repository
) -> None:
    feeds = [{"x": rows(2)[:, :width].copy()} for width in (8, 3, 1, 8, 0)]

    answers = await infer_together(small_triton, "ragged", feeds)

    for feed, answer in zip(feeds, answers, strict=True):
        expected = by_onnx_runtime(small_repository, "ragged", feed)[0]
        np.testing.assert_array_equal(answer.as_numpy("y"), expected, strict=True)


def test_every_data_type_crosses_unchanged(small_client: Any) -> None:
    feed = {}
    for name in TYPES:
        kind = np.dtype(triton_type(name))
        if kind == np.bool_:
            feed[f"in_{name}"] = np.array([[True, False, True], [False, False, True]])
        elif kind.kind == "f":
            feed[f"in_{name}"] = np.array([[-0.0, np.inf, np.nan], [1.5, np.finfo(kind).max, 2**-14]], kind)
        else:
            feed[f"in_{name}"] = np.array([[np.iinfo(kind).max, 3, 0], [1, np.iinfo(kind).min, 7]], kind)

    answer = infer(small_client, "passthrough", feed)

    for name in TYPES:
        sent, received = feed[f"in_{name}"], answer.as_numpy(f"out_{name}")
        assert received.dtype == sent.dtype
        assert received.shape == sent.shape
        assert received.tobytes() == sent.tobytes()


def triton_type(name: str) -> str:
    """numpy's name of a Triton data type."""
    return name.lower().replace("fp", "float")


def test_inputs_are_matched_by_name_not_by_order(small_client: Any) -> None:
    a, b = rows(2), rows(2)

    answer = infer(small_client, "difference", {"b": b, "a": a}).as_numpy("y")

    np.testing.assert_array_equal(answer, a - b)


def test_returns_only_the_requested_outputs(small_client: Any) -> None:
    feed = {"x": np.ones((1, 2, 1, 2), np.float32)}

    answer = infer(small_client, "total", feed, outputs=["total"])

    assert [output.name for output in answer.get_response().outputs] == ["total"]
    assert answer.as_numpy("total").tolist() == [4.0]


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 4, 5), (2, 3, 0, 3), (0, 3, 2, 2), (1, 0, 0, 1)])
def test_unusual_shapes_survive(small_client: Any, shape: tuple[int, ...]) -> None:
    x = random.standard_normal(shape).astype(np.float32)

    answer = infer(small_client, "total", {"x": x})

    np.testing.assert_array_equal(answer.as_numpy("double"), x + x, strict=True)
    assert answer.as_numpy("total").shape == (1,)


def test_a_rank_1_output_is_reshaped(small_client: Any) -> None:
    x = np.arange(24, dtype=np.float32).reshape(3, 8)

    assert infer(small_client, "row_sums", {"x": x}).as_numpy("y").tolist() == [[28.0], [92.0], [156.0]]


def test_a_scalar_input_is_a_vector_of_one_outside(small_client: Any) -> None:
    feed = {"x": np.array([1, 2, 3], np.float32), "bias": np.array([10], np.float32)}

    assert infer(small_client, "scalar_sum", feed).as_numpy("y").tolist() == [11.0, 12.0, 13.0]


def test_the_cpu_profile_names_its_own_model_file(small_client: Any, small_repository: Repository) -> None:
    feed = {"x": rows(1)}

    answer = infer(small_client, "named", feed).as_numpy("y")

    # config.pbtxt of every model here names a file that does not exist.
    assert small_client.get_model_config("named").config.default_model_filename == "other.onnx"
    np.testing.assert_array_equal(answer, by_onnx_runtime(small_repository, "named", feed, "other.onnx")[0])


def test_openvino_agrees_with_the_cpu_provider(
    small_triton: TritonProcess, small_client: Any, small_repository: Repository
) -> None:
    feed = {"x": rows(4)}

    answer = infer(small_client, "dense_openvino", feed).as_numpy("y")

    np.testing.assert_allclose(answer, by_onnx_runtime(small_repository, "dense", feed)[0], rtol=0.02, atol=0.05)
    assert "dense_openvino_0_0: model.onnx on OpenVINOExecutionProvider" in small_triton.log.read_text()
    assert "dense_0_0: model.onnx on CPUExecutionProvider" in small_triton.log.read_text()


def test_handing_tensors_over_leaves_no_complaint_in_the_log(small_triton: TritonProcess, small_client: Any) -> None:
    infer(small_client, "affine", {"x": rows(3)})

    log = small_triton.log.read_text()
    assert "Exception ignored" not in log
    assert "PyCapsule" not in log
