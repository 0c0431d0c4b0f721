"""Say where the lines of chunks stand in their files.

A row of a run over chunks is known by a number of 64 bits: the chunk in the upper half, and the line, counted
from 1 in the chunk, in the lower one. So numbers have the order of the rows.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dataprep.core.errors import Location

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataprep.core.io import Block

CHUNK_BITS = np.uint64(32)
LINE = np.uint64((1 << 32) - 1)


def row_numbers(chunk: int, lines: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Return the numbers of rows at lines of a chunk."""
    return (np.uint64(chunk) << CHUNK_BITS) | lines.astype(np.uint64)


class Places:
    """The places of the lines of chunks, which are added in order.

    Attributes:
        paths: the files, in the order in which they are read. One that is read twice is there twice.
        units: the unit by which the rows of each are counted.
        chunks: number of chunks.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.units: list[Literal["line", "row"]] = []
        self.chunks = 0
        # Of each part of a chunk that is of one file: the number of its first row, its file, and the lines
        # of the file before it.
        self._numbers, self._files, self._before = array("Q"), array("L"), array("Q")

    def add(self, parts: Sequence[tuple[Block, int, int]]) -> None:
        """Add the next chunk.

        Args:
            parts: blocks, the number of their lines, and how many lines of their file precede them.
        """
        line = 1
        for block, lines, before in parts:
            if block.first:
                self.paths.append(block.path)
                self.units.append(block.unit)
            self._numbers.append((self.chunks << 32) | line)
            self._files.append(len(self.paths) - 1)
            self._before.append(before)
            line += lines
        self.chunks += 1

    def of(self, rows: NDArray[np.uint64]) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
        """Return the number of the file, and the line in it, of each row."""
        first = np.frombuffer(self._numbers, np.uint64)
        parts = np.searchsorted(first, rows, side="right") - 1
        files = np.frombuffer(self._files, f"u{self._files.itemsize}")[parts].astype(np.uint32)
        return files, np.frombuffer(self._before, np.uint64)[parts] + (rows - first[parts]) + np.uint64(1)

    def location(self, row: Any) -> Location:
        """Return where a row stands."""
        files, lines = self.of(np.array([row], np.uint64))
        return Location(self.paths[int(files[0])], int(lines[0]), self.units[int(files[0])])

    def starts(self, chunk: int) -> list[tuple[int, int, int]]:
        """Return the parts of a chunk: lines of it before, the file, and lines of the file before."""
        first = np.frombuffer(self._numbers, np.uint64)
        begin, end = np.searchsorted(first, np.array([chunk << 32, (chunk + 1) << 32], np.uint64))
        return [
            (int(self._numbers[at] & 0xFFFFFFFF) - 1, self._files[at], self._before[at])
            for at in range(begin, end)
        ]
