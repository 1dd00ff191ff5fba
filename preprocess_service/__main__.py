"""`python -m preprocess_service`: the gRPC service; settings come from WIGEUP_* variables."""

from __future__ import annotations

import asyncio
import sys

from preprocess_service import logs, threads


def main() -> int:
    """0 after a clean stop, 2 where the service cannot start as it is set up."""
    threads.keep_libraries_single()
    from preprocess_service.settings import read_settings

    try:
        settings = read_settings()
    except ValueError as error:
        print(f"wigeup service: {error}", file=sys.stderr)
        return 2
    logs.set_up(settings.log_level)
    if settings.workers > 1:
        from preprocess_service.workers import supervise

        return asyncio.run(supervise(settings))

    from preprocess_service.server import run
    from preprocess_service.shelf import Shelf

    return run(settings, Shelf())


if __name__ == "__main__":
    sys.exit(main())
