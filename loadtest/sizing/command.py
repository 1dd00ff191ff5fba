"""`python -m loadtest sizing`: measure, simulate, compare, and say what more calls would need."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from loadtest.circumstances import circumstances
from loadtest.clips import load_clips, some
from loadtest.generators import TapePlan
from loadtest.servers import Servers
from loadtest.sizing import page
from loadtest.sizing.arguments import INPUTS, LIVE, PARTS, UNARY
from loadtest.sizing.calibration import LIVE_S, LiveStep, Place, Say, UnaryStep, measure_inputs, run_live, run_unary
from loadtest.sizing.capacity import capacity
from loadtest.sizing.comparison import (
    live_compared,
    live_saturation,
    next_calls,
    rates,
    this_node,
    unary_compared,
    unary_saturation,
)
from loadtest.sizing.inputs import Inputs
from preprocess_service.contract import newest_version, read_contract
from preprocess_service.model_spec import MULTIMODAL, model_spec
from preprocess_service.settings import Settings, read_settings

MACHINES: Final = (1, 4)  # times the cores of the measured one
REPRODUCED, NOT_REPRODUCED = 0, 1


@dataclass(frozen=True)
class Measured:
    """What is kept between two runs of the command; `around` are the circumstances of each part."""

    inputs: Inputs
    unary: tuple[UnaryStep, ...] = ()
    live: tuple[LiveStep, ...] = ()
    around: dict[str, dict[str, Any]] = field(default_factory=dict)


KEPT: Final = TypeAdapter(Measured)


def run(options: argparse.Namespace, say: Say, write: Say) -> tuple[int, Mapping[str, Any]]:
    """The exit code (1: not reproduced within the tolerance) and figures; the page's tables go to `write`.

    Raises ValueError where nothing was measured yet, OSError, grpc.RpcError, TriageError.
    """
    settings = read_settings()
    measured = _kept(options.keep)
    for part in (part for part in PARTS if part in options.calibrate):
        measured = _measure(part, options, settings, measured, say)
        options.keep.parent.mkdir(parents=True, exist_ok=True)
        options.keep.write_bytes(KEPT.dump_json(measured, indent=1))
    if measured is None:
        raise ValueError(f"{options.keep} is not there: run --calibrate first, with a service that is up")
    inputs = measured.inputs
    unary = unary_compared(inputs, settings, measured.unary) if measured.unary else None
    live = live_compared(inputs, settings, measured.live) if measured.live else None
    node = this_node(inputs, settings)
    machines = [capacity(inputs, node, times * node.cores) for times in MACHINES]
    write(page.tables(inputs, settings, measured, unary, live, machines, options.peak_to_mean))
    is_reproduced = all(each is not None and each.is_reproduced for each in (unary, live))
    figures = {
        "measured": KEPT.dump_python(measured, mode="json"),
        "saturation": {name: None if each is None else {"apart": each.apart, **each.__dict__}
                       for name, each in (("unary", unary), ("live", live))},
        "machines": [each.to_dict() for each in machines],
        "reproduced": is_reproduced,
    }  # fmt: skip
    return REPRODUCED if is_reproduced else NOT_REPRODUCED, figures


def _kept(path: Path) -> Measured | None:
    if not path.is_file():
        return None
    try:
        return KEPT.validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{path} holds no measurement of this version: {error.errors()[0]['loc']}") from error


def _measure(
    part: str, options: argparse.Namespace, settings: Settings, measured: Measured | None, say: Say
) -> Measured:
    place, around = _place(options), circumstances(options.triton)
    if part == INPUTS:
        inputs = _inputs(options, place, say)
        measured = replace(measured, inputs=inputs) if measured else Measured(inputs)
    elif measured is None:
        raise ValueError(f"--calibrate {part} without inputs; they come first: --calibrate {INPUTS}")
    node = this_node(measured.inputs, settings)
    if part == UNARY:
        measured = replace(measured, unary=tuple(run_unary(place, rates(unary_saturation(measured.inputs, node)), say)))
    elif part == LIVE:
        chooser = next_calls(live_saturation(measured.inputs, node))
        measured = replace(measured, live=tuple(run_live(place, chooser, say)))
    return replace(measured, around={**measured.around, part: around})


def _place(options: argparse.Namespace) -> Place:
    clips = some(load_clips(options.clips), options.seed)
    return Place(
        servers=Servers(options.address, options.triton, options.triton_metrics),
        clips=clips,
        plan=TapePlan(options.clips, 0, LIVE_S, seed=options.seed),
        model=options.model,
        seed=options.seed,
    )


def _inputs(options: argparse.Namespace, place: Place, say: Callable[[str], None]) -> Inputs:
    spec = model_spec(options.model or MULTIMODAL.name)
    version = newest_version(options.repository, spec)
    if version is None:
        raise ValueError(f"{options.repository} holds no version of {spec.name}")
    contract = read_contract(options.repository / spec.name / str(version), spec)
    return measure_inputs(place, spec, contract, say)
