"""What a load test makes of its figures: percentiles, the search, Poisson arrivals, Triton's counts."""

import asyncio
from collections import Counter
from itertools import pairwise

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from client.requests import classify_request
from loadtest.lag import Distribution, over_time
from loadtest.live_result import Limits, LiveResult
from loadtest.open_loop import UnaryTarget, arrivals_s, send_openly
from loadtest.pacing import keep_time
from loadtest.search import calls_down, calls_up, find_most
from loadtest.triton_statistics import ModelCounts, changes, read_counts, read_metrics
from tests.unit.loadtest_servers import triton
from tests.unit.stub_service import StubTriage, nobody_listening, serving

HUNDRED = Distribution.of_seconds(number / 1000 for number in range(1, 101))
NOTHING = Distribution.of_seconds([])


def test_percentiles_are_measured_values_of_nearest_rank():
    assert Distribution(100, 50, 90, 99, 100) == HUNDRED
    assert Distribution.of_seconds([0.007]) == Distribution(1, 7, 7, 7, 7)
    assert Distribution(0, 0, 0, 0, 0) == NOTHING


def test_figures_over_time_fall_into_stretches():
    stretches = over_time([(0.0, 0.001), (9.9, 0.003), (10.0, 0.005), (31.0, 0.007)], 10)

    assert {start_s: each.max_ms for start_s, each in stretches.items()} == {0: 3, 10: 5, 30: 7}


def result_of(calls, *, carried=True, late_ms=1.0):
    lag = HUNDRED if carried else Distribution.of_seconds([0.6])
    return LiveResult(
        calls=calls,
        audio_s=1,
        lag=lag,
        lag_all=lag,
        lag_from_sending=lag,
        service_lag=lag,
        lag_over_time={},
        updates=1,
        hops_expected=1,
        hops_judged=1,
        skipped_hops=0,
        degradations={},
        refused=0,
        statuses={"OK": calls},
        details=[],
        lateness=Distribution.of_seconds([late_ms / 1000]),
        held_up=0,
        models=[],
        limits=Limits(),
    )


@pytest.mark.parametrize("limit", [20, 57, 100, 131])
def test_a_search_finds_the_limit_to_a_step(limit):
    found = find_most(lambda calls: result_of(calls, carried=calls <= limit), 100, 1000, 60, pause_s=0)

    assert found.calls <= limit < calls_up(found.calls)


def test_a_search_for_what_carries_nothing_ends_at_one_call():
    found = find_most(lambda calls: result_of(calls, carried=False), 3, 1000, 60, pause_s=0)

    assert (found.calls, [step.calls for step in found.steps]) == (0, [3, 2, 1])


def test_a_search_ends_where_the_generator_is_late():
    found = find_most(lambda calls: result_of(calls, late_ms=51 if calls > 110 else 1), 100, 1000, 60, pause_s=0)

    assert found.calls == 110
    assert "generator" in found.ended_by


def test_a_search_ends_when_its_time_is_up():
    found = find_most(result_of, 10, 1000, 0, pause_s=0)

    assert (found.calls, len(found.steps)) == (10, 1)


@pytest.mark.parametrize("calls", [1, 2, 9, 10, 240])
def test_steps_are_of_a_tenth_and_at_least_of_one_call(calls):
    assert calls_down(calls_up(calls)) in {calls - 1, calls, calls + 1}
    assert calls_down(calls) < calls < calls_up(calls) or calls == 1


def test_a_run_of_a_late_generator_is_not_valid():
    assert result_of(1, late_ms=50).is_valid
    assert not result_of(1, late_ms=51).is_valid


def test_arrivals_are_a_poisson_process():
    moments = arrivals_s(50, 200, seed=1)
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    mean = sum(gaps) / len(gaps)

    assert mean == pytest.approx(1 / 50, rel=0.05)
    assert sum(gap > mean for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.02)  # 1/e, of an exponential
    assert moments == arrivals_s(50, 200, seed=1) != arrivals_s(50, 200, seed=2)


async def test_nothing_happens_before_its_time_and_nothing_is_left_out():
    begins_at, done = asyncio.get_running_loop().time(), []  # the loop's clock is time.monotonic

    def act(due_at):
        done.append((due_at, asyncio.get_running_loop().time()))

    await keep_time([(begins_at + delay_s, begins_at + delay_s) for delay_s in (0, 0, 0.01, 0.011, 0.03)], act)

    assert len(done) == 5
    assert all(now >= due_at for due_at, now in done)


async def send(address, model="", rate=40.0):
    request = classify_request(b"\xff" * 800, transcript="불이야", model=model).SerializeToString()
    return await send_openly(UnaryTarget(address), [request], rate, 0.5, seed=1, lateness_limit_ms=50)


async def test_every_arrival_is_a_call_and_its_time_counts_from_when_it_was_due():
    with serving(StubTriage()) as service:
        result = await send(service.address)

    assert len(service.triage.requests) == result.calls == len(arrivals_s(40, 0.5, seed=1))
    assert result.statuses == {"OK": result.calls}
    assert result.latency.p50_ms >= result.lateness.p50_ms >= 0
    assert result.shortcomings == []


@pytest.mark.parametrize("status", ["RESOURCE_EXHAUSTED", "INTERNAL"])
async def test_unary_failures_are_counted_by_status(status):
    with serving(StubTriage()) as service:
        result = await send(service.address, f"fail-{status}")

    assert result.statuses == {status: result.calls}
    assert result.shortcomings == [f"{result.calls} calls ended with {status}"]
    assert result.latency == NOTHING


def infer(address, rows):
    tensor = service_pb2.ModelInferRequest.InferInputTensor(name="mel", datatype="FP32", shape=[rows, 1])
    with grpc.insecure_channel(address) as channel:
        request = service_pb2.ModelInferRequest(model_name="multimodal", inputs=[tensor])
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)


def test_triton_tells_how_it_batched_between_two_readings():
    with triton() as (address, metrics, _):
        infer(address, 8)
        before, page_before = read_counts(address), read_metrics(metrics)
        for rows in (1, 4, 4):
            infer(address, rows)
        did, page = changes(before, read_counts(address)), read_metrics(metrics)

    assert did["multimodal 1"].to_dict() == {
        "inferences": 9,
        "executions": 3,
        "requests": 3,
        "mean_batch": 3.0,
        "mean_queue_ms": 2.0,
        "mean_compute_ms": 5.0,
        "batches": {"1": 1, "4": 2},
    }
    # Of both models on the page together.
    assert page["nv_inference_exec_count"] - page_before["nv_inference_exec_count"] == 6


def test_a_model_that_was_not_asked_is_left_out():
    counts = {"multimodal 1": ModelCounts(inferences=8, executions=2, batches=Counter({4: 2}))}

    assert changes(counts, counts) == {}


def test_a_model_that_was_loaded_anew_counts_from_there():
    before = {"multimodal 1": ModelCounts(inferences=80, executions=20)}
    after = {"multimodal 1": ModelCounts(inferences=8, executions=2)}

    assert changes(before, after) == after


def test_metrics_that_are_not_there_are_an_error_of_the_system():
    with nobody_listening() as address, pytest.raises(OSError, match="refused"):
        read_metrics(f"http://{address}/metrics")
