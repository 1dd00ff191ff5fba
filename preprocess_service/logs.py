"""Logs as JSON lines, each with the id of the call that it is about; never audio, never text."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final

LONGEST_CALL_ID: Final = 128
_json: Final = json.JSONEncoder(ensure_ascii=False, default=str)  # `json.dumps` would make one for every line
_call_id: Final[ContextVar[str]] = ContextVar("call_id", default="")
# What every LogRecord has; the rest came through `extra`.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a record; with the number of the worker where a service has several."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "call_id": _call_id.get(),
            **self._worker,
        }
        line.update({key: value for key, value in vars(record).items() if key not in _STANDARD})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _json.encode(line)


@contextmanager
def call_id_in_logs(call_id: str) -> Iterator[None]:
    """Log lines of this task carry that id meanwhile; one that breaks the rules is left out."""
    fits = len(call_id) <= LONGEST_CALL_ID and call_id.isascii() and call_id.isprintable()
    token = _call_id.set(call_id if fits else "")
    try:
        yield
    finally:
        _call_id.reset(token)


def set_up(level: str, worker: int | None = None) -> None:
    """Sends all logs to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(worker))
    logging.basicConfig(level=level, handlers=[handler], force=True)
