"""How far counts are from what was expected: Pearson's chi-square test, and Cohen's kappa."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import erfc, exp, inf, lgamma, log, sqrt

ENOUGH = 5.0
"""The least expected count with which the chi-square distribution is a fair approximation (Cochran 1952)."""


@dataclass(frozen=True)
class Fit:
    """The counts of letters against expected ones.

    Attributes:
        expected: what was expected of each letter that was offered; the sum is that of the counts.
        statistic: Pearson's chi-square, the sum of (count - expected)² / expected; ``None`` where there is
            none: fewer than two letters are expected, or one was counted that never is.
        degrees: its degrees of freedom, the number of letters expected less one.
        p: how likely a statistic at least as large is if the expectation is true.
        least: the least of the expected counts.
        never: letters that were counted and are never expected.
    """

    expected: dict[str, float]
    statistic: float | None
    degrees: int | None
    p: float | None
    least: float | None
    never: list[str]

    @property
    def means_little(self) -> bool:
        """Whether expected counts are too small for the p-value to be trusted."""
        return self.least is not None and self.least < ENOUGH


def fit(counts: Mapping[str, int], expected: Mapping[str, float]) -> Fit:
    """Test counts against expected ones; letters with an expected count of 0 are no cells of the test."""
    cells = {letter: value for letter, value in expected.items() if value > 0}
    never = [letter for letter, count in counts.items() if count and letter not in cells]
    if len(cells) < 2 or never:
        return Fit(dict(expected), None, None, None, None, never)
    statistic = sum((counts.get(letter, 0) - value) ** 2 / value for letter, value in cells.items())
    degrees = len(cells) - 1
    return Fit(dict(expected), statistic, degrees, survival(statistic, degrees), min(cells.values()), never)


def survival(statistic: float, degrees: int) -> float:
    """The probability that a chi-square variable is greater than ``statistic``.

    For whole degrees of freedom the integral has a closed form (Abramowitz & Stegun, Handbook of
    Mathematical Functions, 26.4.4 and 26.4.5): with h = statistic/2, the sum of e⁻ʰ hˢ / Γ(s+1) over
    s = 0, 1, …, degrees/2 - 1; for odd degrees over s = 1/2, 3/2, …, degrees/2 - 1, and erfc(√h).

    Args:
        statistic: at least 0; may be infinite.
        degrees: degrees of freedom, at least 1.
    """
    half = statistic / 2
    if half <= 0:
        return 1.0
    if half == inf:
        return 0.0
    start = (degrees % 2) / 2
    total = erfc(sqrt(half)) if start else 0.0
    for step in range(degrees // 2):
        power = start + step
        total += exp(power * log(half) - half - lgamma(power + 1))  # as a logarithm: powers overflow
    return min(total, 1.0)


def kappa(pairs: Mapping[tuple[str, str], int]) -> float | None:
    """Cohen's kappa (1960): agreement beyond what two raters' own distributions give by chance.

    Args:
        pairs: how often the first rater said one thing and the second the other.

    Returns:
        1 for full agreement, 0 for what chance gives, negative below; ``None`` where there are no pairs, or
        both raters always say the same one thing, so that chance gives full agreement.
    """
    total = sum(pairs.values())
    first: dict[str, int] = {}
    second: dict[str, int] = {}
    for (one, other), count in pairs.items():
        first[one] = first.get(one, 0) + count
        second[other] = second.get(other, 0) + count
    # In whole numbers, so that full agreement is 1 exactly.
    same = total * sum(count for (one, other), count in pairs.items() if one == other)
    chance = sum(count * second.get(name, 0) for name, count in first.items())
    return (same - chance) / (total * total - chance) if total * total > chance else None
