"""Divide the rows of chunks that are compared by shingles: by digests, and by shares of the shingles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dataprep.curate.duplicates.exchanged import Told, by_digest, compared, digests_of, lines_of
from dataprep.curate.duplicates.join import ranks_of
from dataprep.curate.duplicates.rows import COUNTERS, Compared

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class DivideRows:
    """Divide the rows of chunks by their digests, count their shingles, and keep these.

    Rows are known by their number in the chunk, from 0. The pieces after those of the digests have the counts
    of shares of the shingles; the last one has the number of shingles of each row, and all shingles.

    Attributes:
        digests: number of buckets of digests.
        counters: number of shares of the shingles.
        whole: whether notes have the first half of each row's digest.
    """

    digests: int
    counters: int
    whole: bool

    @property
    def buckets(self) -> int:
        """Return the number of pieces of a chunk."""
        return self.digests + self.counters + 1

    def __call__(self, number: int, found: Sequence[tuple[int, Compared | None]]) -> tuple[Told, list[Any]]:
        """Return the note on a chunk, and its pieces."""
        lines, unsound = lines_of(found)
        high, low, scores = digests_of(found)
        made = [one.shingles for _, one in found if one is not None and one.shingles is not None]
        shingles = np.concatenate([np.empty(0, np.uint64), *(some for some, _ in made)])
        sizes = np.concatenate([np.empty(0, np.uint32), *(some for _, some in made)])
        rows = np.arange(len(lines), dtype=np.uint32)
        pieces: list[Any] = [
            (number, *some) for some in by_digest(high, (rows, high, low, scores, sizes), self.digests)
        ]
        told = Told(unsound, len(lines), scores, high if self.whole else None)
        return told, [*pieces, *counted(shingles, self.counters), (sizes, shingles)]


def counted(shingles: Numbers, parts: int) -> Iterator[tuple[Any, Any]]:
    """Yield for each share of the counters which of them count something, or ``None`` for all, and counts."""
    places, counts = np.unique(shingles & np.uint64(COUNTERS - 1), return_counts=True)
    counts = ranks_of(counts)
    cuts = np.arange(parts + 1) * COUNTERS // parts
    at = np.searchsorted(places, cuts)
    for part in range(parts):
        mine, some = places[at[part] : at[part + 1]] - np.uint64(cuts[part]), counts[at[part] : at[part + 1]]
        size = int(cuts[part + 1] - cuts[part])
        if len(mine) * 3 < size:
            yield mine.astype(np.uint32), some
        else:
            dense = np.zeros(size, np.uint16)
            dense[mine] = some
            yield None, dense


@dataclass(frozen=True, slots=True)
class AddCounts:
    """Add counts of shingles up."""

    def __call__(self, size: int, pieces: Iterator[tuple[Any, Any]]) -> NDArray[np.uint16]:
        """Return the counts of a share, which has ``size`` counters."""
        total = np.zeros(size, np.uint32)
        for places, counts in pieces:
            if places is None:
                total += counts
            else:
                total[places] += counts
            # Above the largest rank counts make no difference, and here they cannot overflow.
            np.minimum(total, np.uint32((1 << 16) - 1), out=total)
        return total.astype(np.uint16)


@dataclass(frozen=True, slots=True)
class KeepOne:
    """Find the rows of a bucket that equal others; see ``exchanged.KeepFirst``."""

    fixed: int

    def __call__(self, _bucket: int, pieces: Iterator[Any]) -> tuple[Numbers, Numbers, int]:
        """Return rows, those that represent them, and how many shingles all others have."""
        chunks = [*pieces]
        rows, kept = compared(iter(chunks), self.fixed)
        equal = kept != np.arange(len(kept))
        sizes = np.concatenate([np.empty(0, np.uint32), *(one[5] for one in chunks)])
        return rows[equal], rows[kept[equal]], int(sizes[~equal].sum(dtype=np.int64))
