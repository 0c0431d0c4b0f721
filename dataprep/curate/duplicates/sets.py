"""Hold sets of shingles on disk, and compute the Jaccard similarity of many pairs of them."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dataprep.curate.duplicates.rows import Rows
from dataprep.curate.duplicates.shingles import BATCH_ROWS, BITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Shingles to hold at a time: 8 bytes each, and about five times as much while they are compared.
_HELD = 4 << 20


class Sets:
    """The sets of shingles of some rows; set k is that of row ``order[k]``."""

    def __init__(self, rows: Rows, order: NDArray[np.uint32], held: int = _HELD) -> None:
        sizes = rows.sizes
        begins = np.cumsum(sizes, dtype=np.int64)
        begins -= sizes
        self.sizes, self._begins, self._held = sizes[order], begins[order], held
        self._mapped: mmap.mmap | bytes = _mapped(rows.shingles)
        self._shingles = np.frombuffer(self._mapped, np.uint64)
        self._maps: NDArray[np.uint64] | None = None

    def __len__(self) -> int:
        """Return the number of sets."""
        return len(self.sizes)

    def close(self) -> None:
        """Unmap the shingles."""
        self._shingles = np.empty(0, np.uint64)
        if isinstance(self._mapped, mmap.mmap):
            self._mapped.close()

    def gather(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return the shingles of sets, one set after the other, and the size of each."""
        sizes = self.sizes[numbers].astype(np.int64)
        ends = np.cumsum(sizes)
        places = np.repeat(self._begins[numbers] - (ends - sizes), sizes)
        places += np.arange(len(places))
        return self._shingles[places], sizes

    def batches(self) -> Iterator[tuple[int, NDArray[np.uint64], NDArray[np.int64]]]:
        """Yield the number of the first set of a batch, and what ``gather`` returns for it."""
        for numbers in self._cut(np.arange(len(self), dtype=np.int64), self.sizes):
            yield (int(numbers[0]), *self.gather(numbers))
            self._forget()

    def possible(
        self, left: NDArray[np.int64], right: NDArray[np.int64], threshold: float
    ) -> NDArray[np.bool_]:
        """Return for each pair of sets whether the similarity can be as large as the threshold.

        Each set has a bitmap, with a bit for each shingle, or for several. A bit that only one set has stands
        for at least one shingle that only this set has.
        """
        if self._maps is None:
            self._maps = self._bitmaps()
        found = np.empty(len(left), bool)
        for begin in range(0, len(left), _BATCH_PAIRS):
            part = slice(begin, begin + _BATCH_PAIRS)
            maps = self._maps[left[part]], self._maps[right[part]]
            sizes = self.sizes[left[part]].astype(np.int64), self.sizes[right[part]].astype(np.int64)
            both = maps[0] & maps[1]
            alone = [size - _ones(bits ^ both) for size, bits in zip(sizes, maps, strict=True)]
            shared = np.minimum(*alone)
            found[part] = shared >= threshold * (sizes[0] + sizes[1] - shared) - 1e-6
        return found

    def _bitmaps(self) -> NDArray[np.uint64]:
        # About eight bits for each shingle, and not more memory than other arrays take.
        mean = int(self.sizes.sum(dtype=np.int64)) // max(len(self), 1)
        width = max(256, min(2048, 1 << (8 * mean).bit_length(), _MAP_BITS // max(len(self), 1) // 256 * 256))
        maps = np.empty((len(self), width // 64), np.uint64)
        for first, shingles, sizes in self.batches():
            for begin in range(0, len(sizes), _BATCH_MAPS):
                count = sizes[begin : begin + _BATCH_MAPS]
                at = int(sizes[:begin].sum())
                some = shingles[at : at + int(count.sum())]
                bits = np.zeros((len(count), width), bool)
                bits[np.repeat(np.arange(len(count)), count), (some % np.uint64(width)).astype(np.int64)] = (
                    True
                )
                packed = np.packbits(bits, axis=1).view(np.uint64)
                maps[first + begin : first + begin + len(count)] = packed
        return maps

    def similarities(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the Jaccard similarity of each pair of sets: shared shingles over all of both."""
        found = np.empty(len(left))
        sizes = self.sizes[left].astype(np.int64) + self.sizes[right]
        for pairs in self._cut(np.arange(len(left), dtype=np.int64), sizes):
            keys = []
            for numbers in (left[pairs], right[pairs]):
                shingles, counts = self.gather(numbers)
                owners = np.repeat(np.arange(len(pairs), dtype=np.uint64) << BITS, counts)
                keys.append(shingles | owners)
            both = np.concatenate(keys)
            both.sort()
            # A set has each shingle once, so a key that stands there twice is shared.
            twice = both[1:][both[1:] == both[:-1]]
            shared = np.bincount((twice >> BITS).astype(np.int64), minlength=len(pairs))
            found[pairs] = shared / np.maximum(sizes[pairs] - shared, 1)
            self._forget()
        return found

    def _cut(
        self, numbers: NDArray[np.int64], sizes: NDArray[np.int64] | NDArray[np.uint32]
    ) -> Iterator[NDArray[np.int64]]:
        """Divide numbers so that the sizes of each part are small together."""
        ends = np.cumsum(sizes, dtype=np.int64)
        begin = 0
        while begin < len(numbers):
            before = int(ends[begin - 1]) if begin else 0
            end = int(np.searchsorted(ends, before + self._held, side="right"))
            end = min(max(end, begin + 1), begin + BATCH_ROWS)
            yield numbers[begin:end]
            begin = end

    def _forget(self) -> None:
        # Mapped pages count as the process's memory until the system needs them.
        if isinstance(self._mapped, mmap.mmap) and len(self._mapped) > _FORGET:
            self._mapped.madvise(mmap.MADV_DONTNEED)


def _mapped(path: Path) -> mmap.mmap | bytes:
    with path.open("rb") as file:
        # An empty file cannot be mapped.
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""


def _ones(maps: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the number of bits in each bitmap."""
    counts: NDArray[np.int64] = np.bitwise_count(maps).sum(axis=1, dtype=np.int64)
    return counts


_BATCH_PAIRS = 1 << 14
_BATCH_MAPS = 1 << 10
_MAP_BITS = 8 * (320 << 20)
# A smaller file stays mapped: to map its pages again costs more than their memory.
_FORGET = 256 << 20
