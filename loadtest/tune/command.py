"""The subcommand: sweep, tell, write."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from deploy.serve import Failed
from loadtest.circumstances import circumstances
from loadtest.clips import load_clips, some
from loadtest.tune import document, picture, questions
from loadtest.tune.arguments import limit_s
from loadtest.tune.bare import Bare, BareGraphs
from loadtest.tune.measuring import Meter, NothingAnswered, Sample, Stretches
from loadtest.tune.proposal import Proposal, propose
from loadtest.tune.server import Refused, Triton, started
from loadtest.tune.settings import PROVIDERS
from loadtest.tune.sweep import PRESENT, Scale, Sweep, Swept
from preprocess_service.contract import ContractMismatch
from preprocess_service.errors import ModelNotFound
from preprocess_service.model_spec import ProfileName, model_spec
from preprocess_service.repository import Repository, ServedModel
from preprocess_service.triton import Arrays
from training.precision.served import GraphFailed, TritonEnvironmentMissing

CANNOT: Final = (
    *(Failed, Refused, NothingAnswered, ModelNotFound, ContractMismatch),
    *(GraphFailed, TritonEnvironmentMissing),
)
MEASURED, PRESENT_FAILS, UNSTEADY = 0, 1, 3
BARE_S: Final = 0.7  # a batch size and repetition
BARE_ROUNDS: Final = 3
BARE_SHARE_S: Final = 30.0  # kept back for the comparison


def tune(options: argparse.Namespace, console: Console) -> tuple[int, Mapping[str, Any]]:
    """Raises ValueError, with the reason, where nothing can be measured."""
    began, limit = time.monotonic(), limit_s(options)
    kind: ProfileName = options.profile
    progress = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        served, version = newest(options.repository, options.model)
        arrays = questions.make_arrays(served, some(load_clips(options.clips)), options.inputs, options.seed)
        with started(kind) as triton:
            around = circumstances(triton.address)
            until = began + limit - (0 if kind == "gpu" or options.quick else BARE_SHARE_S)
            sweep = Sweep(
                *(triton, served, kind, version, arrays),
                stretches=Stretches(callers=options.callers),
                cores=os.cpu_count() or 1,
                scale=Scale(limit, options.quick),
                until=until,
                tell=lambda text: progress.print(f"{time.monotonic() - began:5.0f} s  {text}", markup=False),
            )
            swept = sweep.run()
            bare, samples = None, list[Sample]()
            if kind == "cpu" and not options.quick:
                bare, samples = beside_bare(triton, sweep, served, version, arrays)
    except CANNOT as error:
        raise ValueError(str(error)) from error
    proposal = propose(swept, served.spec, kind)
    subject = _subject(options, served, kind, around)
    text = document.document(subject, swept, proposal, bare, samples)
    print(text, file=console.file)
    if options.out:
        _write(options, text, swept, proposal, f"{subject.model}, profile {kind}: {subject.graph}")
    figures = {
        **around,
        "model": subject.model,
        "proposal": None if proposal is None else proposal.to_dict(),
        "noise": {"point": asdict(swept.noise), "final": asdict(swept.final_noise)},
        "settings": document.point_dicts(swept),
        "refused": swept.refused,
        "left_out": swept.left_out,
        "bare": None if bare is None else bare.to_dict(),
        "seconds": round(time.monotonic() - began, 1),
    }
    return exit_code(swept), figures


def newest(folder: Path, model: str) -> tuple[ServedModel, Path]:
    """The newest version of the model and its folder; raises ValueError where there is none."""
    repository = Repository(folder)
    signature = repository.newest(model_spec(model).name)
    if signature is None:
        raise ValueError(f"{folder} holds no version of {model}: python -m training train {model}")
    return repository.read(model, signature), folder / model / str(signature[0])


def beside_bare(
    triton: Triton, sweep: Sweep, served: ServedModel, version: Path, arrays: list[Arrays]
) -> tuple[Bare, list[Sample]]:
    """ONNX Runtime alone and Triton with the present setting, in turn."""
    requests = questions.infer_requests(served, PRESENT, arrays)
    meter = Meter(triton, sweep.stretches)
    samples: list[Sample] = []
    rounds: list[Bare] = []
    with BareGraphs(version, served.spec, arrays) as graphs:
        for _ in range(BARE_ROUNDS):
            rounds.append(graphs.round(BARE_S))
            samples.append(meter.sample(PRESENT, requests))
    return Bare.of_rounds(rounds), samples


def _subject(
    options: argparse.Namespace, served: ServedModel, kind: ProfileName, around: Mapping[str, Any]
) -> document.Subject:
    profile = served.spec.profile(kind)
    graph = served.contract.graphs[profile.graph_file]
    return document.Subject(
        model=f"{served.name}/{served.version}",
        profile=kind,
        graph=f"{profile.graph_file} ({graph.precision}) by {PROVIDERS[kind, profile.accelerator]}",
        command=shlex.join(["python", "-m", "loadtest", *sys.argv[1:]]),
        callers=options.callers,
        inputs=options.inputs,
        around=around,
    )


def _write(options: argparse.Namespace, text: str, swept: Swept, proposal: Proposal | None, title: str) -> None:
    folder, stem = options.out, f"{options.model}-{options.profile}"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = picture.pareto(swept, title, None if proposal is None else proposal.point)
    (folder / f"{stem}.svg").write_text(drawn, encoding="utf-8")
    (folder / f"{stem}.md").write_text(f"{text}\n![latency and throughput]({stem}.svg)\n", encoding="utf-8")
    if proposal is not None:
        (folder / f"{stem}.pbtxt").write_text(proposal.pbtxt, encoding="utf-8")


def exit_code(swept: Swept) -> int:
    """Whether the figures can be believed; a proposal and none are both results."""
    if any(sample.failures for sample in swept.present_samples):
        return PRESENT_FAILS
    return UNSTEADY if swept.noise.is_unsteady else MEASURED
