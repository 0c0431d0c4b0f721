"""How sure a figure is: intervals that hold the true one in 95 of 100 samples like this."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Z = 1.959963984540054
"""The normal distribution's 97.5 % point."""

RESAMPLES = 2000
_CELLS = 1 << 22  # numbers drawn at once


def wilson(right: int, rows: int) -> tuple[float, float]:
    """Wilson's score interval of a share; the whole range where there are no rows.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if not rows:
        return 0.0, 1.0
    share, over = right / rows, Z * Z / rows
    middle = (share + over / 2) / (1 + over)
    half = Z * math.sqrt(share * (1 - share) / rows + over / (4 * rows)) / (1 + over)
    # At the ends the formula is exact, and floating point is not.
    return (0.0 if right == 0 else middle - half), (1.0 if right == rows else middle + half)


def bootstrap(
    values: Sequence[float], weights: Sequence[float] | None = None, *, seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap's interval of a mean, or with weights of ``sum(values) / sum(weights)``.

    Rows are drawn with replacement ``RESAMPLES`` times, by numpy's PCG64 with ``seed``.

    Args:
        values: one a row, at least one.
        weights: one a row, such as how many tokens a sum of losses is of.
        seed: of the draws.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13.
    """
    tops = np.asarray(values, dtype=np.float64)
    bottoms = np.ones_like(tops) if weights is None else np.asarray(weights, dtype=np.float64)
    generator = np.random.Generator(np.random.PCG64(seed))
    found: list[float] = []
    while len(found) < RESAMPLES:
        many = min(RESAMPLES - len(found), max(1, _CELLS // len(tops)))
        drawn = generator.integers(len(tops), size=(many, len(tops)))
        found += (tops[drawn].sum(axis=1) / bottoms[drawn].sum(axis=1)).tolist()
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)
