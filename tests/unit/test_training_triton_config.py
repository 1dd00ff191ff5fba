from __future__ import annotations

import pytest
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2 as pb

from preprocess_service.ensemble_config import as_json, ensemble_config
from preprocess_service.front_end import ENSEMBLES, FRONT_END
from preprocess_service.model_spec import MODELS, GraphSpec
from tests.triton_process import REPOSITORY_ROOT
from training.__main__ import main
from training.quantize import FP16_FILE
from training.triton_config import PROFILE_PATHS, model_config, write_configs

REPOSITORY = REPOSITORY_ROOT / "model_repository"
GRAPHS: list[GraphSpec] = [*MODELS.values(), FRONT_END]
CASES = [(spec, profile) for spec in GRAPHS for profile in PROFILE_PATHS]
IDS = [f"{spec.name}-{profile}" for spec, profile in CASES]
ENSEMBLE_CASES = [(ensemble, profile) for ensemble in ENSEMBLES.values() for profile in PROFILE_PATHS]
ENSEMBLE_IDS = [f"{ensemble.name}-{profile}" for ensemble, profile in ENSEMBLE_CASES]


@pytest.mark.parametrize(("spec", "profile"), CASES, ids=IDS)
def test_the_committed_file_is_the_generated_message(spec, profile):
    path = REPOSITORY / spec.name / PROFILE_PATHS[profile]

    committed = _read(path)

    # A machine of other cores has the CPU profile written with its own number of instances.
    instances = committed.instance_group[0].count if profile == "cpu" else None
    assert committed == model_config(spec, profile, instances)


@pytest.mark.parametrize(("spec", "profile"), CASES, ids=IDS)
def test_one_repository_fits_every_machine(spec, profile):
    config = model_config(spec, profile)

    assert config.backend == "onnxruntime"
    assert config.runtime == ""
    assert all(group.kind == pb.ModelInstanceGroup.KIND_AUTO for group in config.instance_group)
    assert [list(each.dims) for each in config.input] == [list(each.shape) for each in spec.inputs]
    assert config.dynamic_batching.default_queue_policy.allow_timeout_override
    assert config.dynamic_batching.default_queue_policy.max_queue_size > 0


@pytest.mark.parametrize(("ensemble", "profile"), ENSEMBLE_CASES, ids=ENSEMBLE_IDS)
def test_the_committed_ensemble_is_the_generated_message(ensemble, profile):
    path = REPOSITORY / ensemble.name / PROFILE_PATHS[profile]

    committed = text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())

    assert committed == ensemble_config(ensemble, ensemble.model.profile(profile).max_batch_size)


@pytest.mark.parametrize(("ensemble", "profile"), ENSEMBLE_CASES, ids=ENSEMBLE_IDS)
def test_an_ensemble_takes_no_more_rows_than_its_parts(ensemble, profile):
    config = ensemble_config(ensemble, ensemble.model.profile(profile).max_batch_size)

    parts = (model_config(FRONT_END, profile), model_config(ensemble.model, profile))
    assert [step.model_name for step in config.ensemble_scheduling.step] == [part.name for part in parts]
    assert all(config.max_batch_size <= part.max_batch_size for part in parts)


def test_an_ensemble_of_one_version_asks_for_no_other():
    config = json_format.Parse(as_json(ensemble_config(ENSEMBLES["multimodal"], 8, 7)), pb.ModelConfig())

    assert list(config.version_policy.specific.versions) == [7]
    assert config.ensemble_scheduling.step[1].model_version == 7


@pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS.keys())
def test_tensorrt_serves_only_half_precision_that_passed_its_gate(spec):
    config = model_config(spec, "gpu-tensorrt")

    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    assert accelerator.parameters["precision_mode"] == "FP16"
    assert config.default_model_filename == FP16_FILE


@pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS.keys())
def test_tensorrt_sees_its_least_and_greatest_batch_first(spec):
    """An engine is built anew for a batch size beyond those that it has seen."""
    config = model_config(spec, "gpu-tensorrt")

    sizes = [each.batch_size for each in config.model_warmup]
    assert sizes[:2] == [1, config.max_batch_size]
    assert set(config.dynamic_batching.preferred_batch_size) <= set(sizes)


@pytest.mark.parametrize("profile", ["gpu", "gpu-tensorrt"])
def test_the_front_end_is_computed_in_float32(profile):
    config = model_config(FRONT_END, profile)

    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert (accelerator.name, dict(accelerator.parameters)) == ("cuda", {"use_tf32": "0"})


def test_writes_every_profile_of_every_model(tmp_path):
    named = [(each.name, profile) for each, profile in CASES] + [
        (each.name, profile) for each, profile in ENSEMBLE_CASES
    ]

    written = write_configs(tmp_path)

    assert sorted(written) == sorted(tmp_path / name / PROFILE_PATHS[profile] for name, profile in named)


def test_cores_of_the_machine_are_instances_of_the_cpu_profile_alone(tmp_path):
    assert main(["configs", "--repository", str(tmp_path), "--cores", "16"]) == 0

    counts = {
        profile: {_read(tmp_path / name / path).instance_group[0].count for name in MODELS}
        for profile, path in PROFILE_PATHS.items()
    }
    assert counts == {"gpu": {2}, "gpu-tensorrt": {2}, "cpu": {16}}


@pytest.mark.parametrize(("spec", "profile"), CASES, ids=IDS)
def test_no_model_has_a_single_instance(spec, profile):
    """With one, and priorities, Triton's batcher stalls for half a second at a time: deploy/triton/README.md, Traps."""
    assert sum(group.count for group in model_config(spec, profile).instance_group) > 1


def test_a_machine_of_one_core_has_two_instances_all_the_same(tmp_path):
    assert main(["configs", "--repository", str(tmp_path), "--cores", "1"]) == 0

    assert _read(tmp_path / "multimodal" / PROFILE_PATHS["cpu"]).instance_group[0].count == 2


def _read(path):
    return text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())
