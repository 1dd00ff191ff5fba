"""The command `wigeup`."""

import argparse
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from client.command import arguments, machine
from client.command.bridge import bridge
from client.command.classify import classify
from client.command.plan import UsageError
from client.command.service import health, models
from client.command.stream import stream
from client.errors import TriageError

COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "classify": classify,
    "stream": stream,
    "bridge": bridge,
    "models": models,
    "health": health,
}
FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0 fine, 1 file or service error, 2 usage, 130 interrupted."""
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):  # a file name that is no text must not end the run
            output.reconfigure(errors="backslashreplace")
    try:
        args = arguments.parse(argv)
    except SystemExit as end:  # argparse has written its message
        return end.code if isinstance(end.code, int) else WRONG_USAGE
    try:
        return COMMANDS[args.command](args)
    except UsageError as error:
        return _fail(str(error), WRONG_USAGE)
    except TriageError as error:
        if args.json:
            machine.write_json({"error": error.to_dict()})
        return _fail(f"{args.address}: {error.status.name}: {error.message}", FAILED)
    except BrokenPipeError:  # the reader of standard output has gone: nothing is left to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (OSError, ValueError) as error:
        return _fail(str(error), FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)


def _fail(message: str, code: int) -> int:
    print(f"wigeup: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
