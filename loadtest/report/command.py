"""`python -m loadtest report`: measures, and writes the page and its numbers."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from client import TriageClient
from client.results import ModelInfo
from loadtest import arguments
from loadtest.circumstances import circumstances
from loadtest.clips import load_clips, some
from loadtest.generators import TapePlan
from loadtest.live import LiveTarget
from loadtest.live_result import Limits
from loadtest.open_loop import UnaryTarget
from loadtest.report.findings import Findings
from loadtest.report.headline import answers
from loadtest.report.measuring import Say, measure_live, measure_unary
from loadtest.report.page import page
from loadtest.report.plan import Plan
from loadtest.report.starting import started
from loadtest.servers import Servers

PAGE_NAME: Final = "report.html"
RECORD_NAME: Final = "report.json"
STAGE_CALLS, STAGE_SECONDS = 20, 10
TAPES: Final = 64


def run(options: argparse.Namespace, plan: Plan, say: Say) -> Findings:
    """Measures by that plan, writes both files into `options.out` and returns what was found.

    Raises StartFailed, NothingAnswered, GeneratorFailed, TriageError, OSError or ValueError.
    """
    with _servers(options) as servers:
        findings = _measure(options, plan, servers, say)
    write(options.out, findings)
    for each in answers(findings):
        say(f"{each.figure}: {each.meaning}")
    for doubt in findings.doubts:
        say(f"read with care: {doubt}")
    say(f"{options.out / PAGE_NAME} and {RECORD_NAME} beside it")
    return findings


def write(folder: Path, findings: Findings) -> None:
    """Both files, each complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = json.dumps(findings.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)
    for name, text in ((RECORD_NAME, numbers + "\n"), (PAGE_NAME, page(findings))):
        partial = folder / f".{name}.{os.getpid()}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / name)


@contextlib.contextmanager
def _servers(options: argparse.Namespace) -> Iterator[Servers]:
    if not options.start:
        yield arguments.servers(options)
        return
    with started(options.out / "logs") as servers:
        yield servers


def _measure(options: argparse.Namespace, plan: Plan, servers: Servers, say: Say) -> Findings:
    certificates = arguments.root_certificates(options)
    around = circumstances(servers.triton_address)  # before: the load of the machine is then somebody else's
    model = _model(servers.address, options.model, certificates)
    clips = some(load_clips(options.clips), options.seed)
    requests = [clip.request(model.name).SerializeToString() for clip in clips]
    target = UnaryTarget(servers.address, options.deadline, options.channels, certificates)
    unary = measure_unary(target, servers, requests, plan, options.seed, options.lateness_limit, say)
    live = None
    if plan.live_calls:
        calls = LiveTarget(servers.address, model=model.name, channels=options.channels, root_certificates=certificates)
        tapes = TapePlan(options.clips, TAPES, plan.live_seconds, seed=options.seed)
        limits = Limits(options.lag_limit, options.lateness_limit)
        live = measure_live(calls, servers, tapes, plan, limits, options.processes, say)
    return Findings(
        around=around,
        model=model,
        model_after=_model(servers.address, model.name, certificates),
        plan=plan,
        limit_ms=options.p99_limit,
        unary=unary,
        live=live,
        live_stages_ms=_live_stages(options, model),
    )


def _model(address: str, name: str, certificates: bytes | None) -> ModelInfo:
    """The model that is asked; raises TriageError, or ValueError where there is none of that name."""
    with TriageClient(address, root_certificates=certificates) as triage:
        for model in triage.list_models():
            if model.name == name or (not name and model.is_default):
                return model
    raise ValueError(f"the service has no model {name or 'by default'}")


def _live_stages(options: argparse.Namespace, model: ModelInfo) -> Mapping[str, float] | str:
    """By the stage's name; or why there are none: the service's own packages may be missing here, or its models."""
    try:
        from loadtest import stages
        from loadtest.tapes import mulaw_of
        from preprocess_service.contract import ContractMismatch, read_contract
        from preprocess_service.errors import ModelNotFound
        from preprocess_service.model_spec import model_spec
    except ImportError as error:
        return f"the package {error.name} of the service is not installed here"
    try:
        spec = model_spec(model.name)
        contract = read_contract(options.repository / model.name / model.version, spec)
        spoken = [(mulaw_of(clip.path), clip) for clip in some(load_clips(options.clips), options.seed)]
        costs = stages.measure(spoken, spec, contract, STAGE_CALLS, STAGE_SECONDS)
    except (OSError, ValueError, ContractMismatch, ModelNotFound) as error:
        return f"{type(error).__name__}: {error}"
    return {stages.STAGES[stage]: round(cost, 4) for stage, cost in costs.items()}
