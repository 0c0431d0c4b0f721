"""Pair the rows of two files by their digests."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dataprep.curate.duplicates.exact import representatives
from dataprep.inspect.diff.rows import CONTENT, ID, TwoFiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]
    Codes = NDArray[np.uint32]


@dataclass
class Match:
    """The pairs of rows of two files, and the rows without a partner, numbered as in ``TwoFiles``.

    Attributes:
        by: how rows were matched: ``"id"``, ``"content"`` or a part of the row.
        why: why not by id, if nothing was asked for.
        shared: number of pairs of equal rows.
        changed: pairs of different rows with the same key, shape ``(count, 2)``, in the first file's order.
        lost: rows of the first file without a partner.
        gained: rows of the second file without a partner.
        copies: of the lost and of the gained rows, number of those that the other file has less often.
        moved: the least number of paired rows to take out so that the others have the same order.
    """

    by: str
    why: str
    shared: int
    changed: Numbers
    lost: Numbers
    gained: Numbers
    copies: tuple[int, int]
    moved: int


def match_rows(read: TwoFiles, by: str | None) -> Match:
    """Pair equal rows, and then, unless by content, those of the others that have the same key.

    Of several rows with the same digest, the first ones of both files are a pair, then the second ones.
    """
    begin = read.begin
    keys: Codes | None = None
    why = ""
    if read.keys is not None and (by is not None or read.without_id is None):
        keys = representatives(read.keys)
    if by is None:
        why = _why_not_by_id(read, keys)
        by = CONTENT if why else ID
    contents = representatives(read.contents)
    count = len(contents)
    shared = _paired(contents, np.arange(begin), np.arange(begin, count))
    alone = np.ones(count, bool)
    alone[shared] = False
    changed = np.empty((0, 2), np.int64)
    if by != CONTENT and keys is not None:
        rest = np.flatnonzero(alone)
        cut = int(np.searchsorted(rest, begin))
        changed = _paired(keys, rest[:cut], rest[cut:])
        changed = changed[np.argsort(changed[:, 0])]
        alone[changed] = False
    del keys
    rest = np.flatnonzero(alone)
    cut = int(np.searchsorted(rest, begin))
    lost, gained = rest[:cut], rest[cut:]
    both = np.concatenate([shared, changed])
    order = both[np.argsort(both[:, 0]), 1]
    copies = (
        int(np.isin(contents[lost], contents[begin:]).sum()),
        int(np.isin(contents[gained], contents[:begin]).sum()),
    )
    return Match(by, why, len(shared), changed, lost, gained, copies, len(order) - longest_rise(order))


def _why_not_by_id(read: TwoFiles, keys: Codes | None) -> str:
    """Return why the ids of two files do not name their rows; empty if they do."""
    if read.without_id is not None:
        return f"{read.contents.place_of(read.without_id)} has no id"
    assert keys is not None
    for first, codes in ((0, keys[: read.begin]), (read.begin, keys[read.begin :])):
        _, firsts, group = np.unique(codes, return_index=True, return_inverse=True)
        if len(firsts) < len(codes):
            again = int(np.flatnonzero(firsts[group] != np.arange(len(codes)))[0])
            places = (read.contents.place_of(first + row) for row in (int(firsts[group[again]]), again))
            return "{} and {} have the same id".format(*places)
    return ""


def _paired(codes: Codes, ours: Numbers, theirs: Numbers) -> Numbers:
    """Return the pairs of rows with the same code, shape ``(count, 2)``: the n-th of each file."""
    (a, a_order), (b, b_order) = _ranked(codes[ours]), _ranked(codes[theirs])
    _, at_a, at_b = np.intersect1d(a, b, assume_unique=True, return_indices=True)
    return np.stack([ours[a_order[at_a]], theirs[b_order[at_b]]], axis=1)


def _ranked(codes: Codes) -> tuple[NDArray[np.uint64], Numbers]:
    """Return sorted numbers of a code and of how many equal ones are before it, and where they stand."""
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    begins = np.flatnonzero(np.diff(codes, prepend=codes[:1] + 1)) if len(codes) else order
    ranks = np.arange(len(codes)) - np.repeat(begins, np.diff(begins, append=len(codes)))
    return codes.astype(np.uint64) << np.uint64(32) | ranks.astype(np.uint64), order


def longest_rise(numbers: Numbers) -> int:
    """Return the length of the longest subsequence that rises; the numbers are different.

    >>> longest_rise(np.array([2, 0, 1, 3]))
    3
    """
    if bool(np.all(numbers[1:] > numbers[:-1])):
        return len(numbers)
    # The smallest last number of a subsequence of each length, which all rise.
    ends = array("q")
    last = -1
    for begin in range(0, len(numbers), 1 << 16):
        for number in numbers[begin : begin + (1 << 16)].tolist():
            if number > last:
                ends.append(number)
                last = number
            else:
                ends[bisect_left(ends, number)] = number
                last = ends[-1]
    return len(ends)
