"""The supervisor of a service with several workers: it keeps the port, starts them, and starts anew those that die.

Workers are programs of their own, not forks: neither gRPC nor a Java virtual machine outlives a fork. The supervisor
answers no calls and loads neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Sequence
from typing import Final

from preprocess_service.line import CHECKED, GO, LISTENING, WARM
from preprocess_service.ports import CannotListen, reserved
from preprocess_service.settings import PREFIX, Settings
from preprocess_service.shelf import Shelf

logger = logging.getLogger(__name__)

WORKER: Final = (sys.executable, "-m", "preprocess_service.worker")
FIRST_PAUSE_S: Final = 1.0  # before a worker is started anew; twice as long each time that it soon dies again
LONGEST_PAUSE_S: Final = 60.0
STEADY_S: Final = 60.0  # a worker that has lived so long begins with the first pause
STOP_MARGIN_S: Final = 15.0  # over `shutdown_grace_s`, for what a worker does around it
FAILED: Final = 1
REFUSED: Final = 2


async def supervise(settings: Settings) -> int:
    """Serves until SIGTERM or SIGINT, then lets requests under way end.

    Returns 0; 2 where the port is taken; the exit code of a worker that cannot start as the service is set up; 1 where
    one had to be killed.
    """
    try:
        with reserved(settings.host, settings.port) as port:
            shelf = Shelf()
            try:
                return await Supervisor(settings, port, shelf).run()
            finally:
                shelf.close()
    except CannotListen as error:
        logger.critical("cannot start", extra={"reason": str(error)})
        return REFUSED


class Supervisor:
    """Workers by number, each with a task that sees to it that there is one."""

    def __init__(self, settings: Settings, port: int, shelf: Shelf, command: Sequence[str] = WORKER) -> None:
        """`command` starts a worker; its number and the files that it inherits follow (preprocess_service.worker)."""
        self._settings, self._shelf, self._command = settings, shelf, command
        self._environment = os.environ | {f"{PREFIX}PORT": str(port)}
        self._stop = asyncio.Event()
        self._is_sound = asyncio.Event()  # one worker has found that it can serve, or all are to stop
        self._code = 0
        self._cold = set(range(1, settings.workers + 1))  # have not yet warmed up for the first time
        self._all_warm = asyncio.Event()
        self._have_listened: set[int] = set()

    async def run(self) -> int:
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, self._stop_all)
        async with asyncio.TaskGroup() as group:
            first, *others = sorted(self._cold)
            group.create_task(self._keep(first))
            await self._is_sound.wait()  # so that what speaks against it is told once
            for number in others:
                group.create_task(self._keep(number))
        if not self._code:
            logger.info("stopped")
        return self._code

    def _stop_all(self) -> None:
        self._stop.set()
        self._is_sound.set()

    async def _keep(self, number: int) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stop.is_set():
            began = time.monotonic()
            code = await self._live(number)
            if self._stop.is_set():
                return
            if number not in self._have_listened:
                if code != REFUSED:  # of which the worker has told the reason itself
                    logger.critical("cannot start", extra={"worker": number, "reason": _how_it_ended(code)})
                self._code = code if code > 0 else FAILED
                self._stop_all()
                return
            if time.monotonic() - began >= STEADY_S:
                pause_s = FIRST_PAUSE_S
            reason = _how_it_ended(code)
            logger.error("worker ended", extra={"worker": number, "reason": reason, "starts_again_in_s": pause_s})
            await self._pause(pause_s)
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)

    async def _live(self, number: int) -> int:
        """One life of a worker; returns its exit code, negative for a signal."""
        here, there = socket.socketpair()
        with there:
            process = await self._start(number, there)
        reader, writer = await asyncio.open_unix_connection(sock=here)
        hearing = asyncio.create_task(self._hear(number, reader, writer))
        ending = asyncio.create_task(self._end(number, process))
        try:
            return await process.wait()
        finally:
            self._shelf.bury(process.pid)
            for task in (hearing, ending):
                task.cancel()
            writer.close()

    async def _start(self, number: int, line: socket.socket) -> Process:
        files = (line.fileno(), self._shelf.file)
        command = (*self._command, *map(str, (number, *files)))
        return await asyncio.create_subprocess_exec(
            *command, env=self._environment, pass_fds=files, stdin=asyncio.subprocess.DEVNULL
        )

    async def _hear(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):  # it has died; its exit code says more
            while heard := await reader.read(1):
                if heard == CHECKED:
                    self._is_sound.set()
                elif heard == WARM:
                    await self._are_all_warm(number)
                    writer.write(GO)
                elif heard == LISTENING:
                    self._have_listened.add(number)

    async def _are_all_warm(self, number: int) -> None:
        self._cold.discard(number)
        if not self._cold:
            self._all_warm.set()
        await self._all_warm.wait()

    async def _end(self, number: int, process: Process) -> None:
        """Ends the worker when all are to stop."""
        await self._stop.wait()
        _send(process, signal.SIGTERM)
        await asyncio.sleep(self._settings.shutdown_grace_s + STOP_MARGIN_S)
        logger.error("killed: it did not stop", extra={"worker": number})
        self._code = self._code or FAILED
        _send(process, signal.SIGKILL)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return


def _send(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        process.send_signal(number)


def _how_it_ended(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
