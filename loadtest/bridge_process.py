"""A `wigeup bridge` of its own process, and what it writes of its calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from client.bridges.websocket.options import TOKEN_VARIABLE
from loadtest.circumstances import ROOT
from loadtest.comparison import Heard, heard_of

STARTING_LIMIT_S: Final = 180.0
STOPPING_LIMIT_S: Final = 30.0
LONGEST_LINE_BYTES: Final = 1 << 24
_LISTENING = re.compile(r"bridge on (\S+)$")


class BridgeFailed(RuntimeError):
    """A bridge did not start, ended early, or could not hold a call; the message tells which and why."""


@dataclass(frozen=True, slots=True)
class Where:
    """The service that a bridge connects to, and the model that it asks."""

    address: str
    model: str = ""
    tls_roots: Path | None = None

    def options(self) -> list[str]:
        """As `wigeup` takes them."""
        tls = [] if self.tls_roots is None else ["--tls-roots", str(self.tls_roots)]
        return ["--address", self.address, "--model", self.model, *tls]


class BridgeProcess:
    """A bridge that runs; made by `running_bridge`."""

    def __init__(self, process: asyncio.subprocess.Process, protocol: str) -> None:
        self._process, self._protocol = process, protocol
        self.address = ""
        self._updates: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self._ended: dict[str, dict[str, Any]] = {}
        self._news = asyncio.Condition()
        self._has_stopped = False
        self._last_words: deque[str] = deque(maxlen=10)

    async def heard(self, call_id: str, limit_s: float) -> Heard:
        """All of a call, once it has ended; raises BridgeFailed, or TimeoutError after the limit."""
        async with asyncio.timeout(limit_s), self._news:
            await self._news.wait_for(lambda: call_id in self._ended or self._has_stopped)
        ended = self._ended.pop(call_id, None)
        if ended is None:
            raise BridgeFailed(f"the {self._protocol} bridge stopped: {' '.join(self._last_words)}")
        if ended["summary"] is None or "broken" in ended:
            raise BridgeFailed(f"{self._protocol} call {call_id}: {ended.get('error') or ended.get('broken')}")
        return heard_of(self._updates.pop(call_id, []), ended["summary"], ended["counts"])

    async def read_lines(self) -> None:
        """Takes in what the bridge writes, to its end."""
        assert self._process.stdout is not None  # noqa: S101 - narrows the type: it is a pipe
        async for line in self._process.stdout:
            event = json.loads(line)
            async with self._news:
                if event["event"] == "update":
                    self._updates[event["call_id"]].append(event["update"])
                elif event["event"] == "call_ended":
                    self._ended[event["call_id"]] = event
                self._news.notify_all()
        async with self._news:
            self._has_stopped = True
            self._news.notify_all()

    async def read_words(self) -> None:
        """Takes in where it listens, and what it complains of."""
        assert self._process.stderr is not None  # noqa: S101 - as above
        async for line in self._process.stderr:
            words = line.decode(errors="replace").rstrip()
            self._last_words.append(words)
            if found := _LISTENING.search(words):
                async with self._news:
                    self.address = found[1]
                    self._news.notify_all()

    async def wait_until_listening(self) -> None:
        """Raises BridgeFailed if it does not."""
        try:
            async with asyncio.timeout(STARTING_LIMIT_S), self._news:
                await self._news.wait_for(lambda: self.address or self._has_stopped)
        except TimeoutError:
            raise BridgeFailed(f"the {self._protocol} bridge did not listen in {STARTING_LIMIT_S:g} s") from None
        if not self.address:
            raise BridgeFailed(f"the {self._protocol} bridge did not start: {' '.join(self._last_words)}")


@contextlib.asynccontextmanager
async def running_bridge(protocol: str, where: Where, options: Sequence[str] = ()) -> AsyncIterator[BridgeProcess]:
    """A bridge on a free loopback port; it is stopped by SIGTERM. Raises BridgeFailed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "client", "bridge", protocol, "--listen", "127.0.0.1:0", "--updates"),
        *(*where.options(), *options),
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE_BYTES,
    )
    bridge = BridgeProcess(process, protocol)
    reading = [asyncio.create_task(bridge.read_lines()), asyncio.create_task(bridge.read_words())]
    try:
        await bridge.wait_until_listening()
        yield bridge
    finally:
        await _stop(process)
        await asyncio.gather(*reading, return_exceptions=True)


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        process.terminate()
    try:
        async with asyncio.timeout(STOPPING_LIMIT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
