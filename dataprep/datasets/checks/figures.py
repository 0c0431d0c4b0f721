"""The figures of ``stats``, and how they follow from counts."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

BINS = 12
DIGEST_BYTES = 16
"""Bytes of a hash that stand for a row: two different rows sharing them is not to be expected."""


@dataclass(frozen=True)
class Lengths:
    """Characters (Unicode code points) in the texts of one role or field."""

    texts: int
    min: int
    median: float
    p95: float
    max: int


@dataclass(frozen=True)
class Tokens(Lengths):
    """Tokens in the texts of one role, field or source, and their sum."""

    total: int


@dataclass(frozen=True)
class Bin:
    """Number of rows that have ``low`` to ``high`` characters."""

    low: int
    high: int
    rows: int


@dataclass(frozen=True)
class Stats:
    """The result of ``stats``.

    Attributes:
        rows: number of rows.
        sources: rows by ``source`` field, or by file for rows without one.
        characters: lengths by role in chat rows, by field in other rows.
        duplicates: rows whose content (all but ``id`` and ``source``) an earlier row has too.
        histogram: rows by their number of characters.
        roles: messages of chat rows by role.
        parts: what chat rows have beside contents, such as tool calls; only what occurs.
        tokens: tokens by role or field, if a tokenizer was given.
        tokens_by_source: tokens of whole rows' texts by source, if a tokenizer was given.
        labels: multiple-choice rows by the letter of their right answer, if there are any.
    """

    rows: int
    sources: dict[str, int]
    characters: dict[str, Lengths]
    duplicates: int
    histogram: list[Bin]
    roles: dict[str, int] | None = None
    parts: dict[str, int] | None = None
    tokens: dict[str, Tokens] | None = None
    tokens_by_source: dict[str, Tokens] | None = None
    labels: dict[str, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the figures as a JSON object."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def tokens_of(counts: Counter[int]) -> Tokens:
    """Return the figures of numbers of tokens, given how many texts have each number."""
    total = sum(length * count for length, count in counts.items())
    return Tokens(**asdict(lengths_of(counts)), total=total)


def lengths_of(counts: Counter[int]) -> Lengths:
    """Return the figures of lengths, given how many texts have each length; at least one text."""
    texts, at = counts.total(), rank_of(counts)
    return Lengths(
        texts=texts,
        min=min(counts),
        median=(at((texts - 1) // 2) + at(texts // 2)) / 2,
        p95=float(at(nearest_rank(0.95, texts))),
        max=max(counts),
    )


def rank_of(counts: Counter[int]) -> Callable[[int], int]:
    """Return a function that returns the length at an index of all lengths in ascending order."""
    lengths = sorted(counts)
    ends = list(accumulate(counts[length] for length in lengths))
    return lambda index: lengths[bisect_right(ends, index)]


def nearest_rank(quantile: float, count: int) -> int:
    """Return the index that is nearest to a quantile, of ``count`` values in ascending order."""
    return int(quantile * (count - 1) + 0.5)


def histogram(counts: Counter[int]) -> list[Bin]:
    """Return bins of equal width up to the 99th percentile; the last one takes all longer rows too."""
    if not counts:
        return []
    longest, shortest = max(counts), min(counts)
    # One row of a megabyte would otherwise leave all others in the first bin.
    usual = rank_of(counts)(nearest_rank(0.99, counts.total()))
    # Rounded up, so that there are never more than BINS bins.
    width = max(1, -(-(usual + 1 - shortest) // BINS))
    edges = list(range(shortest, usual + 1, width))
    rows = [0] * len(edges)
    for length, count in counts.items():
        rows[min((length - shortest) // width, len(edges) - 1)] += count
    tops = [edge - 1 for edge in edges[1:]] + [longest]
    return [Bin(low, high, held) for low, high, held in zip(edges, tops, rows, strict=True)]


def count_repeated(digests: bytes | bytearray) -> int:
    """Return how many digests, which follow each other, an earlier one equals."""
    import numpy as np

    halves = np.frombuffer(digests, np.uint64).reshape(-1, 2).T
    order = np.lexsort(halves)
    same = np.ones(max(len(order) - 1, 0), dtype=bool)
    for half in halves:
        ordered = half[order]
        same &= ordered[1:] == ordered[:-1]
    return int(same.sum())


def by_bucket(digests: bytes, buckets: int) -> list[bytes]:
    """Return digests divided among buckets, so that equal ones are in the same bucket."""
    import numpy as np

    halves = np.frombuffer(digests, np.uint64).reshape(-1, 2)
    bucket = halves[:, 0] % np.uint64(buckets)
    return [halves[bucket == number].tobytes() for number in range(buckets)]
