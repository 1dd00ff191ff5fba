"""What every kind of Locust user needs: gRPC told of gevent, the shared options, an exit code for a run of nothing."""

# ruff: noqa: E402 - gRPC must be told of gevent before anything opens a channel

import grpc.experimental.gevent as grpc_gevent

grpc_gevent.init_gevent()  # without it one blocking call stops all users

import logging
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import gevent  # type: ignore[import-untyped]
from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from client.channel import DEFAULT_DEADLINE_S
from client.errors import TriageError
from loadtest.clips import Clip, load_clips, some

logger = logging.getLogger(__name__)


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: LocustArgumentParser) -> None:
    """The shared options, each also an environment variable."""
    add_option(parser, "--clips", "WIGEUP_CLIPS", "data/synthetic", "recordings")
    add_option(parser, "--model", "WIGEUP_MODEL", "", "default: the service's own")
    help_text = f"seconds that one call may take (default {DEFAULT_DEADLINE_S:g})"
    add_option(parser, "--deadline", "WIGEUP_DEADLINE_S", DEFAULT_DEADLINE_S, help_text)


def add_option(parser: LocustArgumentParser, name: str, variable: str, default: str | float, help_text: str) -> None:
    """One option and its environment variable; it has the type of its default."""
    kind = type(default)
    parser.add_argument(name, env_var=variable, default=default, type=kind, include_in_web_ui=False, help=help_text)


def on_start(prepare: Callable[[Namespace, list[Clip]], None]) -> None:
    """Has `prepare` called once, before the users, with the options and the recordings.

    The process ends with code 2 if that raises OSError, ValueError or TriageError, or if there are no recordings.
    """

    def start(environment: Environment, **_: object) -> None:
        options = environment.parsed_options
        if options is None or isinstance(environment.runner, MasterRunner):  # a master sends nothing itself
            return
        try:
            clips = some(load_clips(Path(options.clips)))
            prepare(options, clips)
        except (OSError, ValueError, TriageError):
            logger.exception("no recordings to send")
            sys.exit(2)
        # Gevent's clock stands still while nothing else runs, and `--run-time` would count from before the preparation.
        gevent.get_hub().loop.update_now()
        logger.info("%d recordings from %s", len(clips), options.clips)

    events.init.add_listener(start)  # type: ignore[no-untyped-call]


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def fail_without_calls(environment: Environment, **_: object) -> None:
    """A run that measured nothing has not passed; a worker hands what it measured to its master, who judges."""
    if isinstance(environment.runner, WorkerRunner):
        return
    if environment.stats.total.num_requests == 0:
        logger.error("no call was made")
        environment.process_exit_code = 1
