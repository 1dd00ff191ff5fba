from __future__ import annotations

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from preprocess_service.model_spec import MODELS
from tests.triton_process import REPOSITORY_ROOT
from training.triton_config import PROFILE_PATHS, model_config, write_configs

REPOSITORY = REPOSITORY_ROOT / "model_repository"
CASES = [(spec, profile) for spec in MODELS.values() for profile in PROFILE_PATHS]
IDS = [f"{spec.name}-{profile}" for spec, profile in CASES]


@pytest.mark.parametrize(("spec", "profile"), CASES, ids=IDS)
def test_the_committed_file_is_the_generated_message(spec, profile):
    path = REPOSITORY / spec.name / PROFILE_PATHS[profile]

    committed = text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())

    assert committed == model_config(spec, profile)


@pytest.mark.parametrize(("spec", "profile"), CASES, ids=IDS)
def test_one_repository_fits_every_machine(spec, profile):
    config = model_config(spec, profile)

    assert config.backend == "onnxruntime"
    assert config.runtime == ""
    assert all(group.kind == pb.ModelInstanceGroup.KIND_AUTO for group in config.instance_group)
    assert [list(each.dims) for each in config.input] == [list(each.shape) for each in spec.inputs]
    assert config.dynamic_batching.default_queue_policy.allow_timeout_override
    assert config.dynamic_batching.default_queue_policy.max_queue_size > 0


def test_writes_every_profile_of_every_model(tmp_path):
    written = write_configs(tmp_path)

    assert sorted(written) == sorted(tmp_path / spec.name / PROFILE_PATHS[profile] for spec, profile in CASES)
