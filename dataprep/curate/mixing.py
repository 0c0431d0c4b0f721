"""Choose and order the rows of a mixture: exact shares, and an order that depends on the seed alone.

``docs/commands/mix.md`` shows the same order in plain Python. Its hash is SplitMix64 (Steele et al. 2014).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import zip_longest
from typing import TYPE_CHECKING, Literal

import numpy as np

from dataprep.core.errors import UsageError
from dataprep.core.sampling import sorted_by

if TYPE_CHECKING:
    from numpy.typing import NDArray

Unit = Literal["rows", "documents", "tokens"]
_MASK = (1 << 64) - 1


def shares_of(
    weights: Sequence[float], temperature: float = 1.0, names: Sequence[str] = ()
) -> list[Fraction]:
    """Return the share of each source: its ``weight ** (1 / temperature)``, divided by their sum.

    ``names`` are the sources, for messages.

    Raises:
        UsageError: a weight is below 0 or not finite, all are 0, or the temperature is not above 0.
    """
    if not 0 < temperature < float("inf"):
        raise UsageError(f"--temperature {temperature}: must be a number above 0")
    for weight, name in zip_longest(weights, names):
        if not 0 <= weight < float("inf"):
            where = "" if name is None else f"{name}: "
            raise UsageError(f"{where}found the weight {weight:g}; expected a number of 0 or more")
    # As written: 0.7 is seven tenths, and not the nearest binary number.
    scaled = [Fraction(str(weight)) for weight in weights]
    whole = sum(scaled)
    if not whole:
        raise UsageError("all weights are 0: give at least one source a weight above 0")
    if temperature != 1:
        # The largest weight becomes 1, so that no power overflows.
        largest = max(scaled)
        scaled = [Fraction(float(weight / largest) ** (1 / temperature)) for weight in scaled]
        whole = sum(scaled)
    return [weight / whole for weight in scaled]


def check_amounts(amounts: Mapping[str, int | None]) -> None:
    """Raise ``UsageError`` for an amount below 1, by its flag, or if both rows and tokens are given."""
    for flag, value in amounts.items():
        if value is not None and value < 1:
            raise UsageError(f"{flag} {value}: must be 1 or more")
    if amounts.get("--total") is not None and amounts.get("--tokens") is not None:
        raise UsageError("--total and --tokens are two sizes of one mixture: give one of them")


def quotas(shares: Sequence[Fraction], total: int) -> list[int]:
    """Divide ``total`` rows by shares: the largest remainders are rounded up, the first one among equals."""
    exact = [share * total for share in shares]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: counts[index] - exact[index])
    for index in by_remainder[: total - sum(counts)]:
        counts[index] += 1
    return counts


def largest_total(shares: Sequence[Fraction], counts: Sequence[int], repeats: int = 1) -> int:
    """Return the largest total whose shares take no row more than ``repeats`` times."""

    def fits(total: int) -> bool:
        wanted = quotas(shares, total)
        return all(quota <= count * repeats for quota, count in zip(wanted, counts, strict=True))

    total = min(int(count * repeats / share) for count, share in zip(counts, shares, strict=True) if share)
    # Rounding moves a quota by less than one row.
    upper = total + len(shares) + 1
    return next((number for number in range(upper, -1, -1) if fits(number)), 0)


def divided(
    names: Sequence[str],
    shares: Sequence[Fraction],
    available: Sequence[int],
    amount: int | None,
    *,
    repeats: int | None,
    unit: Unit = "rows",
) -> list[int]:
    """Divide an amount by shares among sources that have enough for it.

    Args:
        names: the sources, for messages.
        shares: the share of each source.
        available: what each source has, in ``unit``.
        amount: what to divide; ``None`` takes the largest amount.
        repeats: how often a row may be taken; ``None`` sets no limit, and is once for the largest amount.
        unit: what is counted.

    Raises:
        UsageError: a source has too little, or nothing can be taken.
    """
    most = largest_total(shares, available, repeats or 1)
    parts = quotas(shares, most if amount is None else amount)
    for name, count, part in zip(names, available, parts, strict=True):
        if part and not count:
            raise UsageError(f"{name}: has no {unit}; leave it out, or give it the weight 0")
        if repeats is not None and part > count * repeats:
            flag = "--tokens" if unit == "tokens" else "--total"
            raise UsageError(
                f"{flag} {amount}: {part:,} {unit} of {name} are needed, which has {count:,}; the largest "
                f"{flag} in these shares is {most}: lower it, or raise --repeat-at-most (now {repeats})"
            )
    if not sum(parts):
        raise UsageError(
            f"no {unit} can be taken in these shares: leave sources without {unit} out, raise "
            "--repeat-at-most, or change the weights"
        )
    return parts


def nearest(lengths: NDArray[np.integer], quota: int, seed: int, *, before: int = 0) -> tuple[int, int]:
    """Return how many rows of a source come nearest to a quota of tokens, and their tokens.

    Rows are counted in the source's order, and again from its beginning after all of them.

    Args:
        lengths: number of tokens of each row.
        quota: number of tokens to take; 0 if no row has a token.
        seed: the seed of the source's order.
        before: number of rows that earlier epochs took from it.
    """
    if not quota:
        return 0, 0
    rounds, rest = divmod(quota, int(lengths.sum(dtype=np.int64)))
    rows = np.roll(shuffled_rows(lengths.size, seed), -(before % lengths.size))
    ends = np.concatenate([[0], np.cumsum(lengths[rows], dtype=np.int64)])
    # The fewest rows that hold the rest, or one less: whichever is nearer, and fewer if both are.
    count = int(np.searchsorted(ends, rest))
    if count and rest - int(ends[count - 1]) <= int(ends[count]) - rest:
        count -= 1
    return rounds * lengths.size + count, rounds * int(ends[-1]) + int(ends[count])


def check_any(tokens: int | None, counts: Sequence[int]) -> None:
    """Raise ``UsageError`` if no row is taken for a number of tokens."""
    if not any(counts):
        raise UsageError(f"--tokens {tokens}: no row is as short as twice its source's share: give more")


def shuffled_rows(count: int, seed: int) -> NDArray[np.int64]:
    """Return the numbers below ``count``, sorted by a hash of the seed and the number."""
    # Measured with 10,000,000 rows: a sixth of the time of `shuffled_order`.
    first = np.uint64((seed + 1) * 0x9E3779B97F4A7C15 & _MASK)
    rows = np.arange(count, dtype=np.uint64)
    x = rows * np.uint64(0x9E3779B97F4A7C15) + first
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x ^= x >> np.uint64(shift)
        x *= np.uint64(factor)
    x ^= x >> np.uint64(31)
    x >>= np.uint64(32)
    return sorted_by(x, rows)


def mixed_order(
    counts: Sequence[int], taken: Sequence[int], seed: int, *, before: Sequence[int] | None = None
) -> NDArray[np.int64]:
    """Return the order of a mixture; row r of source s has the number ``sum(counts[:s]) + r``.

    A source is gone through again when all of its rows are taken, so no row is taken twice more often than
    another. Every beginning of the order has nearly the shares of the whole.

    Args:
        counts: number of rows of each source.
        taken: number of rows to take from each source.
        seed: the seed of the order of each source.
        before: number of rows that earlier epochs took from each source; this one continues after them.
    """
    # Both are made whole at first: to put parts together would copy 160 MB for ten million rows.
    numbers, places = np.empty(sum(taken), dtype=np.int64), np.empty(sum(taken))
    first = begin = 0
    for source, (count, quota) in enumerate(zip(counts, taken, strict=True)):
        if quota:
            skip = before[source] % count if before else 0
            rows, end = shuffled_rows(count, seed), begin + quota
            fits = skip + quota <= count
            numbers[begin:end] = rows[skip : skip + quota] if fits else np.resize(np.roll(rows, -skip), quota)
            numbers[begin:end] += first
            np.divide(np.arange(0.5, quota), quota, out=places[begin:end])
            begin = end
        first += count
    if sum(map(bool, taken)) < 2:
        return numbers
    # Each part rises, so a stable sort merges them; the first source comes first among equals.
    return numbers[np.argsort(places, kind="stable")]
