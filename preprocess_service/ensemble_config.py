"""Triton's configuration of an ensemble: committed for every profile, and given by the service for one version."""

from __future__ import annotations

from typing import Final

from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2 as pb

from preprocess_service.front_end import FRONT_END, Ensemble
from preprocess_service.model_spec import TensorSpec

NEWEST: Final = -1
# The version being replaced stays loaded while requests for it are under way.
VERSIONS_LOADED: Final = 2


def ensemble_config(ensemble: Ensemble, max_batch_size: int, version: int = NEWEST) -> pb.ModelConfig:
    """The configuration of the ensemble over one version of its model, the newest that Triton has loaded if unstated.

    The newest may be a candidate that has not proven itself: who must know which version answers states it.
    """
    config = pb.ModelConfig(
        name=ensemble.name,
        platform="ensemble",
        max_batch_size=max_batch_size,
        input=[pb.ModelInput(name=each.name, data_type=data_type(each), dims=each.shape) for each in ensemble.inputs],
        output=[
            pb.ModelOutput(name=each.name, data_type=data_type(each), dims=each.shape) for each in ensemble.outputs
        ],
    )
    if version == NEWEST:
        config.version_policy.latest.num_versions = VERSIONS_LOADED
    else:
        config.version_policy.specific.versions.append(version)
    listen = config.ensemble_scheduling.step.add(model_name=FRONT_END.name, model_version=FRONT_END.version)
    for tensor in (*FRONT_END.inputs, *FRONT_END.outputs):
        (listen.input_map if tensor in FRONT_END.inputs else listen.output_map)[tensor.name] = tensor.name
    judge = config.ensemble_scheduling.step.add(model_name=ensemble.model.name, model_version=version)
    judge.input_map.update({each.name: each.name for each in ensemble.model.inputs})
    judge.output_map.update({each.name: each.name for each in ensemble.model.outputs})
    return config


def as_json(config: pb.ModelConfig) -> str:
    """As Triton takes it with a request to load the model."""
    return json_format.MessageToJson(config, preserving_proto_field_name=True)


def data_type(tensor: TensorSpec) -> pb.DataType:
    return pb.DataType.Value(f"TYPE_{tensor.datatype}")
