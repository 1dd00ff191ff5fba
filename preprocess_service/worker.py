"""One worker of a service that has several: `python -m preprocess_service.worker NUMBER LINE SHELF`, by its supervisor.

LINE and SHELF are files that it inherits: a socket to the supervisor, and what all workers know of loaded models.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

from preprocess_service import logs, threads


def main(number: int, line: int, shelf: int) -> int:
    """0 after a clean stop, 2 where the service cannot start as it is set up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the supervisor too, which stops all workers in order
    threads.keep_libraries_single()
    from preprocess_service.line import Line
    from preprocess_service.server import run
    from preprocess_service.settings import read_settings
    from preprocess_service.shelf import Shelf

    settings = read_settings()
    logs.set_up(settings.log_level, number)
    shared = Shelf(shelf)
    os.close(shelf)
    return run(settings.of_one_worker(), shared, Line(socket.socket(fileno=line)))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
