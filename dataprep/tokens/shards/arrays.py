"""Arrays of token shards in files, whose parts are read when they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from dataprep.core.io import FileBytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AT_ONCE = 1 << 16  # documents whose lengths are looked at together
# Tokens that are gathered at a time. Small, because the system maps 16 pages around each document that is
# touched, and they stay in memory until the chunk is done.
CHUNK_TOKENS = 1 << 16


class Array:
    """An array in a file. Its parts are read when they are needed, and are copies."""

    # A mapped array would end the process with SIGBUS if its file was cut meanwhile.

    def __init__(self, data: FileBytes, dtype: str) -> None:
        self.dtype = np.dtype(dtype)
        self.size = len(data) // self.dtype.itemsize
        self._data = data

    def __getitem__(self, part: slice) -> NDArray[Any]:
        begin, end, width = part.start, part.stop, self.dtype.itemsize
        return np.frombuffer(self._data[begin * width : end * width], dtype=self.dtype)

    def at(self, index: int) -> int:
        """Return one number."""
        return int(self[index : index + 1][0])

    def parts(self, overlap: int = 0) -> Iterator[NDArray[Any]]:
        """Yield all numbers a part at a time; each part repeats the last ``overlap`` of the one before."""
        for begin in range(0, self.size - overlap, _AT_ONCE):
            yield self[begin : min(begin + _AT_ONCE + overlap, self.size)]

    def largest(self) -> int:
        """Return the largest number; -1 without numbers."""
        return max((int(part.max()) for part in self.parts()), default=-1)

    def rises_to(self, end: int) -> bool:
        """Return whether the numbers rise from 0 to the end."""
        if not self.size or self.at(0) != 0 or self.at(self.size - 1) != end:
            return False
        return all((part[:-1] <= part[1:]).all() for part in self.parts(overlap=1))


@dataclass(frozen=True, slots=True)
class Arrays:
    """The arrays of one shard."""

    ids: Array
    mask: Array
    offsets: Array
    rows: Array
    sequences: Array | None

    def longest(self) -> int:
        """Return the number of tokens of the longest document; 0 without documents."""
        return max((int(np.diff(part).max()) for part in self.offsets.parts(overlap=1)), default=0)


def between(arrays: Arrays, start: int, end: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return ids and mask of the tokens from ``start`` to before ``end``."""
    bits = np.unpackbits(arrays.mask[start >> 3 : (end + 7) >> 3])
    skip = start & 7
    return arrays.ids[start:end], bits[skip : skip + end - start].view(np.bool_)


def positions_of(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the positions of all tokens of pieces, in order, those of about ``CHUNK_TOKENS`` at a time."""
    total = np.cumsum(lengths)
    marks = np.arange(CHUNK_TOKENS, int(total[-1]) if total.size else 0, CHUNK_TOKENS)
    cuts = np.unique(np.concatenate([[0], np.searchsorted(total, marks), [lengths.size]]))
    for first, last in pairwise(cuts.tolist()):
        part, before = lengths[first:last], total[first:last] - lengths[first:last]
        # `before` counts from the first piece of all, and the positions from the first of these.
        origin = int(before[0])
        yield np.repeat(starts[first:last] - before, part) + np.arange(origin, origin + int(part.sum()))
