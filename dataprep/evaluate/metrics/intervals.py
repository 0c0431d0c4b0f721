"""Compute 95 % confidence intervals of shares and means."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Z = 1.959963984540054  # the normal distribution's 97.5 % point
RESAMPLES = 2000
_CELLS = 1 << 22


def wilson(right: int, rows: int) -> tuple[float, float]:
    """Return Wilson's score interval of a share; the whole range if there are no rows.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if not rows:
        return 0.0, 1.0
    share, over = right / rows, Z * Z / rows
    middle = (share + over / 2) / (1 + over)
    half = Z * math.sqrt(share * (1 - share) / rows + over / (4 * rows)) / (1 + over)
    # At the ends the formula gives exactly 0 and 1, but floating point does not.
    return (0.0 if right == 0 else middle - half), (1.0 if right == rows else middle + half)


def bootstrap(
    values: Sequence[float], weights: Sequence[float] | None = None, *, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a mean, or with weights of a ratio of sums.

    Rows are drawn with replacement ``RESAMPLES`` times, by numpy's PCG64 with ``seed``.
    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13.
    """
    tops = np.asarray(values, dtype=np.float64)
    bottoms = np.ones_like(tops) if weights is None else np.asarray(weights, dtype=np.float64)
    generator = np.random.Generator(np.random.PCG64(seed))
    means: list[float] = []
    while len(means) < RESAMPLES:
        # Some resamples at a time: all at once would take memory for 2,000 times the rows.
        count = min(RESAMPLES - len(means), max(1, _CELLS // len(tops)))
        drawn = generator.integers(len(tops), size=(count, len(tops)))
        means += (tops[drawn].sum(axis=1) / bottoms[drawn].sum(axis=1)).tolist()
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
