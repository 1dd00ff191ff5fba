"""Triton's `config.pbtxt` files, generated from the typed specs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from preprocess_service.ensemble_config import VERSIONS_LOADED, data_type, ensemble_config
from preprocess_service.front_end import ENSEMBLES, FRONT_END
from preprocess_service.model_spec import MODELS, GraphSpec, ProfileName

BACKEND: Final = "onnxruntime"
PROFILE_PATHS: Final[dict[ProfileName, str]] = {
    "gpu": "config.pbtxt",
    "gpu-tensorrt": "configs/gpu-tensorrt.pbtxt",
    "cpu": "configs/cpu.pbtxt",
}
# Two lanes: urgent calls (1) overtake normal ones (2).
PRIORITY_LEVELS: Final = 2
HEADER: Final = "# Generated from preprocess_service/model_spec.py by `python -m training configs`; do not edit.\n"


def model_config(spec: GraphSpec, profile_name: ProfileName, instances: int | None = None) -> pb.ModelConfig:
    """The configuration of a model for one kind of machine, with as many instances as the profile says if unstated.

    It names no instance kind: Triton then takes the GPU where there is one, and `KIND_GPU` would fail elsewhere.
    """
    profile = spec.profile(profile_name)
    config = pb.ModelConfig(
        name=spec.name,
        backend=BACKEND,
        default_model_filename=profile.graph_file,
        max_batch_size=profile.max_batch_size,
        input=[pb.ModelInput(name=each.name, data_type=data_type(each), dims=each.shape) for each in spec.inputs],
        output=[pb.ModelOutput(name=each.name, data_type=data_type(each), dims=each.shape) for each in spec.outputs],
        instance_group=[pb.ModelInstanceGroup(count=instances or profile.instances)],
        version_policy=pb.ModelVersionPolicy(latest=pb.ModelVersionPolicy.Latest(num_versions=VERSIONS_LOADED)),
        model_warmup=[_warm_up(spec, size) for size in profile.warm_up_batch_sizes],
    )
    batching = config.dynamic_batching
    batching.preferred_batch_size.extend(profile.preferred_batch_sizes)
    batching.max_queue_delay_microseconds = profile.max_queue_delay_us
    batching.priority_levels = batching.default_priority_level = PRIORITY_LEVELS
    # REJECT with the caller's own timeout: nobody waits for an answer to a question that was put too late.
    batching.default_queue_policy.timeout_action = pb.ModelQueuePolicy.REJECT
    batching.default_queue_policy.allow_timeout_override = True
    batching.default_queue_policy.max_queue_size = profile.max_queue_size
    for key, value in profile.parameters:
        config.parameters[key].string_value = value
    if profile.accelerator:
        accelerators = config.optimization.execution_accelerators
        kind = "cpu" if profile_name == "cpu" else "gpu"
        listed = getattr(accelerators, f"{kind}_execution_accelerator")
        listed.add(name=profile.accelerator, parameters=dict(profile.accelerator_parameters))
    return config


def write_configs(repository: Path, cpu_instances: int | None = None) -> list[Path]:
    """Writes every profile of every model, of the front end and of its ensembles below `repository`; returns the paths.

    `cpu_instances` are those of the CPU profile, for machines of other than two cores. Without the file of a profile,
    Triton takes config.pbtxt for it.
    """
    graphs: list[GraphSpec] = [*MODELS.values(), FRONT_END]
    configs = {
        repository / spec.name / relative: model_config(
            spec, profile_name, cpu_instances if profile_name == "cpu" else None
        )
        for spec in graphs
        for profile_name, relative in PROFILE_PATHS.items()
    }
    configs |= {
        repository / ensemble.name / relative: ensemble_config(
            ensemble, ensemble.model.profile(profile_name).max_batch_size
        )
        for ensemble in ENSEMBLES.values()
        for profile_name, relative in PROFILE_PATHS.items()
    }
    for path, config in configs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEADER + text_format.MessageToString(config), encoding="utf-8")
    return list(configs)


def _warm_up(spec: GraphSpec, batch_size: int) -> pb.ModelWarmup:
    warm_up = pb.ModelWarmup(name=f"batch of {batch_size}", batch_size=batch_size)
    for tensor in spec.inputs:
        warm_up.inputs[tensor.name].data_type = data_type(tensor)
        warm_up.inputs[tensor.name].dims.extend(tensor.shape)
        warm_up.inputs[tensor.name].zero_data = True
    return warm_up
