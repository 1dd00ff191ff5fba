"""`python -m preprocess_service`: the gRPC service; settings come from WIGEUP_* variables."""

from __future__ import annotations

import asyncio
import logging
import sys

from preprocess_service import logs
from preprocess_service.contract import ContractMismatch
from preprocess_service.server import CannotListen, serve
from preprocess_service.settings import read_settings


def main() -> int:
    """0 after a clean stop, 2 where the service cannot start as it is set up."""
    try:
        settings = read_settings()
    except ValueError as error:
        print(f"wigeup service: {error}", file=sys.stderr)
        return 2
    logs.set_up(settings.log_level)
    try:
        asyncio.run(serve(settings))
    except (ContractMismatch, CannotListen) as error:
        logging.getLogger("preprocess_service").critical("cannot start", extra={"reason": str(error)})
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
