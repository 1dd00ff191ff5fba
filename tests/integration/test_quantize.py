"""Lower precisions of a small trained network: made, judged by the provider that serves them, served by Triton."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from google.protobuf import text_format
from keras import layers
from onnx import numpy_helper
from tritonclient import grpc as triton

from preprocess_service.contract import (
    FILE_NAME,
    MODEL_FILE,
    Canary,
    Contract,
    Decision,
    Graph,
    TrainingData,
    canary_inputs,
    feature_settings,
    read_contract,
    sha256_of,
)
from preprocess_service.model_spec import CNN, LSTM, PROBABILITY, ModelSpec, TensorSpec
from tests import alert_settings
from tests.triton_process import TritonProcess
from training.dataset import Rows
from training.decision import fit_operating_point
from training.export import to_onnx
from training.precision.attempt import GPU_PROVIDER, NOT_TRIED, Attempt, choose_recipe, judge_int8
from training.precision.gate import Gate
from training.precision.graphs import INT8_RECIPES, RECORD_KEY, Int8Maker
from training.precision.served import GraphFailed, ServedGraph, TritonEnvironmentMissing
from training.precision.timing import BATCHES, measure_ms
from training.quantize import add_precisions, attempt_precisions
from training.scoring import clip_scores, session
from training.staging import staged
from training.train import Trained
from training.triton_config import model_config

SPEC = replace(CNN, audio=TensorSpec("mel", "FP32", (16, 24, 1)))
SEQUENCES = replace(LSTM, audio=TensorSpec("mfcc", "FP32", (12, 6)))
ALL_FILES = {MODEL_FILE, "model.int8.onnx", "model.fp16.onnx", "model.cpu.onnx", "model.gpu.onnx"}
TOLERANCE = 1e-3


def rows_for(shape: tuple[int, ...], count: int = 600) -> Rows:
    """Noise in dB, for emergencies with a louder half; a clip each, half of them for training."""
    random = np.random.default_rng(7)
    is_emergency = np.arange(count) % 2 == 0
    audio: Any = random.normal(-50, 8, (count, *shape)).astype(np.float32)
    audio[is_emergency, : shape[0] // 2] += 9
    index = np.arange(count)
    splits = np.array([("train", "train", "validation", "test")[each // 2 % 4] for each in index])
    return Rows(audio, None, index, index, is_emergency, splits)


def fitted(network: keras.Model, rows: Rows) -> keras.Model:
    train = rows.rows_of("train")
    network.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy")
    network.fit(rows.audio[train], rows.labels(train)[:, np.newaxis], batch_size=32, epochs=8, verbose=0)
    return network


def exported(network: keras.Model, spec: ModelSpec, rows: Rows, folder: Path) -> Contract:
    """A folder with model.onnx, as the export leaves it to `add_precisions`, and its contract."""
    onnx.save(to_onnx(Trained(spec, network, None, None)), folder / MODEL_FILE)
    runtime = session(folder / MODEL_FILE)
    validation = np.flatnonzero(rows.splits == "validation")
    point = fit_operating_point(clip_scores(runtime, spec, rows, validation), rows.is_emergency[validation])
    (answer,) = runtime.run([PROBABILITY.name], canary_inputs(spec))
    canary = Canary(probability=float(answer[0, 0]), tolerance=TOLERANCE)
    return Contract(
        model=spec.name,
        version=1,
        features=feature_settings(spec),
        text=None,
        decision=Decision(with_transcript=point, without_transcript=point),
        alert=alert_settings.settings(),
        training_data=TrainingData(corpus="noise", fingerprint="", clips=300),
        pretrained_base=None,
        figures={},
        graphs={MODEL_FILE: Graph(precision="fp32", provider="CPUExecutionProvider", canary=canary, gate={})},
        files={MODEL_FILE: sha256_of(folder / MODEL_FILE)},
    )


@pytest.fixture(scope="module")
def rows() -> Rows:
    return rows_for(SPEC.audio.shape)


@pytest.fixture(scope="module")
def network(rows: Rows) -> keras.Model:
    keras.utils.set_random_seed(5)
    sound = keras.Input(SPEC.audio.shape, name="mel")
    x = layers.Rescaling(1 / 20, offset=45 / 20)(sound)
    x = layers.ReLU()(layers.MaxPooling2D(2)(layers.Conv2D(8, 3, padding="same")(x)))
    x = layers.Flatten()(layers.Conv2D(12, 3, padding="same", activation="relu")(x))
    answer = layers.Dense(1, activation="sigmoid", name="probability")(layers.Dense(16, "relu", name="hidden")(x))
    return fitted(keras.Model(sound, {"probability": answer}), rows)


@pytest.fixture(scope="module")
def version(network: keras.Model, rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete version folder in a model repository of its own."""
    folder = tmp_path_factory.mktemp("repository") / SPEC.name / "1"
    with staged(folder) as partial:
        contract = add_precisions(partial, SPEC, rows, exported(network, SPEC, rows, partial))
        (partial / FILE_NAME).write_text(contract.model_dump_json(), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def contract(version: Path) -> Contract:
    return read_contract(version, SPEC)


def some_inputs(rows: Rows, count: int) -> dict[str, npt.NDArray[np.float32]]:
    return {"mel": np.asarray(rows.audio[rows.rows_of("test")[:count]])}


def test_a_good_network_gets_both_precisions(version: Path, contract: Contract) -> None:
    assert {path.name for path in version.iterdir()} == {*ALL_FILES, FILE_NAME}
    assert set(contract.graphs) == set(contract.files) == ALL_FILES
    assert contract.graphs["model.cpu.onnx"].precision == "int8"
    assert contract.graphs["model.cpu.onnx"].provider == "OpenVINOExecutionProvider"
    assert contract.figures["int8_label_agreement"] >= 0.995
    assert contract.figures["int8_decision_agreement"] >= 0.99
    assert contract.figures["fp16_label_agreement"] >= 0.995
    assert contract.graphs["model.int8.onnx"].gate["clips"] == 150


def test_what_a_profile_serves_takes_no_space_of_its_own(version: Path) -> None:
    assert (version / "model.cpu.onnx").samefile(version / "model.int8.onnx")


def test_half_precision_is_served_only_where_a_gpu_judged_it(version: Path, contract: Contract) -> None:
    judged_on_gpu = contract.graphs["model.fp16.onnx"].provider == GPU_PROVIDER
    expected = "model.fp16.onnx" if judged_on_gpu else MODEL_FILE

    assert (version / "model.gpu.onnx").samefile(version / expected)
    assert contract.graphs["model.gpu.onnx"] == contract.graphs[expected]
    assert contract.files["model.gpu.onnx"] == contract.files[expected]


def test_int8_is_per_channel_and_spares_small_dense_layers(version: Path) -> None:
    model = onnx.load(version / "model.int8.onnx")
    weights = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    kernels = [each for each in weights.values() if each.dtype == np.int8 and each.ndim == 4]
    scales = [each for name, each in weights.items() if name.endswith("_scale") and each.ndim == 1 and len(each) > 1]
    (record,) = [json.loads(each.value) for each in model.metadata_props if each.key == RECORD_KEY]

    assert len(kernels) == 2
    assert {8, 12} <= {len(each) for each in scales}
    assert [re.sub(r"_\d+$", "", name.split("/")[1]) for name in record["float_nodes"]] == ["hidden", "probability"]
    assert model.ir_version == onnx.load(version / MODEL_FILE).ir_version


def test_half_precision_keeps_the_tensors_of_the_spec(version: Path) -> None:
    model = onnx.load(version / "model.fp16.onnx")
    kinds = {each.data_type for each in model.graph.initializer if len(each.dims) == 4}

    assert kinds == {onnx.TensorProto.FLOAT16}
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_every_canary_is_the_answer_of_its_own_graph(version: Path, contract: Contract) -> None:
    with ServedGraph(version / "model.cpu.onnx", SPEC) as served:
        (answer,) = served.run(["probability"], canary_inputs(SPEC))

    canary = contract.graphs["model.cpu.onnx"].canary
    assert abs(float(answer[0, 0]) - canary.probability) < 1e-6
    assert TOLERANCE <= canary.tolerance <= 0.05


@pytest.fixture(scope="module")
def server(version: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonProcess]:
    configs = version.parent / "configs"
    configs.mkdir()
    (configs / "cpu.pbtxt").write_text(text_format.MessageToString(model_config(SPEC, "cpu")), encoding="utf-8")
    (version.parent / "config.pbtxt").write_text(text_format.MessageToString(model_config(SPEC, "gpu")))
    with TritonProcess(version.parent.parent, log=tmp_path_factory.mktemp("log") / "triton.log") as running:
        yield running


@pytest.mark.parametrize("count", [1, 5, 8])
def test_the_gate_hears_what_triton_serves(server: TritonProcess, version: Path, rows: Rows, count: int) -> None:
    arrays = some_inputs(rows, count)
    tensor = triton.InferInput("mel", list(arrays["mel"].shape), "FP32")
    tensor.set_data_from_numpy(arrays["mel"])

    with triton.InferenceServerClient(server.grpc_address) as client:
        served = client.infer(SPEC.name, [tensor]).as_numpy("probability")
    with ServedGraph(version / "model.cpu.onnx", SPEC) as graph:
        (run,) = graph.run(["probability"], arrays)

    np.testing.assert_array_equal(run, served)


@pytest.fixture
def gate(version: Path, contract: Contract, rows: Rows) -> Gate:
    return Gate(session(version / MODEL_FILE), SPEC, rows, contract.decision, "test")


def test_a_graph_with_wrong_scales_is_refused(version: Path, gate: Gate, tmp_path: Path) -> None:
    model = onnx.load(version / "model.int8.onnx")
    for each in model.graph.initializer:
        if each.name.endswith("_scale") and not each.dims:
            each.CopyFrom(numpy_helper.from_array(np.asarray(numpy_helper.to_array(each) * 100), each.name))
    onnx.save(model, tmp_path / "model.int8.onnx")

    good = judge_int8(version / "model.int8.onnx", SPEC, gate, TOLERANCE)
    broken = judge_int8(tmp_path / "model.int8.onnx", SPEC, gate, TOLERANCE)

    assert good.accepted
    assert not broken.accepted
    assert any("label agreement" in each for each in broken.objections)
    with pytest.raises(ValueError, match="refused: label agreement"):
        broken.graph()


def on_the_threshold(rows: Rows, folder: Path, contract: Contract) -> Any:
    """The audio, with test windows between two others at which the exported graph's answer lies on the threshold."""
    runtime, point = session(folder / MODEL_FILE), contract.decision.without_transcript
    audio = np.array(rows.audio)
    chosen = rows.rows_of("test")
    quiet = audio[[row for row in rows.rows_of("validation") if not rows.is_emergency[row]]]
    normal = quiet[: len(chosen) // 2].repeat(2, axis=0)
    emergency = normal.copy()
    emergency[:, : SPEC.audio.shape[0] // 2] += 12
    low, high = np.zeros(len(chosen)), np.ones(len(chosen))
    for _ in range(30):
        share = ((low + high) / 2)[:, np.newaxis, np.newaxis, np.newaxis]
        audio[chosen] = (1 - share) * normal + share * emergency
        (answers,) = runtime.run([PROBABILITY.name], {"mel": audio[chosen]})
        above = point.calibrate(answers[:, 0]) >= point.threshold
        low, high = np.where(above, low, share[:, 0, 0, 0]), np.where(above, share[:, 0, 0, 0], high)
    return audio


def test_a_recipe_that_only_validation_clips_like_is_refused(network: keras.Model, rows: Rows, tmp_path: Path) -> None:
    contract = exported(network, SPEC, rows, tmp_path)
    close = replace(rows, audio=on_the_threshold(rows, tmp_path, contract))

    contract, (int8, _) = attempt_precisions(tmp_path, SPEC, close, contract)

    assert any("label agreement" in each for each in int8.objections)
    assert not any("on validation clips" in each for each in int8.objections)
    assert contract.graphs["model.cpu.onnx"].precision == "fp32"
    assert not (tmp_path / "model.int8.onnx").exists()
    assert contract.figures["int8_label_agreement"] < 0.9


def test_the_first_recipe_that_is_accepted_is_chosen(version: Path, gate: Gate, rows: Rows, tmp_path: Path) -> None:
    judged: list[Attempt] = []

    def judge(graph_file: Path) -> Attempt:
        attempt = judge_int8(graph_file, SPEC, gate, TOLERANCE)
        judged.append(attempt if len(judged) == 1 else replace(attempt, objections=("not this one",)))
        return judged[-1]

    made, chosen = choose_recipe(Int8Maker(version / MODEL_FILE, SPEC, rows, tmp_path), judge, tmp_path)

    assert chosen is judged[1]
    assert len(judged) == 2
    (record,) = [json.loads(each.value) for each in onnx.load(made).metadata_props if each.key == RECORD_KEY]
    assert record["mean_extremes"] == INT8_RECIPES[1].mean_extremes


def test_a_graph_that_cannot_be_loaded_is_refused(version: Path, gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "model.int8.onnx").write_bytes((version / "model.int8.onnx").read_bytes()[:1000])

    assert not judge_int8(tmp_path / "model.int8.onnx", SPEC, gate, TOLERANCE).accepted


def test_without_tritons_environment_the_exported_graph_is_served(
    network: keras.Model, rows: Rows, tmp_path: Path
) -> None:
    python = tmp_path / "no" / "python"
    contract = exported(network, SPEC, rows, tmp_path)

    with pytest.raises(TritonEnvironmentMissing, match=f"{python} is missing; `make"):
        ServedGraph(tmp_path / MODEL_FILE, SPEC, python=python)
    contract, (int8, _) = attempt_precisions(tmp_path, SPEC, rows, contract, python=python)

    assert "make .venv-triton" in int8.objections[0]
    assert contract.graphs["model.cpu.onnx"] == contract.graphs[MODEL_FILE]
    assert (tmp_path / "model.cpu.onnx").samefile(tmp_path / MODEL_FILE)


def test_an_lstm_stays_float_and_is_served_as_exported(tmp_path: Path) -> None:
    rows = rows_for(SEQUENCES.audio.shape, 240)
    keras.utils.set_random_seed(6)
    sound = keras.Input(SEQUENCES.audio.shape, name="mfcc")
    x = layers.LSTM(8)(layers.Rescaling(1 / 20, offset=45 / 20)(sound))
    answer = layers.Dense(1, activation="sigmoid", name="probability")(x)
    trained = fitted(keras.Model(sound, {"probability": answer}), rows)

    contract = exported(trained, SEQUENCES, rows, tmp_path)
    contract, (int8, _) = attempt_precisions(tmp_path, SEQUENCES, rows, contract)

    assert int8.objections == (NOT_TRIED,)
    assert str(int8) == f"int8 refused: {NOT_TRIED}"
    served = contract.graphs["model.cpu.onnx"]
    assert (served.precision, served.provider) == ("fp32", "OpenVINOExecutionProvider")
    assert not (tmp_path / "model.int8.onnx").exists()


def test_a_failure_leaves_no_folder_behind(version: Path, contract: Contract, rows: Rows, tmp_path: Path) -> None:
    folder = tmp_path / SPEC.name / "1"
    folder.parent.mkdir()
    bare = contract.model_copy(update={"graphs": {MODEL_FILE: contract.graphs[MODEL_FILE]}})
    wrong = replace(SPEC, audio=replace(SPEC.audio, shape=(16, 20, 1)))

    def complete_a_graph_of_another_shape() -> None:
        with staged(folder) as partial:
            (partial / MODEL_FILE).write_bytes((version / MODEL_FILE).read_bytes())
            add_precisions(partial, wrong, rows, bare)

    with pytest.raises(Exception, match="invalid dimensions|[Ss]hape"):
        complete_a_graph_of_another_shape()

    assert list(folder.parent.iterdir()) == []


def test_a_refused_run_is_told_by_the_backend(version: Path) -> None:
    with ServedGraph(version / MODEL_FILE, SPEC) as graph:
        with pytest.raises(GraphFailed, match=r"model\.onnx"):
            graph.run(["probability"], {"mel": np.zeros((1, 3, 24, 1), np.float32)})
        (answer,) = graph.run(["probability"], canary_inputs(SPEC))  # and the process lives on

    assert answer.shape == (1, 1)


def test_times_are_measured_for_every_graph_that_the_profile_may_run(version: Path, rows: Rows) -> None:
    timings = measure_ms(version, SPEC, some_inputs(rows, 3))

    assert [(each.graph_file, each.provider.removesuffix("ExecutionProvider")) for each in timings] == [
        ("model.onnx", "CPU"),
        ("model.onnx", "OpenVINO"),
        ("model.int8.onnx", "OpenVINO"),
    ]
    assert all(each.ms_by_batch[size] > 0 for each in timings for size in BATCHES)
