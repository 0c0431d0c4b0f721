"""Find lines in a file by number, with little memory.

The index knows where every 256th line begins, and the first line in each piece that was read. So a block,
the lines from one known place to the next, has at most 256 lines, which all begin within one piece.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from threading import Lock
from typing import NamedTuple

STRIDE = 256
PIECE = 1 << 20
"""Most bytes of a piece that an index is given."""


class Lines(NamedTuple):
    """A block: some lines of a file that follow one another.

    Attributes:
        number: the number of the first line, counted from 1.
        size: number of lines.
        begin: offset of the first byte.
        end: offset after the last byte.
    """

    number: int
    size: int
    begin: int
    end: int


class Extent(NamedTuple):
    """The end of an index at a moment, which stays true while the file is indexed further.

    Attributes:
        lines: number of lines.
        end: offset after the last one.
        known: number of places that are known.
    """

    lines: int
    end: int
    known: int


class LineIndex:
    """Where the lines of a file begin; one thread feeds it the bytes, others ask.

    Args:
        begin: offset of the first line, behind a byte order mark.

    Attributes:
        size: offset up to which the file was read.
    """

    # Two numbers for a block: about a megabyte of memory for a file of 5 GB.

    def __init__(self, begin: int = 0) -> None:
        self.size = begin
        self._newlines = 0
        self._numbers = array("q", [1])
        self._offsets = array("q", [begin])
        self._last = begin  # where the last line begins, which may lack its newline
        self._lock = Lock()

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the file, at most ``PIECE`` of them."""
        import numpy as np

        assert len(piece) <= PIECE
        ends = np.flatnonzero(np.frombuffer(piece, dtype=np.uint8) == ord("\n"))
        with self._lock:
            if ends.size:
                starts = ends.astype(np.int64) + (1 + self.size)
                numbers = np.arange(self._newlines + 2, self._newlines + 2 + ends.size, dtype=np.int64)
                known = numbers % STRIDE == 1
                known[0] = True
                self._numbers.frombytes(numbers[known].tobytes())
                self._offsets.frombytes(starts[known].tobytes())
                self._newlines += int(ends.size)
                self._last = int(starts[-1])
            self.size += len(piece)

    def extent(self, *, whole: bool) -> Extent:
        """Return how far the index goes; the last line of a ``whole`` file may lack its newline."""
        with self._lock:
            lines, end = self._newlines, self._last
            if whole and self._last < self.size:
                lines, end = lines + 1, self.size
            return Extent(lines, end, len(self._numbers))

    def block(self, number: int, extent: Extent) -> Lines | None:
        """Return the block with a line; ``None`` if the file, as far as an extent goes, has no such line."""
        if not 1 <= number <= extent.lines:
            return None
        with self._lock:
            place = bisect_right(self._numbers, number, hi=extent.known) - 1
            first, begin = self._numbers[place], self._offsets[place]
            after, end = extent.lines + 1, extent.end
            if place + 1 < extent.known and self._numbers[place + 1] < after:
                after, end = self._numbers[place + 1], self._offsets[place + 1]
            return Lines(first, after - first, begin, end)
