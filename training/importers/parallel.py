"""One function over very many files: threads, since the work waits for disks, a bounded queue, and a bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

BATCH: Final = 1024  # in flight; bounds the memory whatever the corpus' size

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(work: Callable[[Item], Result], items: Sequence[Item], workers: int, title: str) -> Iterator[Result]:
    """The result of `work` for each item, in order of items."""
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar, ThreadPoolExecutor(workers) as pool:
        task = bar.add_task(title, total=len(items))
        for start in range(0, len(items), BATCH):
            for result in pool.map(work, items[start : start + BATCH]):
                yield result
                bar.advance(task)
