"""The figures of a review of teachers' answers, with the chi-square test and Cohen's kappa."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import erfc, exp, inf, lgamma, log, sqrt
from typing import Any

from dataprep.teacher.journal.line import Outcome

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


@dataclass(frozen=True)
class Unread:
    """A reply from which no single letter could be read: its question's id, and what it says."""

    id: str
    reply: str


@dataclass(frozen=True)
class Agreement:
    """How a teacher's replies stand to the gold answers.

    Attributes:
        asked: questions with a gold row that the teacher was asked, whatever came of it.
        replies: how many of them were replied to.
        read: from how many replies a letter could be read.
        right: how many of those letters are the gold ones.
        matrix: replies by gold letter, then by the letter answered or ``"unread"``.
    """

    asked: int
    replies: int
    read: int
    right: int
    matrix: dict[str, dict[str, int]]

    def shares(self) -> dict[str, float | None]:
        """The right letters' share of the letters read, of the replies, and of the questions asked."""
        parts = {"of_read": self.read, "of_replies": self.replies, "of_asked": self.asked}
        return {name: self.right / total if total else None for name, total in parts.items()}

    def by_letter(self) -> dict[str, tuple[int, int]]:
        """By gold letter, how many replies there were and how many of them were right."""
        return {letter: (sum(row.values()), row[letter]) for letter, row in self.matrix.items()}


@dataclass(frozen=True)
class TeacherReview:
    """What one teacher answered.

    Attributes:
        name: the teacher.
        lines: how many lines or rows it has.
        superseded: how many of them another took the place of.
        outcomes: the others, by outcome; ``ok`` are the replies.
        read: from how many replies a single letter could be read.
        unread: the first of the other replies.
        unread_more: how many more there are.
        answers: replies by the letter read.
        uniform: the letters against equal shares of the choices that each question had.
        gold: the letters against the gold answers of the same questions, where there are any.
        agreement: the letters with the gold answers.
    """

    name: str
    lines: int
    superseded: int
    outcomes: dict[Outcome, int]
    read: int
    unread: list[Unread]
    unread_more: int
    answers: dict[str, int]
    uniform: Fit
    gold: Fit | None
    agreement: Agreement | None

    @property
    def read_share(self) -> float | None:
        """The share of the replies from which a single letter could be read."""
        return self.read / self.outcomes["ok"] if self.outcomes["ok"] else None


@dataclass(frozen=True)
class Pair:
    """Two teachers' letters, on the questions where both gave one.

    Attributes:
        first, second: the teachers.
        both: on how many questions both gave a letter.
        same: on how many it was the same.
        kappa: Cohen's kappa; ``None`` where chance alone would make them agree fully.
    """

    first: str
    second: str
    both: int
    same: int
    kappa: float | None


@dataclass(frozen=True)
class Joined:
    """How the questions' ids met the gold file's.

    Attributes:
        rows: ids in the gold file.
        found: ids of the questions that have a gold row.
        missing: how many have none.
        missing_ids: the first of them.
    """

    rows: int
    found: int
    missing: int
    missing_ids: list[str]


@dataclass(frozen=True)
class Review:
    """What ``review`` found.

    Attributes:
        files: what was read.
        questions: how many ids there are.
        letters: the labels of the choices, from ``a`` on, up to the last that any question has.
        gold: how the ids met the gold file's, where there is one.
        teachers: what each answered, in the order in which they come.
        pairs: each two teachers' letters beside each other.
    """

    files: list[str]
    questions: int
    letters: list[str]
    gold: Joined | None
    teachers: list[TeacherReview]
    pairs: list[Pair]

    def to_json(self) -> dict[str, Any]:
        """The figures as a JSON object, shares worked out."""
        written = asdict(self)
        for each, plain in zip(self.teachers, written["teachers"], strict=True):
            plain["read_share"] = each.read_share
            if each.agreement is not None:
                plain["agreement"]["right_share"] = each.agreement.shares()
                plain["agreement"]["by_letter"] = {
                    letter: {
                        "replies": replies,
                        "right": right,
                        "right_share": right / replies if replies else None,
                    }
                    for letter, (replies, right) in each.agreement.by_letter().items()
                }
            for name in ("uniform", "gold"):
                test: Fit | None = getattr(each, name)
                if test is not None:
                    plain[name]["means_little"] = test.means_little
        for pair, plain in zip(self.pairs, written["pairs"], strict=True):
            plain["same_share"] = pair.same / pair.both if pair.both else None
        return written


def share(part: int, total: int) -> str:
    """Return a share in percent, or a dash if the total is 0."""
    return f"{part / total:.1%}" if total else "–"
