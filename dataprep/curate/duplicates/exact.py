"""Find rows with equal digests, a share of the digests at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from dataprep.curate.duplicates.rows import DIGEST_BYTES, Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Digests that are compared at a time: 40 bytes each, and as much again while they are sorted.
PART_ROWS = 4 << 20
_READ_ROWS = 1 << 20
Digests = tuple["NDArray[np.int64]", "NDArray[np.uint64]", "NDArray[np.uint64]"]


def representatives(rows: Rows, part_rows: int = PART_ROWS) -> NDArray[np.uint32]:
    """Return for each row the one that is kept of all that are equal, shape ``(rows.count,)``.

    It is the one with the highest score, and the first of those. A row that is kept in any case has
    precedence over the others.
    """
    kept = np.arange(rows.count, dtype=np.uint32)
    for part in _parts(rows, -(-rows.count // part_rows)):
        numbers, first = keep_one(part, rows.scores, rows.fixed)
        kept[numbers] = first
    return kept


def keep_one(
    digests: Digests, scores: NDArray[np.float64] | None, fixed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of rows in some order, and for each the one that is kept of all that equal it.

    Args:
        digests: numbers of rows, rising, and both halves of their digests.
        scores: the score of each row, by its number.
        fixed: the number of the first row that is not kept in any case.
    """
    numbers, high, low = _sorted(*digests)
    begins = np.ones(len(high), bool)
    begins[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    starts = np.flatnonzero(begins)
    sizes = np.diff(starts, append=len(high))
    first = numbers[starts]
    if scores is not None and len(numbers):
        ranks = np.where(numbers < fixed, np.inf, scores[numbers])
        best = np.repeat(np.maximum.reduceat(ranks, starts), sizes)
        first = np.minimum.reduceat(np.where(ranks == best, numbers, len(scores)), starts)
    return numbers, np.repeat(first, sizes)


def _sorted(numbers: NDArray[np.int64], high: NDArray[np.uint64], low: NDArray[np.uint64]) -> Digests:
    """Return rows by digest, and those with the same one in their order."""
    order = np.argsort(high, kind="stable")
    result = numbers[order], high[order], low[order]
    _, high, low = result
    if np.any((high[1:] == high[:-1]) & (low[1:] != low[:-1])):  # next to never
        order = np.lexsort((result[0], low, high))
        result = result[0][order], high[order], low[order]
    return result


def _parts(rows: Rows, parts: int) -> Iterator[Digests]:
    """Yield the numbers of the rows and the halves of their digests, divided by the digests' first bits."""
    for part in range(parts):
        found: list[Digests] = []
        for begin, high, low in halves(rows):
            # Without an overflow, and as even as the digests are: the first 32 bits decide.
            mine = np.flatnonzero((high >> np.uint64(32)) * np.uint64(parts) >> np.uint64(32) == part)
            found.append((begin + mine, high[mine], low[mine]))
        yield tuple(np.concatenate(column) for column in zip(*found, strict=True))  # type: ignore[misc]


def halves(rows: Rows) -> Iterator[tuple[int, NDArray[np.uint64], NDArray[np.uint64]]]:
    """Yield the digests as two numbers of 64 bits, many rows at a time, with the number of the first."""
    begin = 0
    with rows.digests.open("rb") as file:
        while data := file.read(_READ_ROWS * DIGEST_BYTES):
            pairs = np.frombuffer(data, ">u8").reshape(-1, 2).astype(np.uint64)
            yield begin, pairs[:, 0], pairs[:, 1]
            begin += len(pairs)
