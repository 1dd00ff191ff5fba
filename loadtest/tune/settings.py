"""The settings that are tried: profiles of the typed spec that differ from the present one in what is tuned."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from preprocess_service.contract import MODEL_FILE, Contract
from preprocess_service.model_spec import Profile, ProfileName

THREADS: Final = "intra_op_thread_count"
ROW_BY_ROW: Final = "row_by_row"
DEFAULT_THREADS: Final = "1"  # the backend's own, where a profile names no number
# The likeliest first: what there is no time for is left out from the end.
QUEUE_DELAYS_US: Final = (1000, 500, 2000, 5000, 0)
CPU_BATCHES: Final = (16, 4, 1, 32, 8)
GPU_BATCHES: Final = (128, 32, 8, 64)
GPU_INSTANCES: Final = (1, 2, 3, 4)
PLAIN, OPENVINO, TENSORRT = None, "openvino", "tensorrt"
PROVIDERS: Final = {
    ("cpu", PLAIN): "CPUExecutionProvider",
    ("cpu", OPENVINO): "OpenVINOExecutionProvider",
    ("gpu", PLAIN): "CUDAExecutionProvider",
    ("gpu", TENSORRT): "TensorrtExecutionProvider",
}
# What TensorRT is to compute in: the profile's own parameters say it where the profile names TensorRT already.
TENSORRT_PARAMETERS: Final = (("precision_mode", "FP16"),)


@dataclass(frozen=True)
class Coordinate:
    """One thing that is tuned: its name and the profiles with every level of it, all else as in the present one."""

    name: str
    profiles: tuple[Profile, ...]


def with_threads(profile: Profile, count: int) -> Profile:
    """So many intra-op threads an instance; OpenVINO takes the same number."""
    parameters = dict(profile.parameters) | {THREADS: str(count)}
    return replace(profile, parameters=tuple(parameters.items()))


def with_batch(profile: Profile, largest: int) -> Profile:
    """Batches up to that size, warmed as the profile warms its own: one row, every size, or the powers of two."""
    sizes = tuple(range(1, largest + 1))
    if _row_by_row(profile):
        sizes = (1,)
    elif profile.warm_up_batch_sizes != tuple(range(1, profile.max_batch_size + 1)):
        sizes = tuple(size for size in sizes if size & (size - 1) == 0 or size == largest)
    return replace(profile, max_batch_size=largest, warm_up_batch_sizes=sizes)


def with_rows(profile: Profile, *, together: bool) -> Profile:
    """The rows of a batch in one run of the graph, or each in its own."""
    parameters = {name: value for name, value in profile.parameters if name != ROW_BY_ROW}
    if not together:
        parameters[ROW_BY_ROW] = "true"
    sizes = tuple(range(1, profile.max_batch_size + 1)) if together else (1,)
    return replace(profile, parameters=tuple(parameters.items()), warm_up_batch_sizes=sizes)


def with_graph(present: Profile, file: str, accelerator: str | None) -> Profile:
    """Another file of the version folder, or another provider; the present accelerator keeps its parameters."""
    parameters: tuple[tuple[str, str], ...] = TENSORRT_PARAMETERS if accelerator == TENSORRT else ()
    if accelerator == present.accelerator:
        parameters = present.accelerator_parameters
    return replace(present, graph_file=file, accelerator=accelerator, accelerator_parameters=parameters)


def coordinates(present: Profile, kind: ProfileName, cores: int, contract: Contract) -> list[Coordinate]:
    """What is tuned, around the present profile; levels equal to the present one are left out."""
    instances = GPU_INSTANCES if kind == "gpu" else sorted({1, cores, cores + 1, 2 * cores})
    batches = GPU_BATCHES if kind == "gpu" else CPU_BATCHES
    levels: dict[str, Iterator[Profile]] = {
        "instances": (replace(present, instances=each) for each in instances),
        "queue delay": (replace(present, max_queue_delay_us=each) for each in QUEUE_DELAYS_US),
        "batch": (with_batch(present, each) for each in batches),
        "graph": (with_graph(present, *each) for each in _graphs(present, kind, contract)),
    }
    if kind == "cpu":  # on a GPU threads of the CPU do nothing, and row by row nothing is gained
        levels["rows"] = iter([with_rows(present, together=_row_by_row(present))])
        levels["threads"] = (with_threads(present, each) for each in sorted({1, 2, cores}))
    found = (Coordinate(name, tuple(each for each in made if each != present)) for name, made in levels.items())
    return [each for each in found if each.profiles]


def all_cores_in_one(present: Profile, cores: int) -> Profile:
    """One instance that computes with all cores: what two coordinates only do together."""
    return with_threads(replace(present, instances=1), cores)


def grid(present: Profile, bests: Sequence[Profile]) -> list[Profile]:
    """All combinations of what the given profiles, one a coordinate, change in the present one; at least two a time."""
    combined: list[Profile] = []
    for count in range(2, len(bests) + 1):
        for chosen in itertools.combinations(bests, count):
            made = present
            for each in chosen:
                made = replace(made, **_changes(present, each))
            if made not in combined and made != present:
                combined.append(made)
    return combined


def may_be_served(profile: Profile, kind: ProfileName, contract: Contract) -> bool:
    """Whether the graph passed its gate with the provider that would compute it; the exported graph is the measure, as
    long as it is computed as it is, which TensorRT does not in its half precision."""
    graph = contract.graphs.get(profile.graph_file)
    if graph is None:
        return False
    return (graph.precision == "fp32" and profile.accelerator != TENSORRT) or graph.provider == PROVIDERS[
        kind, profile.accelerator
    ]


def differences(profile: Profile, present: Profile) -> str:
    """What is other than in the present profile, in a few words; "as now" where nothing is."""
    told = [text(profile) for text, value in _TEXTS.items() if value(profile) != value(present)]
    return ", ".join(told) or "as now"


def spec_lines(profile: Profile, present: Profile) -> list[str]:
    """The arguments of Profile to change, as they stand in preprocess_service/model_spec.py."""
    return [f"{name}={value!r}," for name, value in _changes(present, profile).items()]


def threads(profile: Profile) -> str:
    return dict(profile.parameters).get(THREADS, DEFAULT_THREADS)


def _row_by_row(profile: Profile) -> bool:
    return ROW_BY_ROW in dict(profile.parameters)


def _graphs(present: Profile, kind: ProfileName, contract: Contract) -> list[tuple[str, str | None]]:
    """Files with different contents by every provider; the present file under its own name."""
    other = TENSORRT if kind == "gpu" else OPENVINO
    names = {contract.files[MODEL_FILE]: MODEL_FILE}
    for name in contract.graphs:
        names.setdefault(contract.files[name], name)
    names[contract.files[present.graph_file]] = present.graph_file
    return [
        (name, accelerator)
        for name in names.values()
        for accelerator in (PLAIN, other)
        # On a CPU fp16 only adds casts.
        if not (kind == "cpu" and contract.graphs[name].precision == "fp16")
    ]


def _changes(present: Profile, other: Profile) -> dict[str, Any]:
    return {
        each.name: getattr(other, each.name)
        for each in fields(Profile)
        if getattr(other, each.name) != getattr(present, each.name)
    }


_TEXTS: Final[dict[Callable[[Profile], str], Callable[[Profile], object]]] = {
    lambda profile: f"{profile.instances} instance{'s' * (profile.instances > 1)}": lambda profile: profile.instances,
    lambda profile: f"{threads(profile)} threads": threads,
    lambda profile: "row by row" if _row_by_row(profile) else "rows together": _row_by_row,
    lambda profile: f"batch {profile.max_batch_size}": lambda profile: profile.max_batch_size,
    lambda profile: f"delay {profile.max_queue_delay_us / 1000:g} ms": lambda profile: profile.max_queue_delay_us,
    lambda profile: f"{profile.graph_file} by {profile.accelerator or 'ONNX Runtime itself'}": lambda profile: (
        profile.graph_file,
        profile.accelerator,
    ),
}
