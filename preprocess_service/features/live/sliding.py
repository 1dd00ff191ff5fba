"""The newest columns of an array that grows at its end and is forgotten at its beginning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Sliding:
    """At least the newest `kept` columns (rows, columns) float32; positions count from the first column ever.

    Any stretch that is kept is one slice, without a copy. Memory is fixed: 4 * rows * (kept + slack) bytes.
    """

    def __init__(self, rows: int, kept: int, slack: int) -> None:
        """Every `slack` columns what is kept moves to the front; no more may be added at once."""
        self._columns = np.zeros((rows, kept + slack), np.float32)
        self._kept, self._first, self._filled = kept, 0, 0

    @property
    def begin(self) -> int:
        """The position of the oldest column that is kept."""
        return self._first

    @property
    def end(self) -> int:
        """The position after the newest column."""
        return self._first + self._filled

    @property
    def memory_bytes(self) -> int:
        return self._columns.nbytes

    def append(self, columns: NDArray[np.float32]) -> None:
        """Adds columns (rows, n)."""
        count = columns.shape[1]
        if self._filled + count > self._columns.shape[1]:
            gone = self._filled - min(self._filled, self._kept)
            self._columns[:, : self._filled - gone] = self._columns[:, gone : self._filled].copy()
            self._first += gone
            self._filled -= gone
        self._columns[:, self._filled : self._filled + count] = columns
        self._filled += count

    def view(self, begin: int, end: int) -> NDArray[np.float32]:
        """The columns of the positions [begin, end), which must be kept still."""
        return self._columns[:, begin - self._first : end - self._first]
