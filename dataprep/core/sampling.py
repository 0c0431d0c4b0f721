"""Take a uniform sample of a stream."""

from __future__ import annotations

import random
from typing import Generic, TypeVar

T = TypeVar("T")


class Reservoir(Generic[T]):
    """Keep a uniform sample of ``size`` rows from a stream of unknown length.

    Attributes:
        size: number of rows to keep.
        rows: the sample so far.
        seen: number of rows offered so far.
    """

    # Algorithm R (Vitter 1985, "Random sampling with a reservoir"): keep the first `size` rows. For each
    # further row i, counted from 1, draw j = generator.randrange(i) from generator = random.Random(seed), and
    # replace row j if j < size. The draws are part of the public behaviour: a seed must keep giving the same
    # rows.

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.rows: list[T] = []
        self.seen = 0
        self._draw = random.Random(seed).randrange

    def add(self, row: T) -> None:
        """Offer the next row of the stream."""
        self.seen += 1
        if len(self.rows) < self.size:
            self.rows.append(row)
        elif (place := self._draw(self.seen)) < self.size:
            self.rows[place] = row
