"""Numbered items in their order, whatever the order in which they come."""

import heapq
import itertools
from collections import Counter
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

FIRST_NUMBER: Final = 1
# So many late items in a row: the sender has begun to count anew.
LATE_ITEMS: Final = 25


class Reorder(Generic[Item]):
    """Holds back at most `room` items while one before them is missing. Counts `late_messages`."""

    def __init__(self, room: int, counts: Counter[str]) -> None:
        self._room, self._counts = room, counts
        self._held: list[tuple[int, int, Item]] = []
        self._arrivals = itertools.count()  # so that items of the same number are never compared
        self._next = FIRST_NUMBER
        self._late_in_a_row = 0

    def add(self, number: int | None, item: Item) -> list[tuple[Item, bool]]:
        """Takes an item; returns what is due, each with whether items are missing before it.

        One without a number is due at once; one whose turn has passed is dropped.
        """
        if number is None:
            return [(item, False)]
        if number < self._next:
            self._late_in_a_row += 1
            if self._late_in_a_row < LATE_ITEMS:
                self._counts["late_messages"] += 1
                return []
            self._next = number
        self._late_in_a_row = 0
        heapq.heappush(self._held, (number, next(self._arrivals), item))
        return self._due(self._room)

    def flush(self) -> list[tuple[Item, bool]]:
        """All that is held back."""
        return self._due(0)

    def _due(self, room: int) -> list[tuple[Item, bool]]:
        due = []
        while self._held and (self._held[0][0] <= self._next or len(self._held) > room):
            number, _, item = heapq.heappop(self._held)
            if number < self._next:
                self._counts["late_messages"] += 1
                continue
            due.append((item, number > self._next))
            self._next = number + 1
        return due
