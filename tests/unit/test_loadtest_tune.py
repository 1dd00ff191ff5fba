"""`python -m loadtest tune`: settings around the present one, what is noise, and what is proposed."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from loadtest.__main__ import main
from loadtest.lag import Distribution
from loadtest.tune import bare, command, decision, document, picture, settings
from loadtest.tune.arguments import limit_s
from loadtest.tune.decision import Noise
from loadtest.tune.load import Served
from loadtest.tune.measuring import CLIENT, Pair, Point, Sample, Stretches
from loadtest.tune.proposal import propose
from loadtest.tune.server import SERVER, STUBS, profiled
from loadtest.tune.sweep import Swept
from preprocess_service.contract import MODEL_FILE, Canary, Contract, Graph
from preprocess_service.model_spec import LSTM, MULTIMODAL, Profile
from tests.e2e import tiny_models
from training.triton_config import model_config

PRESENT = MULTIMODAL.cpu
OPENVINO, PLAIN = "OpenVINOExecutionProvider", "CPUExecutionProvider"


def graph(precision: Any, provider: str) -> Graph:
    return Graph(precision=precision, provider=provider, canary=Canary(probability=0.5, tolerance=1e-3), gate={})


@pytest.fixture
def contract() -> Contract:
    """A version whose CPU profile serves int8, with an fp16 file beside it."""
    graphs = {
        MODEL_FILE: graph("fp32", PLAIN),
        "model.int8.onnx": graph("int8", OPENVINO),
        PRESENT.graph_file: graph("int8", OPENVINO),
        "model.fp16.onnx": graph("fp16", PLAIN),
        MULTIMODAL.gpu.graph_file: graph("fp32", PLAIN),
    }
    contents = {MODEL_FILE: "a", MULTIMODAL.gpu.graph_file: "a", "model.fp16.onnx": "c"}
    files = {name: contents.get(name, "b") for name in graphs}
    return tiny_models.contract(MULTIMODAL, 1, graphs=graphs, files=files)


def sample(per_s: float, latency_ms: float, failures: dict[str, int] | None = None) -> Sample:
    alone = Served(1000 / latency_ms, Distribution(100, latency_ms, latency_ms, latency_ms, latency_ms))
    full = Served(per_s, Distribution(100, 50, 60, 70, 80), failures or {})
    return Sample(alone, full, {CLIENT: 0.3, SERVER: 0.25, STUBS: 1.5}, 4.0)


def point(label: str, throughput: float, latency: float, *, count: int = 3, failures: Any = None) -> Point:
    pair = Pair(sample(500 * throughput, 3 * latency, failures), sample(500, 3))
    return Point(label, (pair,) * count)


def itself(*ratios: float) -> tuple[Pair, ...]:
    return tuple(Pair(sample(500 * each, 3 * each), sample(500, 3)) for each in ratios)


def swept(points: Sequence[Point], final: Point | None = None, noise: Noise | None = None) -> Swept:
    profiles = {each.label: replace(PRESENT, instances=1) for each in points}
    noise = noise or Noise(0.03, 0.04)
    by_label = {each.label: each for each in points}
    return Swept(PRESENT, itself(1, 1.01), by_label, profiles, final=final, noise=noise, final_noise=noise)


def test_every_level_differs_from_the_present_setting_in_one_thing(contract: Contract) -> None:
    found = settings.coordinates(PRESENT, "cpu", 2, contract)

    told = {each.name: [settings.differences(profile, PRESENT) for profile in each.profiles] for each in found}
    assert told == {
        "instances": ["1 instance", "3 instances", "4 instances"],
        "queue delay": ["delay 1 ms", "delay 0.5 ms", "delay 2 ms", "delay 5 ms"],
        "batch": ["batch 16", "batch 4", "batch 1", "batch 32"],
        "graph": [
            "model.onnx by ONNX Runtime itself",
            "model.onnx by openvino",
            "model.cpu.onnx by ONNX Runtime itself",
        ],
        "rows": ["rows together"],
        "threads": ["2 threads"],
    }


def test_a_gpu_tries_tensorrt_and_fp16_and_no_threads(contract: Contract) -> None:
    found = {each.name: each.profiles for each in settings.coordinates(MULTIMODAL.gpu, "gpu", 16, contract)}

    graphs = {(profile.graph_file, profile.accelerator) for profile in found["graph"]}
    assert "threads" not in found
    assert ("model.fp16.onnx", None) in graphs
    assert (MULTIMODAL.gpu.graph_file, "tensorrt") in graphs


@pytest.mark.parametrize(
    ("present", "largest", "sizes"),
    [
        (LSTM.cpu, 4, (1, 2, 3, 4)),
        (PRESENT, 4, (1,)),
        (MULTIMODAL.gpu, 8, (1, 2, 4, 8)),
        (MULTIMODAL.gpu, 6, (1, 2, 4, 6)),
    ],
)
def test_batches_are_warmed_as_the_profile_warms_its_own(present: Profile, largest: int, sizes: tuple[int]) -> None:
    assert settings.with_batch(present, largest).warm_up_batch_sizes == sizes


def test_rows_together_and_row_by_row_are_each_other_turned_round() -> None:
    together = settings.with_rows(PRESENT, together=True)

    assert together.warm_up_batch_sizes == tuple(range(1, PRESENT.max_batch_size + 1))
    assert settings.with_rows(together, together=False) == PRESENT


@pytest.mark.parametrize(
    ("file", "accelerator", "may"),
    [
        (PRESENT.graph_file, "openvino", True),
        (PRESENT.graph_file, None, False),  # int8 was judged by OpenVINO
        (MODEL_FILE, None, True),
        ("model.other.onnx", None, False),
    ],
)
def test_only_what_passed_its_gate_with_that_provider_may_be_proposed(
    contract: Contract, file: str, accelerator: str | None, may: bool
) -> None:
    profile = settings.with_graph(PRESENT, file, accelerator)

    assert settings.may_be_served(profile, "cpu", contract) == may


def test_a_grid_combines_what_was_best_of_each() -> None:
    bests = [replace(PRESENT, instances=1), settings.with_threads(PRESENT, 2), settings.with_batch(PRESENT, 16)]

    told = [settings.differences(profile, PRESENT) for profile in settings.grid(PRESENT, bests)]

    assert told == [
        "1 instance, 2 threads",
        "1 instance, batch 16",
        "2 threads, batch 16",
        "1 instance, 2 threads, batch 16",
    ]


def test_the_lines_to_change_are_arguments_of_the_typed_spec() -> None:
    changed = settings.with_batch(replace(PRESENT, max_queue_delay_us=500), 4)

    lines = settings.spec_lines(changed, PRESENT)

    call = ast.parse(f"replace(PRESENT, {' '.join(lines)})", mode="eval").body
    assert isinstance(call, ast.Call)
    given = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
    assert replace(PRESENT, **given) == changed


def test_a_setting_is_a_model_of_its_own_in_the_repository() -> None:
    changed = replace(PRESENT, instances=3, max_queue_delay_us=2000)

    config = model_config(profiled(MULTIMODAL, "cpu", changed, "setting-1"), "cpu")

    assert config.name == "setting-1"
    assert config.instance_group[0].count == 3
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000


def test_noise_is_what_the_present_setting_differs_from_itself() -> None:
    steady = decision.noise(itself(1.0, 1.01, 0.99), [], count=1)
    restless = decision.noise(itself(1.0, 1.3, 0.8), [], count=1)

    assert steady.throughput == decision.LEAST_NOISE
    assert restless.throughput == pytest.approx(0.3)
    assert restless.is_unsteady


def test_more_pairs_make_less_noise() -> None:
    pairs = itself(0.8, 0.97, 0.98, 0.99, 1.0, 1.0, 1.01, 1.02, 1.03, 1.2)

    assert decision.noise(pairs, [], count=5).throughput < decision.noise(pairs, [], count=1).throughput


def test_the_present_setting_beside_others_tells_of_noise_too() -> None:
    drifting = Point("other", (Pair(sample(500, 3), sample(500, 3)), Pair(sample(500, 3), sample(750, 3))))

    assert decision.noise(itself(1.0), [drifting], count=1).throughput == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("throughput", "latency", "better"),
    [
        (1.10, 1.00, True),
        (1.00, 0.90, True),
        (1.10, 1.03, True),  # the latency's change is noise
        (1.02, 0.98, False),
        (1.50, 1.20, False),  # one bought with the other: a choice, not an improvement
        (0.90, 0.50, False),
    ],
)
def test_better_is_more_of_one_and_not_less_of_the_other(throughput: float, latency: float, better: bool) -> None:
    assert decision.is_better(point("x", throughput, latency), Noise(0.05, 0.05)) == better


@pytest.mark.parametrize(("throughput", "latency", "hopeless"), [(0.9, 1.0, False), (0.8, 0.5, True), (2, 1.2, True)])
def test_one_pair_suffices_for_what_is_far_worse(throughput: float, latency: float, hopeless: bool) -> None:
    (pair,) = point("x", throughput, latency, count=1).pairs

    assert decision.is_hopeless(pair, Noise(0.05, 0.05)) == hopeless


def test_a_setting_that_fails_requests_is_never_better() -> None:
    assert not decision.is_better(point("x", 2, 0.5, failures={"UNAVAILABLE": 1}), Noise(0.05, 0.05))


def test_the_front_holds_what_no_other_beats_in_both() -> None:
    found = decision.front([("slow", 3, 10), ("quick", 1, 5), ("beaten", 2, 4), ("equal", 1, 4), ("middle", 2, 7)])

    assert found == ["quick", "middle", "slow"]


def test_what_is_proposed_is_a_configuration_of_the_model_itself() -> None:
    better = point("1 instance", 1.2, 0.9)

    proposal = propose(swept([better], final=better), MULTIMODAL, "cpu")

    assert proposal is not None
    assert proposal.lines == ("instances=1,",)
    expected = model_config(replace(MULTIMODAL, cpu=replace(PRESENT, instances=1)), "cpu")
    assert text_format.Parse(proposal.pbtxt, model_config_pb2.ModelConfig()) == expected


@pytest.mark.parametrize(
    ("again", "noise"),
    [
        (1.02, Noise(0.03, 0.04)),  # the first time it was lucky
        (1.2, Noise(0.4, 0.04)),  # on such a machine nothing is better than anything
    ],
)
def test_nothing_is_proposed_within_the_noise(again: float, noise: Noise) -> None:
    first, second = point("1 instance", 1.2, 1.0), point("1 instance", again, 1.0)

    assert propose(swept([first], final=second, noise=noise), MULTIMODAL, "cpu") is None


def test_a_slow_model_is_held_longer() -> None:
    held = Stretches(callers=64).for_latency(0.12, cores=2)

    assert held.alone_s >= 20 * 0.12
    assert held.saturated_s >= 64 * 0.12 / 2


def test_the_table_and_the_picture_show_every_setting() -> None:
    made = swept([point("1 instance", 1.2, 0.9), point("delay 5 ms", 1.3, 2.5)], final=point("1 instance", 1.2, 0.9))

    table = document.settings_table(made)
    drawn = picture.pareto(made, "multimodal/1", made.final)

    assert "| 2 | 1 instance | • | 1.200 | 0.900 | 1.000 | 600 | 2.70 |" in table
    assert "|  | 1 instance, anew |  | 1.200 |" in table
    assert ElementTree.fromstring(drawn).tag.endswith("svg")  # noqa: S314 - it is our own


def test_where_the_time_goes_adds_up() -> None:
    alone = bare.Bare({1: (900.0, 910.0), 8: (1000.0, 990.0, 1010.0)}, {1: (2.2, 2.1), 8: (1.4, 1.2, 1.3)})

    told = document.where_it_goes(alone, [sample(800, 3)], cores=2)

    assert "batches of 8, its best; in turn with Triton): 800 a second of 1000, 0.80." in told
    assert "| ONNX Runtime alone | 1.300 |" in told
    assert "| idle, or somebody else's | 0.450 |" in told  # 2.5 ms of two cores less 1.5, 0.25 and 0.3


def test_a_limit_too_short_for_anything_is_refused() -> None:
    class Options:
        limit, quick = 5.0, False

    with pytest.raises(ValueError, match="--limit 5; it must be at least 45 s"):
        limit_s(Options())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("failures", "noise", "code"),
    [({}, Noise(0.03, 0.04), 0), ({"UNAVAILABLE": 2}, Noise(0.03, 0.04), 1), ({}, Noise(0.03, 0.3), 3)],
)
def test_the_exit_code_says_whether_the_figures_can_be_believed(failures: Any, noise: Noise, code: int) -> None:
    made = swept([], noise=noise)
    made.against_itself = (Pair(sample(500, 3), sample(500, 3, failures)),)

    assert command.exit_code(made) == code


def test_a_model_that_is_unknown_or_not_trained_is_wrong_usage(tmp_path: Path, capsys: Any) -> None:
    assert main(["tune", "nope"]) == 2
    assert "model 'nope' is unknown" in capsys.readouterr().err
    assert main(["tune", "cnn", "--repository", str(tmp_path)]) == 2
    assert f"{tmp_path} holds no version of cnn" in capsys.readouterr().err
