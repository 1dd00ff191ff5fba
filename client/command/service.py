"""`wigeup models` and `wigeup health`."""

import argparse
import asyncio

from rich.console import Console
from rich.text import Text

from client.command import machine, panels
from client.command.plan import connect
from client.results import Health, ModelInfo


def models(args: argparse.Namespace) -> int:
    """Lists the models; raises TriageError."""
    found = asyncio.run(_models(args))
    if args.json:
        machine.write_json({"models": [model.to_dict() for model in found]})
    else:
        Console().print(panels.model_list(found))
    return 0


def health(args: argparse.Namespace) -> int:
    """Shows the service's status; 0 if it takes calls, else 1. Raises TriageError."""
    found = asyncio.run(_health(args))
    if args.json:
        machine.write_json({"address": args.address, **found.to_dict(), "serving": found.serving})
    else:
        style = panels.CALM if found.serving else panels.ALARM
        Console().print(Text.assemble(f"{args.address} ", (found.status, style)))
    return 0 if found.serving else 1


async def _models(args: argparse.Namespace) -> tuple[ModelInfo, ...]:
    async with connect(args) as client:
        return await client.list_models()


async def _health(args: argparse.Namespace) -> Health:
    async with connect(args) as client:
        return await client.health(args.service)
