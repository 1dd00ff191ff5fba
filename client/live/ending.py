"""How a stream ended, as its server said it."""

from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc

from client.errors import Metadata, TriageError, error_from_status

Value = TypeVar("Value")


class Ending:
    """Takes status, details and trailing metadata of an asyncio call down the moment they are there.

    Where a write fails a little later, because the server has ended the stream meanwhile, gRPC puts INTERNAL and no
    metadata in their place (grpc/grpc#36066): whoever asks the call itself then mistakes a full service for a broken
    one. A field is None until the call has ended.
    """

    def __init__(self, call: Any) -> None:
        """`call` is one of grpc.aio that has just been made."""
        self.status: grpc.StatusCode | None = None
        self.details = ""
        self._metadata: Metadata = None
        call.add_done_callback(self._note)

    def error(self) -> TriageError | None:
        """The client's error for it, None where the call has not ended or has ended well."""
        if self.status is None or self.status is grpc.StatusCode.OK:
            return None
        return error_from_status(self.status, self.details, self._metadata)

    def _note(self, call: Any) -> None:
        if self.status is None:
            self.status, self.details = _at_once(call.code()), _at_once(call.details()) or ""
            self._metadata = _at_once(call.trailing_metadata())


def _at_once(waiting: Coroutine[Any, Any, Value]) -> Value:
    """The value of a coroutine that has nothing to wait for."""
    try:
        waiting.send(None)
    except StopIteration as end:
        value: Value = end.value
        return value
    waiting.close()
    raise RuntimeError("gRPC has told that a call has ended before it has its status")
