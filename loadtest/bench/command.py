"""`python -m loadtest bench`: the table of what is to be reached, measured."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from deploy.serve import Failed
from loadtest.bench import apart, batching, live, path
from loadtest.bench.graphs import NoGraph, Precision, newest_folder
from loadtest.bench.limit import BENCH_PYTHON, WorkerFailed
from loadtest.bench.neighbours import UNDISTURBED_CORES, Neighbours
from loadtest.bench.questions import make_questions, reads_at_once, write_questions
from loadtest.bench.rows import GOALS, NAMES, NOT_MEASURED, PASS, Goal, Row, markdown
from loadtest.bench.saturation import CallFailed
from loadtest.bench.setting import Plan, Setting, set_up
from loadtest.bench.stack import cores
from loadtest.circumstances import ROOT, circumstances
from loadtest.figures import figures_to_json
from preprocess_service.contract import read_contract
from preprocess_service.model_spec import MULTIMODAL

LOGS: Final = ROOT / "build/bench-logs"
NOBODY: Final = "127.0.0.1:1"  # where no Triton ran, none has a version

Say = Callable[[str], None]
Names = frozenset[str]  # of rows
Measured = tuple[list[Row], dict[str, Any]]  # and under which circumstances, if a Triton ran


def run(options: argparse.Namespace, say: Say) -> tuple[bool, dict[str, Any]]:
    """Measures the chosen rows; whether all pass, and the document.

    Raises ValueError where something must be built first, OSError for recordings that cannot be read.
    """
    if not BENCH_PYTHON.exists():
        raise ValueError(f"{BENCH_PYTHON} is missing; `make bench` installs it")
    began, neighbours = time.monotonic(), Neighbours()
    plan = _plan(options)
    with contextlib.redirect_stdout(sys.stderr):  # what is started says so, and the table may go into a file
        found = []
        for rows, around in _measure(plan, frozenset(options.only or NAMES), say):
            found.append((rows, around))
            say(markdown(rows))
    order = {goal.name: number for number, goal in enumerate(GOALS)}
    rows = sorted((row for rows, _ in found for row in rows), key=lambda row: (order[row.goal.name], row.variant))
    say(markdown(rows))
    seconds, others = round(time.monotonic() - began, 1), neighbours.cores()
    say(f"\n{sum(row.verdict == PASS for row in rows)} of {len(rows)} pass, {seconds:.0f} s")
    if others > UNDISTURBED_CORES:
        say(f"Other programs kept {others:.1f} of {cores()} cores busy: throughputs and times are theirs as well.")
    around = next((around for _, around in found if around), circumstances(NOBODY))
    figures = [figure for row in rows for figure in row.figures]
    document = {
        **around,
        "seconds": seconds,
        "others_cores": others,
        "rows": [row.to_dict() for row in rows],
        "figures": figures_to_json(figures),
    }
    return all(row.verdict == PASS for row in rows), document


def _plan(options: argparse.Namespace) -> Plan:
    LOGS.mkdir(parents=True, exist_ok=True)
    settings = read_contract(newest_folder(MULTIMODAL), MULTIMODAL).text
    if settings is None:
        raise ValueError(f"{MULTIMODAL.name} reads no transcripts")
    fits = reads_at_once(settings)
    questions = make_questions(options.clips, options.questions, MULTIMODAL.window_s, fits, options.seed)
    write_questions(questions, LOGS / "questions.jsonl")
    return Plan(questions, LOGS / "questions.jsonl", options.clips, LOGS, options.rounds, options.stretch, options.seed)


def _measure(plan: Plan, wanted: Names, say: Say) -> Iterator[Measured]:
    for precision, steps in STEPS.items():
        chosen = [(names & wanted, measure) for names, measure in steps if names & wanted]
        if not chosen:
            continue
        say(f"starting what is measured with {precision}")
        everything = Names().union(*(names for names, _ in chosen))
        try:
            with set_up(precision, plan, plain="plain" in everything) as setting:
                around = circumstances(setting.stack.triton_address)
                around["model"] = f"{setting.graph.spec.name}/{setting.graph.folder.name}"
                for names, measure in chosen:
                    say(f"measuring {', '.join(sorted(names))} with {precision}")
                    rows = _tried(partial(_with, precision, measure, setting), names, precision)
                    yield [row for row in rows if row.goal.name in names], around
        except (NoGraph, Failed, WorkerFailed, CallFailed) as error:
            yield _not_measured(everything, precision, error), {}
    for names, alone in APART.items():
        if names & wanted:
            say(f"measuring {', '.join(sorted(names))}")
            yield _tried(partial(alone, plan), names, ""), {}


def _with(precision: Precision, measure: Callable[[Setting], list[Row]], setting: Setting) -> list[Row]:
    if measure is path.compare:  # by precision; the other rows are of what is served, whatever it is
        setting.graph.check(precision)
    return measure(setting)


def _tried(measure: Callable[[], list[Row]], names: Names, precision: str) -> list[Row]:
    try:
        return measure()
    except (NoGraph, WorkerFailed, CallFailed) as error:
        return _not_measured(names, precision, error)


def _not_measured(names: Names, precision: str, error: Exception) -> list[Row]:
    return [Row(_goal(name, precision), precision, shortcomings=[f"{NOT_MEASURED}: {error}"]) for name in names]


def _goal(name: str, precision: str) -> Goal:
    goals = [goal for goal in GOALS if goal.name == name]
    return goals[-1 if precision == "int8" else 0]


APART: Final[dict[Names, Callable[[Plan], list[Row]]]] = {
    frozenset({"front-end"}): apart.front_end,
    frozenset({"vgg16"}): apart.vgg16,
}
COMPARISON: Final = (frozenset({"cpu", "throughput", "plain"}), path.compare)
STEPS: Final[dict[Precision, list[tuple[Names, Callable[[Setting], list[Row]]]]]] = {
    "fp32": [COMPARISON],
    "int8": [
        COMPARISON,
        (frozenset({"tail"}), path.tail),
        (frozenset({"batching"}), batching.batching),
        (frozenset({"live", "live-cpu"}), live.live),
    ],
}
