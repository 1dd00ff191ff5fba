"""`wigeup bridge`."""

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.text import Text

from client.bridges.calls import Bridge
from client.bridges.runner import Runner, RunnerSettings
from client.command import arguments, machine, options
from client.command.plan import connect


def bridge(args: argparse.Namespace) -> int:
    """Judges the calls that come in until SIGTERM or SIGINT; writes JSON lines. Raises OSError, ValueError."""
    asyncio.run(_serve(args))
    return 0


async def _serve(args: argparse.Namespace) -> None:
    module = arguments.protocol_module(args.protocol)
    settings = RunnerSettings(
        model=args.model,
        model_version=args.model_version,
        priority=options.priority(args),
        hop_s=args.hop,
        max_calls=args.max_calls,
        updates=args.updates,
    )
    stop = asyncio.Event()
    with _set_by_signals(stop):
        async with connect(args) as client:
            opened: Bridge = await module.open_bridge(module.options_from(args))
            Console(stderr=True, soft_wrap=True).print(Text(f"{args.protocol} bridge on {opened.address}"))
            await Runner(client, settings, _write).run(opened, stop)


def _write(document: Mapping[str, object]) -> None:
    machine.write_json(document)


@contextlib.contextmanager
def _set_by_signals(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = () if sys.platform == "win32" else (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
