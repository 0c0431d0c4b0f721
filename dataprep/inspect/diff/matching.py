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

    RowNumbers = NDArray[np.uint32]

# Digests that are compared at a time, with about 80 bytes each.
_PART_ROWS = 1 << 20
_NONE = np.uint32(2**32 - 1)  # in place of a row


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
    changed: RowNumbers
    lost: RowNumbers
    gained: RowNumbers
    copies: tuple[int, int]
    moved: int


def match_rows(read: TwoFiles, by: str | None) -> Match:
    """Pair equal rows, and then, unless by content, those of the others that have the same key.

    Of several rows with the same digest, the first ones of both files are a pair, then the second ones.
    """
    begin = read.begin
    keys: RowNumbers | None = None
    why = ""
    if read.keys is not None and (by is not None or read.without_id is None):
        keys = representatives(read.keys, _PART_ROWS)
    if by is None:
        why = _why_not_by_id(read, keys)
        by = CONTENT if why else ID
    contents = representatives(read.contents, _PART_ROWS)
    partners = np.full(len(contents) - begin, _NONE, np.uint32)  # of the rows of the second file
    alone = np.ones(len(contents), bool)
    shared = _paired(contents, *_divided(alone, begin))
    changed = np.empty((0, 2), np.uint32)
    alone[shared] = False
    partners[shared[:, 1] - begin] = shared[:, 0]
    if by != CONTENT and keys is not None:
        changed = _paired(keys, *_divided(alone, begin))
        changed = changed[np.argsort(changed[:, 0])]
        alone[changed] = False
        partners[changed[:, 1] - begin] = changed[:, 0]
    lost, gained = _divided(alone, begin)
    copies = _copies(contents, lost, begin, len(contents)), _copies(contents, gained, 0, begin)
    order = partners[partners != _NONE]
    moved = len(order) - longest_rise(order)
    return Match(by, why, len(shared), changed, lost, gained, copies, moved)


def _divided(mask: NDArray[np.bool_], begin: int) -> tuple[RowNumbers, RowNumbers]:
    """Return the rows of the first and of the second file that a mask selects."""
    rows = np.flatnonzero(mask).astype(np.uint32)
    cut = int(np.searchsorted(rows, begin))
    return rows[:cut], rows[cut:]


def _copies(codes: RowNumbers, rows: RowNumbers, begin: int, end: int) -> int:
    """Return how many of some rows have equals among the rows from ``begin`` to ``end``."""
    present = np.zeros(len(codes), bool)
    present[codes[begin:end]] = True
    return int(present[codes[rows]].sum())


def _why_not_by_id(read: TwoFiles, keys: RowNumbers | None) -> str:
    """Return why the ids of two files do not name their rows; empty if they do."""
    if read.without_id is not None:
        return f"{read.contents.place_of(read.without_id)} has no id"
    assert keys is not None
    for rows in _divided(np.ones(len(keys), bool), read.begin):
        firsts = _firsts(keys, rows)[keys[rows]]
        repeats = np.flatnonzero(firsts != rows)
        if len(repeats):
            again = int(repeats[0])
            places = (read.contents.place_of(int(row)) for row in (firsts[again], rows[again]))
            return "{} and {} have the same id".format(*places)
    return ""


def _firsts(codes: RowNumbers, rows: RowNumbers) -> RowNumbers:
    """Return for each code the first of some rows, in their order, that has it; ``_NONE`` if none has."""
    firsts = np.full(len(codes), _NONE, np.uint32)
    # Of several values for one index, numpy keeps the last.
    firsts[codes[rows[::-1]]] = rows[::-1]
    return firsts


def _paired(codes: RowNumbers, ours: RowNumbers, theirs: RowNumbers) -> RowNumbers:
    """Return the pairs of rows with the same code, shape ``(count, 2)``: the n-th of each file."""
    a, b = codes[ours], codes[theirs]
    firsts, others = _firsts(codes, ours), _firsts(codes, theirs)
    repeated = np.zeros(len(codes), bool)
    repeated[a[firsts[a] != ours]] = True
    repeated[b[others[b] != theirs]] = True
    once = (firsts[b] != _NONE) & ~repeated[b]
    pairs = np.stack([firsts[b[once]], theirs[once]], axis=1)
    del firsts, others, once
    # Codes that rows of one file share are rare, and to sort them takes time and memory.
    ours, theirs = ours[repeated[a]], theirs[repeated[b]]
    (a_ranks, a_order), (b_ranks, b_order) = _ranked(codes[ours]), _ranked(codes[theirs])
    _, at_a, at_b = np.intersect1d(a_ranks, b_ranks, assume_unique=True, return_indices=True)
    more = np.stack([ours[a_order[at_a]], theirs[b_order[at_b]]], axis=1)
    return np.concatenate([pairs, more])


def _ranked(codes: RowNumbers) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return sorted numbers of a code and of how many equal ones are before it, and where they stand."""
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    begins = np.flatnonzero(np.diff(codes, prepend=codes[:1] + 1)) if len(codes) else order
    ranks = np.arange(len(codes)) - np.repeat(begins, np.diff(begins, append=len(codes)))
    return codes.astype(np.uint64) << np.uint64(32) | ranks.astype(np.uint64), order


def longest_rise(numbers: RowNumbers) -> int:
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
