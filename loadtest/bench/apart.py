"""Rows that need no service: the feature front end, and the two graphs of `vgg16`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final, cast

import numpy as np

from loadtest.bench.graphs import Served, newest_folder, plain, served
from loadtest.bench.limit import Workers
from loadtest.bench.measured import ratios
from loadtest.bench.rows import FRONT_END, VGG16, Row
from loadtest.bench.setting import Plan
from loadtest.bench.stack import cores
from loadtest.circumstances import ROOT
from loadtest.figures import Figure
from preprocess_service.contract import MODEL_FILE, sha256_of
from preprocess_service.features import inputs
from preprocess_service.features.audio import TELEPHONE_RATE_HZ, AudioFormat, Encoding, decode, resample
from preprocess_service.features.mel import SAMPLE_RATE_HZ, TOP_DB
from preprocess_service.model_spec import VGG16 as VGG16_SPEC
from training.dataset import Rows
from training.feature_store import WindowStore
from training.precision.graphs import INT8_RECIPES, Int8Maker

COMPARED: Final = 50  # recordings
EQUAL_TO: Final = 1e-4  # of the range of decibels, as the features' own tests have it
FRONT_END_ROUNDS: Final = 5
FRONT_END_S: Final = 1.0
VGG16_S: Final = 2.0
GRAPHS: Final = ROOT / "build/bench-graphs"
CALIBRATION_PICTURES: Final = 16


def front_end(plan: Plan) -> list[Row]:
    """Ours and librosa's in turns, in one process with one thread."""
    with _workers(served("fp32"), plan, 1) as workers:
        workers.wait()
        for order in ("front_end", "librosa"):
            workers.ask(order, seconds=FRONT_END_S)  # librosa's own parts are compiled at the first call
        ours, theirs = [], []
        for _ in range(FRONT_END_ROUNDS):
            ours.append(workers.do_alone("front_end", seconds=FRONT_END_S).cpu_ms)
            theirs.append(workers.do_alone("librosa", seconds=FRONT_END_S).cpu_ms)
        apart_db = workers.ask("features_apart", count=COMPARED)["greatest_db"]
    found = [] if apart_db <= EQUAL_TO * TOP_DB else [f"{apart_db:.1g} dB apart; at most {EQUAL_TO * TOP_DB:g}"]
    note = f"{median(ours):.2f} ms against {median(theirs):.2f} ms; at most {apart_db:.1g} dB apart of {TOP_DB:g}"
    behind = [
        Figure("bench/front-end/ours", "ms", "lower", tuple(ours)),
        Figure("bench/front-end/librosa", "ms", "lower", tuple(theirs)),
    ]
    return [Row(FRONT_END, "", ratios(theirs, ours), [note], found, behind)]


def vgg16(plan: Plan) -> list[Row]:
    """Both graphs in turns, a process a core; fp32 by the CPU provider."""
    single, (half, origin) = Served(plain(VGG16_SPEC), newest_folder(VGG16_SPEC), "fp32"), _int8(plan)
    with _workers(half, plan, cores()) as fast, _workers(single, plan, cores()) as slow:
        quick, long = [], []
        for workers in (fast, slow):
            workers.wait()
            workers.do("graph", batch=1, seconds=1)
        for _ in range(plan.rounds):
            quick.append(fast.do("graph", batch=1, seconds=VGG16_S))
            long.append(slow.do("graph", batch=1, seconds=VGG16_S))
    each, other = [work.per_s for work in quick], [work.per_s for work in long]
    note = f"{median(each):.1f}/s by {fast.providers[0]} against {median(other):.1f}/s by {slow.providers[0]}; {origin}"
    behind = [
        Figure("bench/vgg16/int8", "1/s", "higher", tuple(each)),
        Figure("bench/vgg16/fp32", "1/s", "higher", tuple(other)),
    ]
    return [Row(VGG16, "", ratios(each, other), [note], (), behind)]


def _int8(plan: Plan) -> tuple[Served, str]:
    """The int8 graph that is served, else one made here of the exported graph, and which of the two it is."""
    found = served("int8", VGG16_SPEC)
    folder = found.folder
    if found.precision == "int8":
        return found, "int8 as it is served"
    name = f"vgg16-{sha256_of(folder / MODEL_FILE)[:12]}.int8.onnx"
    if not (GRAPHS / name).exists():
        _quantise(folder / MODEL_FILE, GRAPHS / name, plan)
    spec = replace(VGG16_SPEC, cpu=replace(VGG16_SPEC.cpu, graph_file=str(GRAPHS / name)))
    return Served(spec, folder, "int8"), "int8 was made for this row: none has passed the gate, and fp32 is served"


def _quantise(exported: Path, made: Path, plan: Plan) -> None:
    """By the first recipe of training, on a few pictures: ranges matter to the answers, which nobody hears here."""
    GRAPHS.mkdir(parents=True, exist_ok=True)
    pictures = []
    for each in plan.questions[:CALIBRATION_PICTURES]:
        samples = decode(each.audio, AudioFormat(Encoding.MULAW, TELEPHONE_RATE_HZ, 1), max_s=60)
        wide = resample(samples, TELEPHONE_RATE_HZ, SAMPLE_RATE_HZ)
        start, end = inputs.windows(VGG16_SPEC, len(wide))[0]
        pictures.append(inputs.audio_feature(VGG16_SPEC, wide[start:end]))
    numbers = np.arange(len(pictures))
    splits = np.full(len(pictures), "train")
    windows = cast(WindowStore, np.stack(pictures))  # arrays do as well
    rows = Rows(windows, None, numbers, numbers, np.ones(len(pictures), bool), splits)
    partial = made.with_suffix(".partial")
    Int8Maker(exported, VGG16_SPEC, rows, GRAPHS).make(INT8_RECIPES[0], partial)
    partial.rename(made)


def _workers(graph: Served, plan: Plan, count: int) -> Workers:
    return Workers(
        count,
        graph_file=graph.graph_file,
        config=graph.config,
        version_folder=graph.folder,
        questions=plan.file,
        logs=plan.logs,
    )
