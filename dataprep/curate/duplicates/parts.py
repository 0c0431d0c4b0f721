"""Look for similar sets on workers: each has the buckets of a share of all shingles.

A part has what is needed of its sets: their sizes and bitmaps. Their shingles stay with the chunks of their
rows, and are brought together for the pairs that are left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dataprep.curate.duplicates.join import Buckets, Postings, buckets_of
from dataprep.curate.duplicates.sets import Bitmaps, HeldSets, distinct
from dataprep.curate.duplicates.similar import mixed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.uint64]  # of pairs: the left set in the upper 32 bits, the right one in the lower
    Sets = NDArray[np.uint32]

NO_SET = np.uint32((1 << 32) - 1)
_HALF = np.uint64(32)
_LOW = np.uint64((1 << 32) - 1)
_MOST = 1 << 20  # pairs that a part returns at a time


@dataclass(frozen=True, slots=True)
class DivideShingles:
    """Divide the postings of the sets of a chunk among parts, with the bitmaps of the sets.

    Attributes:
        postings: makes postings.
        parts: number of parts.
        width: bits of a bitmap.
    """

    postings: Postings
    parts: int
    width: int

    def __call__(self, sets: Sets, pieces: Iterator[Any]) -> list[Any]:
        """Return the piece of each part.

        Args:
            sets: the number of each row's set, or ``NO_SET``.
            pieces: the one piece with the number of shingles of each row, and all shingles.
        """
        (piece,) = pieces
        held, rows = HeldSets(*piece), np.flatnonzero(sets != NO_SET)
        rows = rows[np.argsort(sets[rows], kind="stable")]
        mine = sets[rows]
        maps = Bitmaps.empty(held.sizes[rows], self.width)
        postings: list[list[Numbers]] = [[np.empty(0, np.uint64)] for _ in range(self.parts)]
        for batch in held.batches(rows):
            maps.fill(batch)
            places, shingles, sizes = batch
            made = self.postings((mine[places].astype(np.int64), shingles, sizes))
            for part, some in zip(postings, made, strict=True):
                part.append(some)
        return [self._piece(np.concatenate(some), mine, maps) for some in postings]

    def _piece(self, postings: Numbers, mine: Sets, maps: Bitmaps) -> Any:
        present = distinct((postings >> np.uint64(1)).astype(np.uint32))
        at = np.searchsorted(mine, present)
        return postings, present, maps.sizes[at], maps.slack[at], maps.maps[at]


@dataclass(slots=True)
class Part:
    """The buckets of a part.

    Attributes:
        numbers: the sets in them, rising.
        maps: their bitmaps.
        buckets: the members are places in ``numbers``.
    """

    numbers: Sets
    maps: Bitmaps
    buckets: Buckets

    def pairs(self, left: Any, right: Any, threshold: float) -> Numbers:
        """Return pairs of members that may be similar, each once."""
        keys = distinct((left.astype(np.uint64) << _HALF) | right.astype(np.uint64))
        left, right = (keys >> _HALF).astype(np.int64), (keys & _LOW).astype(np.int64)
        possible = self.maps.possible(left, right, threshold)
        left, right = (self.numbers[half[possible]].astype(np.uint64) for half in (left, right))
        pairs: Numbers = (left << _HALF) | right
        return pairs


@dataclass(frozen=True, slots=True)
class BuildPart:
    """Build a part from its pieces, as the only piece of a task."""

    threshold: float

    def __call__(self, _part: int, pieces: Iterator[Any]) -> list[Part]:
        """Return the part."""
        postings, *columns = (list(column) for column in zip(*pieces, strict=True))
        numbers, sizes, slack, maps = map(np.concatenate, columns)
        order = np.argsort(numbers)
        numbers, table = numbers[order], Bitmaps(sizes[order], maps[order], slack[order])
        keys = np.concatenate(postings)
        owners = (keys >> np.uint64(1)).astype(np.uint32)
        places = np.searchsorted(numbers, owners).astype(np.uint64)
        keys = (keys >> np.uint64(33) << np.uint64(33)) | (places << np.uint64(1)) | (keys & np.uint64(1))
        buckets = buckets_of(keys, table, self.threshold)
        # Most sets share no bucket with others.
        used = distinct(buckets.members)
        members = np.searchsorted(used, buckets.members).astype(np.uint32)
        table = Bitmaps(table.sizes[used], table.maps[used], table.slack[used])
        return [Part(numbers[used], table, Buckets(members, buckets.starts))]


class Look(Protocol):
    """Look for something in a part; picklable."""

    def look(self, part: Part, /) -> Any:
        """Return what is found."""


@dataclass(frozen=True, slots=True)
class LookAt:
    """Call a look with the part that comes as a piece."""

    look: Look

    def __call__(self, _task: Any, pieces: Iterator[Part]) -> Any:
        """Return what is found."""
        (part,) = pieces
        return self.look.look(part)


@dataclass(frozen=True, slots=True)
class Mask:
    """Some of all sets, in one bit each."""

    bits: NDArray[np.uint8]

    @classmethod
    def of(cls, chosen: NDArray[np.bool_]) -> Mask:
        """Return the sets that are chosen."""
        return cls(np.packbits(chosen))

    def __getitem__(self, sets: Sets) -> NDArray[np.bool_]:
        """Return which of some sets are chosen."""
        shifts = (np.uint32(7) - (sets & np.uint32(7))).astype(np.uint8)
        bits: NDArray[np.uint8] = (self.bits[sets >> np.uint32(3)] >> shifts) & np.uint8(1)
        return bits.astype(bool)


@dataclass(frozen=True, slots=True)
class Leading:
    """Count the pairs of undecided sets in buckets, and find those that do not lead one of theirs."""

    undecided: Mask

    def look(self, part: Part) -> tuple[int, Sets]:
        """Return the number of pairs, and sets."""
        buckets = part.buckets.among(self.undecided[part.numbers])
        followers = [np.empty(0, np.uint32), *(some.followers() for some in buckets.parts())]
        return buckets.count_pairs(), part.numbers[distinct(np.concatenate(followers))]


@dataclass(frozen=True, slots=True)
class ToLeaders:
    """Find the pairs of leading sets and undecided ones; ``before`` are both."""

    before: Mask
    leading: Mask
    undecided: Mask
    threshold: float

    def look(self, part: Part) -> Numbers:
        """Return pairs that may be similar."""
        leading, undecided = self.leading[part.numbers], self.undecided[part.numbers]
        buckets = part.buckets.among(self.before[part.numbers])
        return _gathered(
            part, (some.with_leaders(leading, undecided) for some in buckets.parts()), self.threshold
        )


@dataclass(frozen=True, slots=True)
class ToFixed:
    """Find the pairs of fixed sets and undecided ones; see ``similar.Candidates.to_fixed``."""

    fixed: int
    first: int
    end: int
    undecided: Mask
    threshold: float

    def look(self, part: Part) -> tuple[Numbers, bool]:
        """Return pairs that may be similar, and whether a bucket has more fixed sets."""
        fixed = int(np.searchsorted(part.numbers, self.fixed))
        if not fixed:
            return np.empty(0, np.uint64), False
        undecided = self.undecided[part.numbers]
        pairs = part.buckets.all_pairs(fixed, self.first, self.end)
        open_ = ((left[undecided[right]], right[undecided[right]]) for left, right in pairs)
        more = any(some.most_fixed(fixed) > self.end for some in part.buckets.parts())
        return _gathered(part, open_, self.threshold), more


@dataclass(frozen=True, slots=True)
class Among:
    """Find the pairs of undecided sets."""

    undecided: Mask
    threshold: float

    def look(self, part: Part) -> Numbers:
        """Return pairs that may be similar."""
        buckets = part.buckets.among(self.undecided[part.numbers])
        return _gathered(part, buckets.all_pairs(), self.threshold)


@dataclass(frozen=True, slots=True)
class Apart:
    """Find pairs of sets in different clusters, some at a time.

    Attributes:
        first: the roots of all sets at first, by which buckets are left out.
        roots: the roots now.
        threshold: similarity that pairs must have.
        done: for each part, how many batches of pairs were looked at.
    """

    first: Sets
    roots: Sets
    threshold: float

    def __call__(self, done: int, pieces: Iterator[Part]) -> tuple[int, Numbers]:
        """Return how many batches are done now, -1 for all, and pairs that may be similar."""
        (part,) = pieces
        roots, found, count = self.roots[part.numbers], np.empty(0, np.uint64), 0
        for some in mixed(part.buckets, self.first[part.numbers]):
            for left, right in some.all_pairs():
                count += 1
                if count <= done:
                    continue
                apart = roots[left] != roots[right]
                found = np.concatenate([found, part.pairs(left[apart], right[apart], self.threshold)])
                if len(found) >= _MOST:
                    return count, found
        return -1, found


def _gathered(part: Part, pairs: Iterator[tuple[Any, Any]], threshold: float) -> Numbers:
    found = [part.pairs(left, right, threshold) for left, right in pairs]
    return distinct(np.concatenate([np.empty(0, np.uint64), *found]))


@dataclass(frozen=True, slots=True)
class TakeShingles:
    """Take the shingles of some rows of a chunk to the buckets of pairs that need them."""

    buckets: int

    def __call__(self, wanted: tuple[Sequence[Any], Sets, Any], pieces: Iterator[Any]) -> list[Any]:
        """Return the sets of each bucket, their sizes, and their shingles.

        Args:
            wanted: rows of the chunk, their sets, and the bucket to which each goes; rising by bucket.
            pieces: the one piece of all shingles of the chunk.
        """
        (piece,) = pieces
        held = HeldSets(*piece)
        rows, sets, owners = map(np.asarray, wanted)
        cuts = np.searchsorted(owners, np.arange(self.buckets + 1))
        made = []
        for begin, end in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            mine = rows[begin:end].astype(np.int64)
            made.append((sets[begin:end], held.sizes[mine], held.shingles_of(mine)))
        return made


@dataclass(frozen=True, slots=True)
class Compare:
    """Compute the similarity of the pairs of a bucket, from the shingles of their sets.

    Attributes:
        pairs: all pairs, rising.
        cuts: where those of each bucket begin, and their number.
    """

    pairs: Numbers
    cuts: NDArray[np.int64]

    def __call__(self, bucket: int, pieces: Iterator[Any]) -> NDArray[np.float64]:
        """Return the similarity of each pair of a bucket."""
        sets, sizes, shingles = map(np.concatenate, zip(*pieces, strict=True))
        order = np.argsort(sets)
        held = HeldSets(sizes, shingles)
        pairs = self.pairs[self.cuts[bucket] : self.cuts[bucket + 1]]
        left, right = (
            order[np.searchsorted(sets[order], half.astype(np.uint32))]
            for half in (pairs >> _HALF, pairs & _LOW)
        )
        return held.similarities(left, right)
