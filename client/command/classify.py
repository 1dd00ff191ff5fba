"""`wigeup classify`."""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from client.command import machine, panels
from client.command.batch import Outcome, classify_all
from client.command.plan import Plan, connect, make_plan

Writer = Callable[[Outcome], None]


def classify(args: argparse.Namespace) -> int:
    """Judges the recordings and writes the outcomes; 1 if any of them failed. Raises UsageError, OSError."""
    plan = make_plan(args)
    if not plan.recordings:
        _note(f"no recordings in {', '.join(args.files)}")
        return 1
    outcomes: list[Outcome] = []
    with _writer(args) as write, _progress(args, len(plan.recordings)) as advance:

        def hand_on(outcome: Outcome) -> None:
            outcomes.append(outcome)
            write(outcome)
            advance()

        asyncio.run(classify_all(plan, lambda: connect(args), args.concurrency, hand_on))
    if not _for_programs(args):
        _show(outcomes)
    _summarise(plan, outcomes)
    return 1 if any(outcome.failure for outcome in outcomes) else 0


def _for_programs(args: argparse.Namespace) -> bool:
    return bool(args.json or args.csv or args.jsonl)


@contextlib.contextmanager
def _writer(args: argparse.Namespace) -> Iterator[Writer]:
    """Writes outcomes for programs as they come, so that an interrupted run keeps what it had."""
    if not _for_programs(args):
        yield lambda _outcome: None
        return
    with machine.open_output(args.csv or args.jsonl or machine.STDOUT) as stream:
        yield machine.csv_rows(stream) if args.csv else machine.json_lines(stream)


@contextlib.contextmanager
def _progress(args: argparse.Namespace, count: int) -> Iterator[Callable[[], None]]:
    console = Console(stderr=True)
    lines_on_screen = sys.stdout.isatty() and (args.json or machine.STDOUT in (args.csv, args.jsonl))
    if count == 1 or lines_on_screen or not console.is_terminal:
        yield lambda: None
        return
    columns = (TextColumn("recordings"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, redirect_stdout=False) as progress:
        task = progress.add_task("recordings", total=count)
        yield lambda: progress.advance(task)


def _show(outcomes: list[Outcome]) -> None:
    console = Console()
    if len(outcomes) > 1:
        console.print(panels.verdict_table(outcomes))
        return
    for outcome in outcomes:
        if outcome.verdict is not None:
            console.print(panels.verdict_panel(outcome.file, outcome.verdict))


def _summarise(plan: Plan, outcomes: list[Outcome]) -> None:
    failed = [outcome for outcome in outcomes if outcome.failure is not None]
    if len(plan.recordings) > 1:
        emergencies = sum(1 for outcome in outcomes if outcome.verdict and outcome.verdict.emergency)
        uncertain = sum(1 for outcome in outcomes if outcome.verdict and outcome.verdict.decision == "uncertain")
        _note(f"{len(outcomes)} recordings: {emergencies} emergency, {uncertain} uncertain, {len(failed)} failed")
    for outcome in failed:
        if outcome.failure is not None:
            _note(f"{outcome.file}: {outcome.failure.status}: {outcome.failure.message}")


def _note(line: str) -> None:
    Console(stderr=True, soft_wrap=True).print(Text(line))
