"""Find the pairs of sets that can be similar, without looking at all pairs.

Two sets of Jaccard similarity t or more share at least t times the shingles of each. If the shingles of both
are sorted by one order, the first ``size - ceil(t * size) + 1`` of each, their prefixes, then share one of
them: this is prefix filtering (Chaudhuri, Ganti and Kaushik, 2006; Bayardo, Ma and Srikant, 2007). Rare
shingles come first in the order, so the wording that many rows share is in no prefix. Unlike locality-
sensitive hashing, no pair is missed.

Of the smaller set an even shorter prefix is enough (Xiao et al., 2008): both share at least ``2t / (1 + t)``
times its shingles, because they share ``t / (1 + t)`` times those of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataprep.core.parallel import in_threads
from dataprep.curate.duplicates.rows import COUNTERS
from dataprep.curate.duplicates.sets import Sets
from dataprep.curate.duplicates.shingles import BITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataprep.curate.duplicates.sets import Batch, Bitmaps

    Numbers = NDArray[np.int64]

_PARTS = 16  # prefixes are sorted in so many parts, so that a part fits into memory
_MOST = (1 << 16) - 1  # rows of a shingle that are told apart
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
        return _joined([part.only(wanted[part.members]) for part in self.parts()])

    def only(self, stay: NDArray[np.bool_]) -> Buckets:
        """Return the buckets with only some of their members; those with a single one are left out."""
        counts = np.add.reduceat(stay, self.starts, dtype=np.int64) if len(stay) else self.starts
        several = counts > 1
        return Buckets(self.members[stay & np.repeat(several, self.sizes)], _starts_of(counts[several]))

    def parts(self) -> Iterator[Buckets]:
        """Yield the buckets, some of them at a time."""
        begin = 0
        while begin < len(self.starts):
            first = int(self.starts[begin])
            starts = self.starts[begin : begin + PART].astype(np.int64) - first
            end = begin + max(int(np.searchsorted(starts, PART)), 1)
            last = int(self.starts[end]) if end < len(self.starts) else len(self.members)
            yield Buckets(self.members[first:last], starts[: end - begin])
            begin = end

    @property
    def sizes(self) -> Numbers:
        """Return the number of sets in each bucket."""
        return np.diff(self.starts, append=len(self.members))

    def count_pairs(self) -> int:
        """Return the number of pairs in all buckets."""
        return sum(int((part.sizes * (part.sizes - 1) // 2).sum()) for part in self.parts())

    def leaders(self) -> Numbers:
        """Return for each member the first one of its bucket."""
        return np.repeat(self.members[self.starts], self.sizes).astype(np.int64)

    def followers(self) -> NDArray[np.uint32]:
        """Return the members that are not the first one of their bucket."""
        followers: NDArray[np.uint32] = self.members[self.leaders() != self.members]
        return followers

    def with_leaders(self, leading: NDArray[np.bool_], others: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
        """Return the pairs of a bucket's first member, if it is one of some, and one of some others."""
        leaders, members = self.leaders(), self.members.astype(np.int64)
        pairs = leading[leaders] & others[members]
        return leaders[pairs], members[pairs]

    def most_fixed(self, fixed: int) -> int:
        """Return how many of the first ``fixed`` sets are in one bucket at most."""
        counts = np.add.reduceat(self.members < fixed, self.starts, dtype=np.int64)
        return int(counts.max(initial=0))

    def all_pairs(
        self, fixed: int = 0, first: int = 0, end: int = 1 << 32
    ) -> Iterator[tuple[Numbers, Numbers]]:
        """Yield the pairs of all buckets, many at a time.

        With ``fixed`` they are the pairs of one of the first ``fixed`` sets and another one. Of each bucket's
        fixed sets, those from number ``first`` up to ``end`` are taken.
        """
        for part in self.parts():
            yield from part._pairs(fixed, first, end)

    def _pairs(self, fixed: int, first: int, end: int) -> Iterator[tuple[Numbers, Numbers]]:
        # Those of each bucket's first member first.
        starts = np.repeat(self.starts, self.sizes)
        ends = np.repeat(self.starts + self.sizes, self.sizes)
        places = np.arange(len(self.members))
        begins = places + 1
        if fixed:
            left = self.members < fixed
            counts = np.add.reduceat(left, self.starts, dtype=np.int64)
            begins = np.repeat(self.starts + counts, self.sizes)
            ends = np.where(left & (places - starts >= first) & (places - starts < end), ends, begins)
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


