"""Find the pairs of sets that can be similar, without looking at all pairs.

Two sets of Jaccard similarity t or more share at least t times the shingles of each. If the shingles of both
are sorted by one order, the first ``size - ceil(t * size) + 1`` of each, their prefixes, then share one of
them: this is prefix filtering (Chaudhuri, Ganti and Kaushik, 2006; Bayardo, Ma and Srikant, 2007). Rare
shingles come first in the order, so the wording that many rows share is in no prefix. Unlike locality-
sensitive hashing, no pair is missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dataprep.curate.duplicates.rows import COUNTERS
from dataprep.curate.duplicates.sets import Sets
from dataprep.curate.duplicates.shingles import BITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

_COUNTERS = (
    1 << 22
)  # counters of shingles, chosen by their last bits: rare is a guess that needs no exactness
_PART_BITS = 4  # prefixes are sorted in 16 parts, so that a part fits into memory
PAIRS = 1 << 20  # pairs to look at together
PART = 4 << 20  # members of buckets to look at together


def prefix_sizes(sizes: Numbers, threshold: float) -> Numbers:
    """Return how many shingles of each set are in its prefix."""
    # 0.7 * 10 is 7.000000000000001 or less: a prefix that is one too long finds the same pairs.
    needed = np.ceil(sizes * threshold - 1e-6).astype(np.int64)
    return np.where(sizes > 0, sizes - np.maximum(needed, 1) + 1, 0)


@dataclass(slots=True)
class Buckets:
    """Sets that share a shingle of their prefixes, bucket after bucket.

    Attributes:
        members: the numbers of the sets, rising in each bucket.
        starts: where each bucket begins.
    """

    members: NDArray[np.uint32]
    starts: Numbers

    def among(self, wanted: NDArray[np.bool_]) -> Buckets:
        """Return the buckets with only some of the sets; those with a single one are left out."""
        members, sizes = [], []
        for part in self.parts():
            stay = wanted[part.members]
            counts = np.add.reduceat(stay, part.starts, dtype=np.int64)
            several = np.repeat(counts > 1, part.sizes)
            members.append(part.members[stay & several])
            sizes.append(counts[counts > 1])
        return _joined(members, sizes)

    def parts(self) -> Iterator[Buckets]:
        """Yield the buckets, some of them at a time."""
        begin = 0
        while begin < len(self.starts):
            first = self.starts[begin]
            end = max(int(np.searchsorted(self.starts, first + PART)), begin + 1)
            last = self.starts[end] if end < len(self.starts) else len(self.members)
            yield Buckets(self.members[first:last], self.starts[begin:end] - first)
            begin = end

    @property
    def sizes(self) -> Numbers:
        """Return the number of sets in each bucket."""
        return np.diff(self.starts, append=len(self.members))

    @property
    def pairs(self) -> int:
        """Return the number of pairs in all buckets."""
        sizes = self.sizes
        return int((sizes * (sizes - 1) // 2).sum())

    def leaders(self) -> Numbers:
        """Return for each member the first one of its bucket."""
        return np.repeat(self.members[self.starts], self.sizes).astype(np.int64)

    def all_pairs(self, fixed: int = 0) -> Iterator[tuple[Numbers, Numbers]]:
        """Yield the pairs of all buckets, many at a time: those of each bucket's first member first.

        With ``fixed`` they are the pairs of one of the first ``fixed`` sets and another one.
        """
        starts = np.repeat(self.starts, self.sizes)
        ends = np.repeat(self.starts + self.sizes, self.sizes)
        places = np.arange(len(self.members))
        begins = places + 1
        if fixed:
            left = self.members < fixed
            counts = np.add.reduceat(left.astype(np.int64), self.starts) if len(left) else self.starts
            begins = np.repeat(self.starts + counts, self.sizes)
            ends = np.where(left, ends, begins)
        order = np.argsort(places - starts, kind="stable")
        order = order[ends[order] > begins[order]]
        totals = np.cumsum(ends[order] - begins[order])
        at = 0
        while at < len(order):
            before = int(totals[at - 1]) if at else 0
            end = max(int(np.searchsorted(totals, before + PAIRS, side="right")), at + 1)
            some = order[at:end]
            counts = ends[some] - begins[some]
            partners = np.repeat(begins[some] - _starts_of(counts), counts) + np.arange(counts.sum())
            yield (
                np.repeat(self.members[some], counts).astype(np.int64),
                self.members[partners].astype(np.int64),
            )
            at = end


def _joined(members: Sequence[NDArray[np.uint32]], sizes: Sequence[Numbers]) -> Buckets:
    if not members:
        return Buckets(np.empty(0, np.uint32), np.empty(0, np.int64))
    return Buckets(np.concatenate(members), _starts_of(np.concatenate(sizes)))


def _starts_of(counts: Numbers) -> Numbers:
    return np.cumsum(counts) - counts


def build_buckets(sets: Sets, counters: NDArray[np.uint32], threshold: float, folder: Path) -> Buckets:
    """Return the buckets of sets.

    Args:
        sets: the sets.
        counters: about how many rows have each shingle, as ``Rows`` counts them.
        threshold: similarity that pairs must have.
        folder: receives intermediate files.
    """
    parts = [folder / f"prefixes{number}" for number in range(1 << _PART_BITS)]
    with ExitStack() as stack:
        outs = [stack.enter_context(part.open("wb")) for part in parts]
        # In the bits that they have in the order of shingles.
        ranks = np.minimum(counters, (1 << 16) - 1).astype(np.uint64) << np.uint64(32)
        for first, shingles, sizes in sets.batches():
            postings = _postings(first, shingles, sizes, ranks, threshold)
            numbers = postings >> np.uint64(64 - _PART_BITS)
            postings = postings[np.argsort(numbers, kind="stable")]
            cuts = np.cumsum(np.bincount(numbers.astype(np.int64), minlength=len(outs)))[:-1]
            for out, piece in zip(outs, np.split(postings, cuts), strict=True):
                out.write(piece.data)
    members, counts = [], []
    for part in parts:
        postings = np.fromfile(part, np.uint64)
        part.unlink()
        postings.sort()
        keys = postings >> np.uint64(32)
        starts = np.flatnonzero(np.concatenate([[len(keys) > 0], keys[1:] != keys[:-1]]))
        sizes = np.diff(starts, append=len(keys))
        several = sizes > 1
        members.append(postings[np.repeat(several, sizes)].astype(np.uint32))  # its last 32 bits
        counts.append(sizes[several])
    return _joined(members, counts)


def _postings(
    first: int,
    shingles: NDArray[np.uint64],
    sizes: Numbers,
    ranks: NDArray[np.uint64],
    threshold: float,
) -> NDArray[np.uint64]:
    """Return the shingles in the prefixes of a batch, 32 bits of each, followed by the number of its set."""
    # Shingles with the same 32 bits count as one here. That can only add pairs, which are compared in full.
    keys = np.repeat(np.arange(len(sizes), dtype=np.uint64) << BITS, sizes)
    keys |= ranks[(shingles & np.uint64(COUNTERS - 1)).astype(np.int64)]
    keys |= shingles >> np.uint64(16)
    keys.sort()
    lengths = prefix_sizes(sizes, threshold)
    places = np.repeat(_starts_of(sizes) - _starts_of(lengths), lengths) + np.arange(lengths.sum())
    owners = np.repeat(np.arange(first, first + len(sizes), dtype=np.uint64), lengths)
    postings: NDArray[np.uint64] = (keys[places] << np.uint64(32)) | owners
    return postings
