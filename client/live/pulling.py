"""A blocking iterator read by asyncio: a microphone, a pipe, a caller's own generator."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")
MOST_AHEAD = 16  # items that the thread reads before they are asked for


class _End:
    """What the thread puts last."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


async def pulled(items: Iterable[Item]) -> AsyncIterator[Item]:
    """The items, read in a thread of their own; raises what the iterator raises.

    The thread is a daemon: one that blocks for ever, on a pipe say, keeps neither the event loop nor the process.
    """
    puller = _Puller(items)
    threading.Thread(target=puller.run, name="pulled", daemon=True).start()
    try:
        while not isinstance(item := await puller.queue.get(), _End):
            yield item
            puller.slots.release()
        if item.error is not None:
            raise item.error
    finally:
        puller.is_stopped = True
        puller.slots.release()


class _Puller(Generic[Item]):
    def __init__(self, items: Iterable[Item]) -> None:
        self._items, self._loop = items, asyncio.get_running_loop()
        self.queue: asyncio.Queue[Item | _End] = asyncio.Queue()
        self.slots = threading.Semaphore(MOST_AHEAD)
        self.is_stopped = False

    def run(self) -> None:
        """Reads to the end, or until nobody wants any more."""
        error: BaseException | None = None
        try:
            for item in self._items:
                self.slots.acquire()
                if self.is_stopped:
                    return
                self._put(item)
        except BaseException as caught:  # whoever reads the items gets it
            error = caught
        self._put(_End(error))

    def _put(self, item: Item | _End) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self.queue.put_nowait, item)