def _joined(parts: Sequence[Buckets]) -> Buckets:
    count = sum(len(part.members) for part in parts)
    # Half of the memory, as long as there are fewer than four billion members.
    smaller = np.uint32 if count < 1 << 32 else np.uint64
    members, starts, before = [np.empty(0, np.uint32)], [np.empty(0, smaller)], 0
    for part in parts:
        members.append(part.members)
        starts.append((part.starts + before).astype(smaller))
        before += len(part.members)
    return Buckets(np.concatenate(members), np.concatenate(starts))


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
    parts = [folder / f"prefixes{number}" for number in range(_PARTS)]
    with ExitStack() as stack:
        outs = [stack.enter_context(part.open("wb")) for part in parts]
        postings_of = Postings(ranks_of(counters), threshold, len(parts))
        for pieces in in_threads(postings_of, sets.batches(), sets.threads):
            for out, piece in zip(outs, pieces, strict=True):
                out.write(piece.data)
    join = partial(_buckets, maps=sets.maps, threshold=threshold)
    return _joined([*in_threads(join, parts, sets.threads)])


def ranks_of(counters: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """Return the ranks of shingles: how many rows have each, up to the largest number of 16 bits."""
    return np.minimum(counters, _MOST).astype(np.uint16)


class Postings:
    """Return the shingles in the prefixes of a batch of sets, in parts by their first bits; picklable.

    A posting has 31 bits of the shingle, the number of its set, and a bit that is 0 in the shorter prefix.

    Args:
        ranks: of all shingles, by which they are ordered.
        threshold: similarity that pairs must have.
        parts: number of parts.
    """

    def __init__(self, ranks: NDArray[np.uint16], threshold: float, parts: int) -> None:
        self._given = ranks, threshold, parts
        self.parts = parts
        # In the bits that they have in the order of shingles.
        self._ranks = ranks.astype(np.uint64) << np.uint64(32)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._given  # a quarter of the bytes

    def __call__(self, batch: Batch) -> list[NDArray[np.uint64]]:
        """Return the postings of each part."""
        _, threshold, parts = self._given
        numbers, shingles, sizes = batch
        # Shingles with the same 31 bits count as one. That can only add pairs, which are compared in full.
        keys = np.repeat(np.arange(len(sizes), dtype=np.uint64) << BITS, sizes)
        keys |= self._ranks[(shingles & np.uint64(COUNTERS - 1)).astype(np.int64)]
        keys |= shingles >> np.uint64(16)
        keys.sort()
        lengths = prefix_sizes(sizes, threshold)
        before = np.repeat(_starts_of(lengths), lengths)
        within = np.arange(len(before)) - before
        postings = keys[np.repeat(_starts_of(sizes), lengths) + within] >> np.uint64(1) << np.uint64(33)
        owners = ((postings >> np.uint64(33)) * np.uint64(parts) >> np.uint64(31)).astype(np.uint16)
        postings |= np.repeat(numbers.astype(np.uint64), lengths) << np.uint64(1)
        postings |= within >= np.repeat(prefix_sizes(sizes, 2 * threshold / (1 + threshold)), lengths)
        cuts = np.cumsum(np.bincount(owners, minlength=parts))[:-1]
        return np.split(postings[np.argsort(owners, kind="stable")], cuts)


def _buckets(part: Path, maps: Bitmaps, threshold: float) -> Buckets:
    postings = np.fromfile(part, np.uint64)
    part.unlink()
    return buckets_of(postings, maps, threshold)


def buckets_of(postings: NDArray[np.uint64], maps: Bitmaps, threshold: float) -> Buckets:
    """Return the buckets of postings, without those in which no pair can be similar.

    Args:
        postings: as ``Postings`` returns them; they are sorted here.
        maps: the bitmaps of the sets.
        threshold: similarity that pairs must have.
    """
    postings.sort()
    keys = postings >> np.uint64(1)
    # Two shingles of a set can have the same 31 bits. The first posting is that of the shorter prefix.
    postings = postings[_changes(keys)]
    starts = np.flatnonzero(_changes(postings >> np.uint64(33)))
    buckets = Buckets((postings >> np.uint64(1)).astype(np.uint32), starts)  # its last 32 bits
    if not len(postings):
        return buckets
    # A set with the shingle outside of its shorter prefix needs a smaller one with the shingle inside.
    longer = (postings & np.uint64(1)).astype(bool)
    sizes = maps.sizes[buckets.members]
    smallest = np.minimum.reduceat(np.where(longer, np.iinfo(np.uint32).max, sizes), starts)
    buckets = buckets.only(~longer | (sizes > np.repeat(smallest, buckets.sizes)))
    # Most buckets have two sets, which share the shingle by chance.
    pairs = buckets.starts[buckets.sizes == 2]
    left, right = (buckets.members[pairs + at].astype(np.int64) for at in (0, 1))
    stay = np.ones(len(buckets.members), bool)
    stay[pairs] = maps.possible(left, right, threshold)
    return buckets.only(stay)


def _changes(values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return for each value whether it differs from the one before it."""
    changes = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=changes[1:])
    return changes
