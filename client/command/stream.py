"""`wigeup stream`."""

import argparse
import asyncio
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from rich.console import Console

from client.bridges.calls import Transcript
from client.command import machine, options
from client.command.live_view import Lines, Screen
from client.command.plan import connect
from client.command.sources import PIECE_S, Source, open_source
from client.command.spoken import spread
from client.live.call import LiveCall
from client.live.options import DEFAULT_HOP_S, LiveOptions
from client.live.pulling import pulled
from client.recordings import read_sidecar, read_transcript
from client.results import CallSummary, CallUpdate

INTERRUPTED = 130
# A recording that is sent faster than it was spoken must not run far ahead of what has been judged.
AHEAD_S = 2.0


class Reporter(Protocol):
    """Whoever is told how the call goes."""

    def monitored(self, monitored: bool, reason: str) -> None: ...

    def update(self, update: CallUpdate) -> None: ...

    def summary(self, summary: CallSummary) -> None: ...


class JsonLines:
    """One object an update, one a change of who watches, and one summary."""

    def monitored(self, monitored: bool, reason: str) -> None:
        machine.write_json({"event": "monitored" if monitored else "not_monitored", "reason": reason})

    def update(self, update: CallUpdate) -> None:
        machine.write_json({"event": "update", **update.to_dict()})

    def summary(self, summary: CallSummary) -> None:
        machine.write_json({"event": "summary", **summary.to_dict()})


def stream(args: argparse.Namespace) -> int:
    """Plays one call to the service; raises UsageError, TriageError, OSError and ValueError."""
    source = open_source(args)
    words = spread(_transcript(args), source.duration_s) if source.duration_s is not None else []
    with _reporter(args) as reporter:
        was_stopped = asyncio.run(_hold(args, source, words, reporter))
    return INTERRUPTED if was_stopped and not source.is_live else 0


def _transcript(args: argparse.Namespace) -> str:
    if args.sidecar_transcripts:
        return read_sidecar(Path(args.source))
    return read_transcript(args.transcript_file) if args.transcript_file is not None else args.transcript or ""


@contextlib.contextmanager
def _reporter(args: argparse.Namespace) -> Iterator[Reporter]:
    if args.json:
        yield JsonLines()
        return
    console = Console(soft_wrap=True)
    view = Screen(args.source, Console()) if console.is_terminal else Lines(args.source, console)
    with view as reporter:
        yield reporter


async def _hold(args: argparse.Namespace, source: Source, words: list[Transcript], reporter: Reporter) -> bool:
    """Plays the call to its end or to an interruption, and reports; returns whether it was interrupted."""
    speed = 0.0 if source.is_live else 1.0 if args.speed is None else args.speed
    async with connect(args) as client:
        call = client.live_call(
            format=source.format,
            call_id=args.call_id,
            model=args.model,
            model_version=args.model_version,
            priority=options.priority(args),
            hop_s=args.hop,
            options=LiveOptions(
                reconnect_s=args.give_up,
                buffer_s=LiveOptions().buffer_s if speed or source.is_live else (args.hop or DEFAULT_HOP_S) + AHEAD_S,
            ),
            on_monitored=reporter.monitored,
        )
        async with call:
            reporting = asyncio.create_task(_report(call, reporter))
            try:
                was_stopped = await _until_over(asyncio.create_task(_play(source, words, call, speed)), reporting)
                summary = await call.finish()
                await reporting
            finally:
                reporting.cancel()
                await asyncio.gather(reporting, return_exceptions=True)
    reporter.summary(summary)
    return was_stopped


async def _until_over(playing: "asyncio.Task[None]", reporting: "asyncio.Task[None]") -> bool:
    """Waits until all is sent, the call has failed or Ctrl-C was pressed; returns whether it was that."""
    with _cancelled_by_interrupt(playing):
        try:
            await asyncio.wait({playing, reporting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            has_failed = reporting.done()
            playing.cancel()
    await asyncio.wait({playing})
    if playing.cancelled():
        return not has_failed
    if not has_failed:
        playing.result()
    return False


async def _report(call: LiveCall, reporter: Reporter) -> None:
    async for update in call:
        reporter.update(update)


async def _play(source: Source, words: list[Transcript], call: LiveCall, speed: float) -> None:
    """Sends the pieces, each when it has been spoken, and the words likewise."""
    clock = asyncio.get_running_loop().time
    began, spoken_s = clock(), 0.0
    waiting = iter(words)
    word = next(waiting, None)
    async for piece in pulled(source.pieces):
        await call.send_audio(piece)
        spoken_s += PIECE_S
        while word is not None and word.end_s <= spoken_s:
            call.send_transcript(word)
            word = next(waiting, None)
        if speed:
            await asyncio.sleep(max(0.0, began + spoken_s / speed - clock()))
    while word is not None:
        call.send_transcript(word)
        word = next(waiting, None)


@contextlib.contextmanager
def _cancelled_by_interrupt(task: "asyncio.Task[None]") -> Iterator[None]:
    """Ctrl-C ends the task instead of the process, where the loop can do that."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        yield
    finally:
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.remove_signal_handler(signal.SIGINT)
