"""Decide which of similar sets are kept, and which sets are linked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from dataprep.core.ledger import advance
from dataprep.curate.duplicates.join import Buckets
from dataprep.curate.duplicates.sets import Sets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]
    Mask = NDArray[np.bool_]

_FEW_PAIRS = 1 << 20  # so many pairs are compared at once
_FIXED = 64  # of the sets of a bucket that are kept in any case, so many are compared with others at first
_SLOW = 0.02  # a round that decides a smaller share of the sets is one of many


@dataclass(slots=True)
class Repeats:
    """The set that each set repeats.

    Attributes:
        of: the number of a kept set that is similar; a set's own number if it is kept.
        similarity: the Jaccard similarity of the two.
    """

    of: NDArray[np.uint32]
    similarity: NDArray[np.float64]

    @classmethod
    def none(cls, count: int) -> Repeats:
        """Return that all sets are kept."""
        return cls(np.arange(count, dtype=np.uint32), np.ones(count))


class Pairs(NamedTuple):
    """Pairs of sets, the left one before the right one, and their Jaccard similarity."""

    left: Numbers
    right: Numbers
    similarity: NDArray[np.float64]


class Candidates(Protocol):
    """Find the pairs of sets that have the similarity, among sets that share a shingle of their prefixes."""

    def __len__(self) -> int:
        """Return the number of sets."""

    def leading(self, undecided: Mask, /) -> tuple[int, Mask]:
        """Forget the sets that are decided; return how many pairs share a bucket, and the leading sets.

        These come first among the undecided in all of their buckets. The caller may change the array.
        """

    def to_leaders(self, leading: Mask, undecided: Mask, /) -> Pairs:
        """Return the similar pairs of a leading set and an undecided one in a bucket that it leads."""

    def to_fixed(self, fixed: int, first: int, end: int, undecided: Mask, /) -> tuple[Pairs, bool]:
        """Return similar pairs of one of the first ``fixed`` sets and an undecided one of the others.

        Of each bucket's fixed sets, only those from number ``first`` up to ``end`` are looked at. Return also
        whether a bucket has more.
        """

    def among(self, undecided: Mask, /) -> Pairs:
        """Return all similar pairs of undecided sets."""

    def link(self, clusters: Clusters, /) -> None:
        """Unite the clusters of all similar pairs."""


def find_repeats(candidates: Candidates, fixed: int = 0) -> Repeats:
    """Return the sets that are similar to a kept one.

    A set is kept unless it is similar to a kept one before it. So each dropped set has a kept one of at least
    the threshold's similarity, and no two kept ones have that. The first ``fixed`` sets are kept in any case.
    If several kept ones are similar to a dropped set, the sets alone decide which it is said to repeat, and
    not where or in which parts they are compared.
    """
    repeats = Repeats.none(len(candidates))
    undecided = np.ones(len(candidates), bool)
    first, end, more = 0, _FIXED, fixed > 0
    while more:
        found, more = candidates.to_fixed(fixed, first, end, undecided)
        _drop(repeats, undecided, found)
        first, end = end, 2 * end
    undecided[:fixed] = False
    while undecided.any():
        pairs, leading = candidates.leading(undecided)
        if pairs <= _FEW_PAIRS:
            break
        before = int(undecided.sum())
        # A set that leads wherever it stands has no similar one before it among the undecided.
        undecided[leading] = False
        _drop(repeats, undecided, candidates.to_leaders(leading, undecided))
        decided = before - int(undecided.sum())
        advance("rows compared", decided)
        if decided < _SLOW * before:
            break
    _decide_rest(repeats, candidates.among(undecided))
    return repeats


def _decide_rest(repeats: Repeats, pairs: Pairs) -> None:
    """Decide set after set, from all pairs that are left."""
    left, right, similarity = pairs
    best: dict[int, tuple[float, int]] = {}
    for number in np.lexsort((left, right)).tolist():
        first, second = int(left[number]), int(right[number])
        # All pairs of `first` with sets before it have been seen, so it is decided.
        if first not in best:
            best[second] = max(best.get(second, (0.0, 0)), (float(similarity[number]), -first))
    for second, (value, first) in best.items():
        repeats.of[second], repeats.similarity[second] = -first, value


class LocalCandidates:
    """The candidates of sets in files of this machine, and buckets in memory; see ``Candidates``."""

    def __init__(self, sets: Sets, buckets: Buckets, threshold: float) -> None:
        self._sets, self._buckets, self._threshold = sets, buckets, threshold
        self._undecided = buckets  # without the sets that are decided

    def __len__(self) -> int:
        return len(self._sets)

    def leading(self, undecided: Mask, /) -> tuple[int, Mask]:
        """See ``Candidates``."""
        self._undecided = self._undecided.among(undecided)
        leading = undecided.copy()
        for part in self._undecided.parts():
            leading[part.followers()] = False
        return self._undecided.count_pairs(), leading

    def to_leaders(self, leading: Mask, undecided: Mask, /) -> Pairs:
        """See ``Candidates``."""
        return self._similar(part.with_leaders(leading, undecided) for part in self._undecided.parts())

    def to_fixed(self, fixed: int, first: int, end: int, undecided: Mask, /) -> tuple[Pairs, bool]:
        """See ``Candidates``."""
        pairs = self._buckets.all_pairs(fixed, first, end)
        found = self._similar((left[undecided[right]], right[undecided[right]]) for left, right in pairs)
        return found, any(part.most_fixed(fixed) > end for part in self._buckets.parts())

    def among(self, undecided: Mask, /) -> Pairs:
        """See ``Candidates``."""
        return self._similar(self._undecided.among(undecided).all_pairs())

    def link(self, clusters: Clusters, /) -> None:
        """See ``Candidates``."""
        for part in mixed(self._buckets, clusters.roots):
            for left, right in part.all_pairs():
                apart = clusters.roots[left] != clusters.roots[right]
                clusters.unite(*similar(self._sets, left[apart], right[apart], self._threshold)[:2])

    def _similar(self, parts: Iterable[tuple[Numbers, Numbers]]) -> Pairs:
        return joined(similar(self._sets, left, right, self._threshold) for left, right in parts)


def joined(parts: Iterable[Pairs]) -> Pairs:
    """Return the pairs of all parts."""
    none = np.empty(0, np.int64)
    return Pairs(*map(np.concatenate, zip(Pairs(none, none, np.empty(0)), *parts, strict=True)))


def similar(sets: Sets, left: Numbers, right: Numbers, threshold: float) -> Pairs:
    """Return the pairs that have the similarity, each once."""
    left, right = once(left, right)
    possible = sets.maps.possible(left, right, threshold)
    left, right = left[possible], right[possible]
    similarity = sets.similarities(left, right)
    advance("pairs compared", len(left))
    found = similarity >= threshold
    return Pairs(left[found], right[found], similarity[found])


def once(left: Numbers, right: Numbers) -> tuple[Numbers, Numbers]:
    """Return each pair once, in order."""
    # Most pairs share several shingles of their prefixes.
    pairs = (left.astype(np.uint64) << np.uint64(32)) | right.astype(np.uint64)
    pairs.sort()
    pairs = pairs[np.concatenate([[len(pairs) > 0], pairs[1:] != pairs[:-1]])] if len(pairs) else pairs
    return (pairs >> np.uint64(32)).astype(np.int64), (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64)


def _drop(repeats: Repeats, undecided: Mask, pairs: Pairs) -> None:
    """Drop the right set of each pair, for the most similar left one, and the first of those."""
    left, right, similarity = pairs
    order = np.lexsort((left, -similarity, right))
    right = right[order]
    first = np.ones(len(right), bool)
    first[1:] = right[1:] != right[:-1]
    dropped, order = right[first], order[first]
    repeats.of[dropped], repeats.similarity[dropped] = left[order], similarity[order]
    undecided[dropped] = False


class Clusters:
    """Sets that are linked, directly or through others: union-find over arrays."""

    def __init__(self, count: int) -> None:
        self.roots = np.arange(count)

    def unite(self, left: Numbers, right: Numbers) -> None:
        """Link the sets of each pair; the root of a cluster is its first set."""
        while True:
            ends = self.roots[left], self.roots[right]
            low, high = np.minimum(*ends), np.maximum(*ends)
            apart = low != high
            if not apart.any():
                return
            left, right = left[apart], right[apart]
            np.minimum.at(self.roots, high[apart], low[apart])
            while not np.array_equal(shorter := self.roots[self.roots], self.roots):
                self.roots = shorter


def find_clusters(candidates: Candidates) -> Clusters:
    """Return the clusters of all pairs that have the similarity."""
    clusters = Clusters(len(candidates))
    # Sets that repeat a kept one are linked to it, so that a large cluster has few pairs left to compare.
    repeats = find_repeats(candidates)
    dropped = np.flatnonzero(repeats.of != np.arange(len(candidates)))
    clusters.unite(dropped, repeats.of[dropped].astype(np.int64))
    candidates.link(clusters)
    return clusters


def mixed(buckets: Buckets, roots: NDArray[Any]) -> Iterator[Buckets]:
    """Yield the buckets whose sets are not all in one cluster already."""
    for part in buckets.parts():
        mine = roots[part.members]
        apart = np.minimum.reduceat(mine, part.starts) != np.maximum.reduceat(mine, part.starts)
        yield part.only(np.repeat(apart, part.sizes))
