"""Decide which of similar sets are kept, and which sets are linked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dataprep.core.ledger import advance
from dataprep.curate.duplicates.join import Buckets
from dataprep.curate.duplicates.sets import Sets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

_FEW_PAIRS = 1 << 20  # so many pairs are compared at once
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


def find_repeats(sets: Sets, buckets: Buckets, threshold: float, fixed: int = 0) -> Repeats:
    """Return the sets that are similar to a kept one.

    A set is kept unless it is similar to a kept one before it. So each dropped set has a kept one of at least
    the threshold's similarity, and no two kept ones have that. The first ``fixed`` sets are kept in any case.
    """
    repeats = Repeats.none(len(sets))
    undecided = np.ones(len(sets), bool)
    if fixed:
        for left, right in buckets.all_pairs(fixed):
            open_ = undecided[right]
            _drop(repeats, undecided, *_similar(sets, left[open_], right[open_], threshold))
        undecided[:fixed] = False
    while undecided.any():
        buckets = buckets.among(undecided)
        if buckets.count_pairs() <= _FEW_PAIRS:
            break
        before = int(undecided.sum())
        # A set that comes first wherever it stands has no similar one before it among the undecided.
        ready = undecided.copy()
        for part in buckets.parts():
            ready[part.members[part.leaders() != part.members]] = False
        undecided[ready] = False
        for part in buckets.parts():
            leaders, members = part.leaders(), part.members.astype(np.int64)
            pairs = ready[leaders] & undecided[members]
            _drop(repeats, undecided, *_similar(sets, leaders[pairs], members[pairs], threshold))
        decided = before - int(undecided.sum())
        advance("rows compared", decided)
        if decided < _SLOW * before:
            break
    _decide_rest(repeats, sets, buckets.among(undecided), threshold)
    return repeats


def _decide_rest(repeats: Repeats, sets: Sets, buckets: Buckets, threshold: float) -> None:
    """Compare all pairs that are left, and decide set after set."""
    parts = [_similar(sets, left, right, threshold) for left, right in buckets.all_pairs()]
    if not parts:
        return
    left, right, similarity = (np.concatenate(column) for column in zip(*parts, strict=True))
    best: dict[int, tuple[float, int]] = {}
    for number in np.lexsort((left, right)).tolist():
        first, second = int(left[number]), int(right[number])
        # All pairs of `first` with sets before it have been seen, so it is decided.
        if first not in best:
            best[second] = max(best.get(second, (0.0, 0)), (float(similarity[number]), -first))
    for second, (value, first) in best.items():
        repeats.of[second], repeats.similarity[second] = -first, value


def _similar(
    sets: Sets, left: Numbers, right: Numbers, threshold: float
) -> tuple[Numbers, Numbers, NDArray[np.float64]]:
    """Return the pairs that have the similarity, each once, and their similarity."""
    # Most pairs share several shingles of their prefixes.
    pairs = (left.astype(np.uint64) << np.uint64(32)) | right.astype(np.uint64)
    pairs.sort()
    pairs = pairs[np.concatenate([[len(pairs) > 0], pairs[1:] != pairs[:-1]])] if len(pairs) else pairs
    left, right = (pairs >> np.uint64(32)).astype(np.int64), (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64)
    possible = sets.possible(left, right, threshold)
    left, right = left[possible], right[possible]
    similarity = sets.similarities(left, right)
    advance("pairs compared", len(left))
    found = similarity >= threshold
    return left[found], right[found], similarity[found]


def _drop(
    repeats: Repeats,
    undecided: NDArray[np.bool_],
    left: Numbers,
    right: Numbers,
    similarity: NDArray[np.float64],
) -> None:
    """Drop the right set of each pair, for the most similar left one, and the first of those."""
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


def find_clusters(sets: Sets, buckets: Buckets, threshold: float) -> Clusters:
    """Return the clusters of all pairs that have the similarity."""
    clusters = Clusters(len(sets))
    # Sets that repeat a kept one are linked to it, so that a large cluster has few pairs left to compare.
    repeats = find_repeats(sets, buckets, threshold)
    dropped = np.flatnonzero(repeats.of != np.arange(len(sets)))
    clusters.unite(dropped, repeats.of[dropped].astype(np.int64))
    for part in _mixed(buckets, clusters):
        for left, right in part.all_pairs():
            apart = clusters.roots[left] != clusters.roots[right]
            clusters.unite(*_similar(sets, left[apart], right[apart], threshold)[:2])
    return clusters


def _mixed(buckets: Buckets, clusters: Clusters) -> Iterator[Buckets]:
    """Yield the buckets whose sets are not all in one cluster already."""
    for part in buckets.parts():
        roots = clusters.roots[part.members]
        mixed = np.minimum.reduceat(roots, part.starts) != np.maximum.reduceat(roots, part.starts)
        yield part.only(np.repeat(mixed, part.sizes))
