"""Hold sets of shingles on disk, and compute the Jaccard similarity of many pairs of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from dataprep.core.parallel import in_threads
from dataprep.curate.duplicates.rows import Rows
from dataprep.curate.duplicates.shingles import BATCH_ROWS, BITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    _Value = TypeVar("_Value", np.uint32, np.uint64)
    Numbers = NDArray[np.int64]
    Batch = tuple[Numbers, NDArray[np.uint64], Numbers]

# Shingles to hold at a time: 8 bytes each, and about five times as much while they are compared.
HELD = 1 << 20
_BYTES = 8
_MOST_THREADS = 8
_BATCH_PAIRS = 1 << 12  # their bitmaps fit into the cache
_MAP_BITS = 8 * (320 << 20)


def map_width(count: int, shingles: int) -> int:
    """Return the bits of each bitmap of so many sets, which have so many shingles together."""
    # About eight bits for each shingle, and not more memory than other arrays take.
    mean = shingles // max(count, 1)
    return max(256, min(2048, 1 << (8 * mean).bit_length(), _MAP_BITS // max(count, 1) // 256 * 256))


@dataclass
class Bitmaps:
    """Bitmaps of sets, with a bit for each shingle, or for several.

    Attributes:
        sizes: number of shingles of each set.
        maps: the bitmaps, in words of 64 bits, one row per set.
        slack: how many more shingles than bits each set has.
    """

    sizes: NDArray[np.uint32]
    maps: NDArray[np.uint64]
    slack: NDArray[np.uint32]

    @classmethod
    def empty(cls, sizes: NDArray[np.uint32], width: int) -> Bitmaps:
        """Return bitmaps of so many bits that are to be filled."""
        return cls(sizes, np.zeros((len(sizes), width // 64), np.uint64), sizes.copy())

    def fill(self, batch: Batch) -> None:
        """Set the bits of some sets."""
        numbers, shingles, sizes = batch
        words_each = self.maps.shape[1]
        # The first bits decide. Shingles are sorted, so those of one word of a bitmap are neighbours.
        places = (shingles >> np.uint64(16)) * np.uint64(64 * words_each) >> np.uint64(32)
        bits = np.uint64(1) << (places & np.uint64(63))
        words = (places >> np.uint64(6)).astype(np.int64)
        words += np.repeat(numbers * words_each, sizes)
        starts = np.flatnonzero(np.concatenate([[len(words) > 0], words[1:] != words[:-1]]))
        if len(starts):
            self.maps.reshape(-1)[words[starts]] = np.bitwise_or.reduceat(bits, starts)
        self.slack[numbers] -= _ones(self.maps[numbers])

    def possible(self, left: Numbers, right: Numbers, threshold: float) -> NDArray[np.bool_]:
        """Return for each pair of sets whether the similarity can be as large as the threshold.

        A bit that only one set has stands for at least one shingle that only this set has.
        """
        found = np.empty(len(left), bool)
        for begin in range(0, len(left), _BATCH_PAIRS):
            one, two = left[begin : begin + _BATCH_PAIRS], right[begin : begin + _BATCH_PAIRS]
            both = self.maps.take(one, axis=0)
            both &= self.maps.take(two, axis=0)
            shared = _ones(both) + np.minimum(self.slack[one], self.slack[two])
            sizes = self.sizes[one].astype(np.int64) + self.sizes[two]
            found[begin : begin + _BATCH_PAIRS] = shared >= threshold * (sizes - shared) - 1e-6
        return found


class Compared:
    """Sets of shingles of which the similarity can be computed.

    Attributes:
        sizes: number of shingles of each set.
        threads: number of threads to compute with.
    """

    sizes: NDArray[np.uint32]
    threads = 1

    def similarities(self, left: Numbers, right: Numbers) -> NDArray[np.float64]:
        """Return the Jaccard similarity of each pair of sets: shared shingles over all of both."""
        sizes = self.sizes[left].astype(np.int64) + self.sizes[right]
        parts = ((left[part], right[part]) for part in _slices(sizes))
        shared = np.concatenate([np.empty(0, np.int64), *in_threads(self._shared, parts, self.threads)])
        found: NDArray[np.float64] = shared / np.maximum(sizes - shared, 1)
        return found

    def _shared(self, sides: tuple[Numbers, Numbers]) -> Numbers:
        """Return how many shingles the sets of each pair share."""
        pairs = np.arange(len(sides[0]), dtype=np.uint64) << BITS
        keys = np.concatenate(
            [self._gather(numbers) | np.repeat(pairs, self.sizes[numbers]) for numbers in sides]
        )
        # Two sorted halves, which are merged in a sixth of the time that sorting takes.
        keys.sort(kind="stable")
        # A set has each shingle once, so a key that stands there twice is shared.
        twice = keys[1:][keys[1:] == keys[:-1]]
        return np.bincount((twice >> BITS).astype(np.int64), minlength=len(pairs))

    def _gather(self, numbers: Numbers) -> NDArray[np.uint64]:
        """Return the shingles of sets, one set after the other."""
        raise NotImplementedError


class HeldSets(Compared):
    """Sets of shingles in memory, one after the other."""

    def __init__(self, sizes: NDArray[np.uint32], shingles: NDArray[np.uint64]) -> None:
        self.sizes, self._shingles = sizes, shingles
        self._begins = np.cumsum(sizes, dtype=np.int64) - sizes

    def batches(self, wanted: Numbers) -> Iterator[Batch]:
        """Yield some sets, some at a time: their places in ``wanted``, their shingles, and their sizes."""
        for part in _slices(self.sizes[wanted].astype(np.int64)):
            numbers = wanted[part]
            yield np.arange(len(wanted))[part], self._gather(numbers), self.sizes[numbers].astype(np.int64)

    def shingles_of(self, numbers: Numbers) -> NDArray[np.uint64]:
        """Return the shingles of sets, one set after the other."""
        return self._gather(numbers)

    def _gather(self, numbers: Numbers) -> NDArray[np.uint64]:
        sizes = self.sizes[numbers].astype(np.int64)
        places = np.repeat(self._begins[numbers] - (np.cumsum(sizes) - sizes), sizes)
        return self._shingles[places + np.arange(len(places))]


class Sets(Compared):
    """The sets of shingles of some rows; set k is that of row ``order[k]``.

    Args:
        rows: the rows.
        order: which of them, and in which order.
        threads: number of threads to compute with.
    """

    def __init__(self, rows: Rows, order: NDArray[np.uint32], threads: int) -> None:
        sizes = rows.sizes
        total = int(sizes.sum(dtype=np.int64))
        # Half of the memory, as long as there are fewer than four billion shingles.
        begins: NDArray[Any] = np.cumsum(sizes, dtype=np.uint32 if total < 1 << 32 else np.uint64)
        begins -= sizes
        self.sizes, self._begins = sizes[order], begins[order]
        # Not mapped: mapped pages count as the process's memory until the system needs them.
        self._file = rows.shingles.open("rb", buffering=0)
        # Each thread holds arrays of its own.
        self.threads = min(threads, _MOST_THREADS)
        self.maps = Bitmaps.empty(self.sizes, map_width(len(order), int(self.sizes.sum(dtype=np.int64))))
        for _ in in_threads(self.maps.fill, self.batches(), self.threads):
            pass

    def __len__(self) -> int:
        """Return the number of sets."""
        return len(self.sizes)

    def close(self) -> None:
        """Close the file of shingles, and free the bitmaps."""
        self._file.close()
        self.maps = Bitmaps.empty(self.sizes[:0], 64)

    def batches(self) -> Iterator[Batch]:
        """Yield all sets in the order of the file: numbers of sets, their shingles, and the size of each."""
        in_file = self._begins[1:] >= self._begins[:-1]
        order = None if in_file.all() else np.argsort(self._begins, kind="stable")
        begins = self._begins if order is None else self._begins[order]
        at = 0
        while at < len(self):
            first = int(begins[at])
            starts = begins[at : at + BATCH_ROWS].astype(np.int64) - first
            starts = starts[: max(int(np.searchsorted(starts, HELD, side="right")), 1)]
            end = at + len(starts)
            numbers = np.arange(at, end) if order is None else order[at:end]
            sizes = self.sizes[numbers].astype(np.int64)
            shingles = np.frombuffer(self._read(first, first + int((starts + sizes).max())), np.uint64)
            if len(shingles) > sizes.sum():  # between them are those of rows that equal others
                inside = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)
                shingles = shingles[inside + np.arange(len(inside))]
            yield numbers, shingles, sizes
            at = end

    def _gather(self, numbers: Numbers) -> NDArray[np.uint64]:
        begins = self._begins[numbers].astype(np.int64)
        ends = begins + self.sizes[numbers]
        return np.frombuffer(b"".join(map(self._read, begins.tolist(), ends.tolist())), np.uint64)

    def _read(self, begin: int, end: int) -> bytes:
        """Return the bytes of shingles, by their places in the file."""
        return os.pread(self._file.fileno(), (end - begin) * _BYTES, begin * _BYTES)


@contextmanager
def open_sets(rows: Rows, order: NDArray[np.uint32], threads: int) -> Iterator[Sets]:
    """Open the sets of shingles of some rows, in the given order."""
    sets = Sets(rows, order, threads)
    try:
        yield sets
    finally:
        sets.close()


def distinct(values: NDArray[_Value]) -> NDArray[_Value]:
    """Return the different values, rising."""
    # `numpy.unique` looks each of millions up in a table, which takes ten times as long.
    values = np.sort(values)
    changes = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=changes[1:])
    return values[changes]


def _slices(sizes: Numbers) -> Iterator[slice]:
    """Divide pairs so that those of a part have few shingles together."""
    ends = np.cumsum(sizes)
    begin = 0
    while begin < len(sizes):
        before = int(ends[begin - 1]) if begin else 0
        end = int(np.searchsorted(ends, before + HELD, side="right"))
        end = min(max(end, begin + 1), begin + BATCH_ROWS)
        yield slice(begin, end)
        begin = end


def _ones(maps: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Return the number of bits in each bitmap."""
    # Adds the few words of each row in a third of the time that `sum` takes.
    counts: NDArray[np.uint32] = np.einsum("ij->i", np.bitwise_count(maps), dtype=np.uint32, casting="unsafe")
    return counts
