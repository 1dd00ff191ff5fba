"""`python -m loadtest`: load in open loop, with honest times; and what the lines and their losses do to a call."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from rich.console import Console

from client import TriageError
from client.command.machine import open_output, write_json
from loadtest import arguments, tables
from loadtest.bridge_process import BridgeFailed, Where
from loadtest.circumstances import circumstances
from loadtest.clips import load_clips, some
from loadtest.generators import GeneratorFailed, Generators, TapePlan, start_generators
from loadtest.live import LiveTarget
from loadtest.live_result import Limits, LiveResult, summarise
from loadtest.open_loop import OpenResult, UnaryTarget, send_openly
from loadtest.search import PAUSE_S, find_most
from loadtest.servers import Cost, Meter

CARRIED, NOT_CARRIED, WRONG_USAGE, NOT_VALID, INTERRUPTED = 0, 1, 2, 3, 130
MS_A_S: Final = 1000
PERCENT: Final = 100

Figures = Mapping[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a load test; returns its exit code (see --help; 130 interrupted)."""
    options = arguments.parse(argv)
    # The figures themselves may go to standard output.
    console = Console(stderr=options.json == "-")
    around = {} if options.command in APART else circumstances(options.triton)
    try:
        code, figures = COMMANDS[options.command](options, console)
        if options.json:
            given = {key: value if _is_plain(value) else str(value) for key, value in vars(options).items()}
            with open_output(options.json) as stream:
                write_json({**around, "options": given, **figures}, stream)
    except (GeneratorFailed, BridgeFailed, TriageError, OSError, ValueError) as error:
        print(f"loadtest: {error or type(error).__name__}", file=sys.stderr)
        return WRONG_USAGE
    except KeyboardInterrupt:
        print("loadtest: interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str | list | dict)


def _live(options: argparse.Namespace, console: Console) -> tuple[int, Figures]:
    target = LiveTarget(
        options.address,
        hop_s=options.hop,
        model=options.model,
        channels=options.channels,
        drain_s=options.drain,
        root_certificates=arguments.root_certificates(options),
    )
    most = options.most if options.find else options.calls
    count, message_s = min(options.tapes, most), options.message_ms / MS_A_S
    plan = TapePlan(options.clips, count, options.seconds, message_s, options.transcripts, options.seed)
    costs: list[Cost] = []
    with start_generators(target, plan, options.processes) as generators:

        def measure(calls: int) -> LiveResult:
            result, cost = _measure(options, generators, calls)
            costs.append(cost)
            console.print(tables.live_panel(result, cost))
            return result

        if not options.find:
            result = measure(options.calls)
            return _code(result.is_valid, result.shortcomings), _live_figures(result, costs[0])
        found = find_most(measure, options.calls, options.most, options.limit)
    console.print(tables.search_panel(found))
    steps = [_live_figures(step, cost) for step, cost in zip(found.steps, costs, strict=True)]
    # At most one step found the generator late: the last.
    code = CARRIED if found.calls else _code(found.steps[-1].is_valid, found.steps[-1].shortcomings)
    return code, {"carried_calls": found.calls, "ended_by": found.ended_by, "steps": steps}


def _measure(options: argparse.Namespace, generators: Generators, calls: int) -> tuple[LiveResult, Cost]:
    meter = Meter(arguments.servers(options), generators.pids)
    readings = generators.hold(calls)
    cost = meter.stop()
    return summarise(readings, Limits(options.lag_limit, options.lateness_limit)), cost


def _live_figures(result: LiveResult, cost: Cost) -> Figures:
    each = cost.server_cpu_ms_per(result.audio_s)
    return {"result": result.to_dict(), "servers": cost.to_dict(), "server_cpu_ms_per_audio_s": each}


def _open(options: argparse.Namespace, console: Console) -> tuple[int, Figures]:
    target = UnaryTarget(options.address, options.deadline, options.channels, arguments.root_certificates(options))
    clips = some(load_clips(options.clips), options.seed)
    requests = [clip.request(options.model).SerializeToString() for clip in clips]
    results: list[OpenResult] = []
    costs: list[Cost] = []
    for rate in options.rates or [options.rate]:
        if results:
            time.sleep(PAUSE_S)
        meter = Meter(arguments.servers(options), [os.getpid()])
        run = send_openly(target, requests, rate, options.seconds, options.seed, options.lateness_limit)
        results.append(asyncio.run(run))
        costs.append(meter.stop())
    console.print(tables.open_panel(results, costs))
    steps = [_open_figures(each, cost) for each, cost in zip(results, costs, strict=True)]
    shortcomings = [reason for each in results for reason in each.shortcomings]
    return _code(all(each.is_valid for each in results), shortcomings), {"steps": steps}


def _open_figures(result: OpenResult, cost: Cost) -> Figures:
    each = cost.server_cpu_ms_per(result.calls)
    return {"result": result.to_dict(), "servers": cost.to_dict(), "server_cpu_ms_per_call": each}


def _lines(options: argparse.Namespace, console: Console) -> tuple[int, Figures]:
    from loadtest import lines, lines_tables  # they need more packages than load does

    plan = lines.Plan(options.clips, options.count, options.long, options.long_seconds, options.parallel, options.seed)
    compared = asyncio.run(lines.compare_lines(_where(options), arguments.root_certificates(options), plan))
    limits = lines_tables.Limits()
    results = [lines_tables.line_result(line, compared) for line in lines.LINES]
    found = lines_tables.shortcomings(results, compared, limits)
    _write(console, lines_tables.document(results, compared))
    console.print("differs: " + "; ".join(found) if found else "what arrives is what was sent")
    figures = {
        "lines": [each.to_dict() for each in results],
        "shortcomings": found,
        "recordings": [each.to_dict() for each in compared],
    }
    return _code(True, found), figures


def _loss(options: argparse.Namespace, console: Console) -> tuple[int, Figures]:
    from loadtest import loss  # as above

    rates = [rate / PERCENT for rate in options.rates]
    sweep = loss.Sweep(
        folder=options.clips,
        calls=options.calls,
        seconds=options.seconds,
        rates=rates,
        seeds=options.seeds,
        parallel=options.parallel,
        seed=options.seed,
        level=options.level,
    )
    results, held = asyncio.run(loss.sweep_loss(_where(options), arguments.root_certificates(options), sweep))
    _write(console, loss.loss_table(results, options.level))
    if not_judged := sum(each.not_judged for each in results):
        console.print(f"{not_judged} hops were not judged: the service was too slow")
    code = NOT_CARRIED if not_judged else CARRIED
    return code, {"results": [each.to_dict() for each in results], "calls": [each.to_dict() for each in held]}


def _where(options: argparse.Namespace) -> Where:
    return Where(options.address, options.model, options.tls_roots)


def _write(console: Console, text: str) -> None:
    """Markdown as it is: no folding, no colours."""
    print(text, file=console.file)


def _stages(options: argparse.Namespace, console: Console) -> tuple[int, Figures]:
    from loadtest import stages  # as above
    from loadtest.markdown import number, table
    from loadtest.tapes import mulaw_of
    from preprocess_service.contract import newest_version, read_contract
    from preprocess_service.model_spec import MULTIMODAL, model_spec

    spec = model_spec(options.model or MULTIMODAL.name)
    version = newest_version(options.repository, spec)
    if version is None:
        raise ValueError(f"{options.repository} holds no version of {spec.name}")
    contract = read_contract(options.repository / spec.name / str(version), spec)
    spoken = [(mulaw_of(clip.path), clip) for clip in some(load_clips(options.clips), options.seed)]
    costs = stages.measure(spoken, spec, contract, options.calls, options.seconds)
    rows = [(stages.STAGES[stage], number(cost)) for stage, cost in costs.items()]
    rows.append(("all of them", number(sum(costs.values()))))
    console.print(table(("stage", "ms of processor time a second of call audio"), rows), markup=False)
    return CARRIED, {"ms_a_second": costs, "model": f"{spec.name}/{version}"}


def _sizing(options: argparse.Namespace, console: Console) -> tuple[int, Figures]:
    from loadtest.sizing import command  # as above

    return command.run(options, partial(print, file=sys.stderr, flush=True), partial(_write, console))


def _report(options: argparse.Namespace, console: Console) -> tuple[int, Figures]:
    from loadtest.report.command import run  # as above
    from loadtest.report.measuring import NothingAnswered
    from loadtest.report.plan import plan_of
    from loadtest.report.starting import StartFailed

    plan = plan_of(quick=options.quick, rates=options.rates, rounds=options.rounds, live_calls=options.live_calls)
    try:
        findings = run(options, plan, lambda text: console.print(text, markup=False, soft_wrap=True))
    except (NothingAnswered, StartFailed) as error:
        raise ValueError(str(error)) from error
    is_held = findings.held_rate is not None and (findings.live is None or findings.live_carried is not None)
    return (CARRIED if is_held else NOT_CARRIED) if findings.is_valid else NOT_VALID, findings.to_dict()


def _compare(options: argparse.Namespace, console: Console) -> tuple[int, Figures]:
    from loadtest import regression, regression_table  # as above

    try:
        old, new = regression.read_document(options.old), regression.read_document(options.new)
        found = regression.compare(old, new, options.at_least / PERCENT)
    except regression.Incomparable as error:
        raise ValueError(str(error)) from error
    console.print(regression_table.panel(found))
    return NOT_CARRIED if found.is_worse else CARRIED, found.to_dict()


def _bench(options: argparse.Namespace, console: Console) -> tuple[int, Figures]:
    from loadtest.bench import command  # as above

    all_pass, document = command.run(options, partial(_write, console))
    return CARRIED if all_pass else NOT_CARRIED, document


def _tune(options: argparse.Namespace, console: Console) -> tuple[int, Figures]:
    from loadtest.tune.command import tune  # as above

    return tune(options, console)


# They say themselves under which circumstances their figures were measured.
APART: Final = frozenset({"bench", "compare", "report", "tune"})
COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace, Console], tuple[int, Figures]]]] = {
    "live": _live,
    "open": _open,
    "lines": _lines,
    "loss": _loss,
    "stages": _stages,
    "bench": _bench,
    "sizing": _sizing,
    "report": _report,
    "compare": _compare,
    "tune": _tune,
}


def _code(is_valid: bool, shortcomings: Sequence[str]) -> int:
    if not is_valid:
        return NOT_VALID
    return NOT_CARRIED if shortcomings else CARRIED


if __name__ == "__main__":
    sys.exit(main())
