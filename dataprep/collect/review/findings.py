"""The figures of a review of teachers' answers, with the chi-square test and Cohen's kappa."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import erfc, exp, inf, lgamma, log, sqrt
from typing import Any

from dataprep.answers.baselines import Baselines
from dataprep.teacher.journal.line import OUTCOMES, Outcome

# With smaller expected counts the chi-square distribution is a poor approximation (Cochran 1952).
ENOUGH = 5.0


@dataclass(frozen=True)
class Fit:
    """Counts of letters compared with expected counts.

    Attributes:
        expected: the expected count of each letter, with the same sum as the counts.
        statistic: Pearson's chi-square, the sum of (count - expected)² / expected; ``None`` if fewer than two
            letters are expected, or one was counted that is never expected.
        degrees: degrees of freedom, the number of expected letters less one.
        p: probability of a statistic at least as large, if the expectation is true.
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
        """Return whether expected counts are too small for a meaningful p-value."""
        return self.least is not None and self.least < ENOUGH


def fit(counts: Mapping[str, int], expected: Mapping[str, float]) -> Fit:
    """Compare counts with expected counts by Pearson's chi-square test."""
    # A letter that is never expected has no cell: its term would divide by 0.
    cells = {letter: value for letter, value in expected.items() if value > 0}
    never = [letter for letter, count in counts.items() if count and letter not in cells]
    if len(cells) < 2 or never:
        return Fit(dict(expected), None, None, None, None, never)
    statistic = sum((counts.get(letter, 0) - value) ** 2 / value for letter, value in cells.items())
    degrees = len(cells) - 1
    return Fit(dict(expected), statistic, degrees, survival(statistic, degrees), min(cells.values()), never)


def survival(statistic: float, degrees: int) -> float:
    """Return the probability that a chi-square variable is greater than ``statistic``.

    For whole degrees of freedom the integral has a closed form (Abramowitz & Stegun, Handbook of
    Mathematical Functions, 26.4.4 and 26.4.5). With h = statistic/2, it is the sum of e⁻ʰ hˢ / Γ(s+1)
    over s = 0, 1, …, degrees/2 - 1. For odd degrees it is the sum over
    s = 1/2, 3/2, …, degrees/2 - 1, and erfc(√h).

    Args:
        statistic: at least 0; may be infinite.
        degrees: degrees of freedom, at least 1.
    """
    half = statistic / 2
    # The logarithm below is not defined at 0 and not finite at infinity.
    if half <= 0:
        return 1.0
    if half == inf:
        return 0.0
    start = (degrees % 2) / 2
    total = erfc(sqrt(half)) if start else 0.0
    for step in range(degrees // 2):
        power = start + step
        total += exp(power * log(half) - half - lgamma(power + 1))  # by logarithms, since powers overflow
    return min(total, 1.0)


def kappa(pairs: Mapping[tuple[str, str], int]) -> float | None:
    """Return Cohen's kappa (1960): the agreement of two raters beyond chance.

    Args:
        pairs: number of items by the answers of the first and the second rater.

    Returns:
        1 for full agreement, 0 for the agreement by chance; ``None`` without pairs, or if both raters always
        give the same one answer, so that chance gives full agreement.
    """
    total = sum(pairs.values())
    first: dict[str, int] = {}
    second: dict[str, int] = {}
    for (one, other), count in pairs.items():
        first[one] = first.get(one, 0) + count
        second[other] = second.get(other, 0) + count
    # In whole numbers, so that full agreement gives exactly 1.
    same = total * sum(count for (one, other), count in pairs.items() if one == other)
    chance = sum(count * second.get(name, 0) for name, count in first.items())
    return (same - chance) / (total * total - chance) if total * total > chance else None


@dataclass(frozen=True)
class Unread:
    """A reply from which no single letter could be read, with the id of its question, and why."""

    id: str
    reply: str
    reason: str = ""


@dataclass(frozen=True)
class Agreement:
    """A teacher's replies compared with the references.

    Attributes:
        asked: number of questions with a reference that the teacher was asked.
        replies: number of them with a reply.
        read: number of replies with a readable letter.
        right: number of those letters that are right.
        matrix: number of replies by right letter, then by the letter answered or ``"unread"``.
        sizes: number of replies by the number of choices of their questions.
    """

    asked: int
    replies: int
    read: int
    right: int
    matrix: dict[str, dict[str, int]]
    sizes: dict[int, int]

    @property
    def baselines(self) -> Baselines:
        """The shares that guesses and the most frequent gold letter reach, and the distributions."""
        letters = list(self.matrix)
        found = Baselines(letters, letters=True, right=self.right)
        found.sizes.update(self.sizes)
        for letter, row in self.matrix.items():
            found.gold[letter] += sum(row.values())
            found.answered.update({answer: row[answer] for answer in letters})
        return found

    def shares(self) -> dict[str, float | None]:
        """Return the share of right letters in the letters read, in the replies, and in the questions."""
        parts = {"of_read": self.read, "of_replies": self.replies, "of_asked": self.asked}
        return {name: self.right / total if total else None for name, total in parts.items()}

    def by_letter(self) -> dict[str, tuple[int, int]]:
        """Return the numbers of replies and of right replies by right letter."""
        return {letter: (sum(row.values()), row[letter]) for letter, row in self.matrix.items()}


@dataclass(frozen=True)
class TeacherReview:
    """The answers of one teacher.

    Attributes:
        name: the teacher.
        lines: number of its lines or rows.
        superseded: number of lines that another line replaces.
        outcomes: number of the other lines by outcome; ``ok`` are the replies.
        read: number of replies with a single readable letter.
        unread: the first of the other replies.
        unread_more: number of further ones.
        answers: number of replies by letter.
        uniform: the letters compared with equal shares of each question's choices.
        gold: the letters compared with the references of the same questions, if there are any.
        agreement: the replies compared with the references.
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
        """The share of replies with a single readable letter."""
        return self.read / self.outcomes["ok"] if self.outcomes["ok"] else None


def shown_outcomes(teachers: Sequence[TeacherReview]) -> list[Outcome]:
    """Return the outcomes that a table of teachers has columns for."""
    return [outcome for outcome in OUTCOMES if any(outcome in teacher.outcomes for teacher in teachers)]


@dataclass(frozen=True)
class Pair:
    """The letters of two teachers.

    Attributes:
        first, second: the teachers.
        both: number of questions for which both gave a letter.
        same: number of questions for which it was the same.
        kappa: Cohen's kappa; ``None`` if it is not defined.
    """

    first: str
    second: str
    both: int
    same: int
    kappa: float | None


@dataclass(frozen=True)
class Joined:
    """The ids of the questions compared with those of the references.

    Attributes:
        rows: number of references.
        found: number of questions with a reference.
        missing: number of questions without one.
        missing_ids: the first ids of those.
    """

    rows: int
    found: int
    missing: int
    missing_ids: list[str]


@dataclass(frozen=True)
class Review:
    """The result of ``review``.

    Attributes:
        files: the files that were read.
        questions: number of ids.
        letters: the letters of the choices, up to the last one that any question has.
        gold: how the ids match the references, if there are any.
        teachers: the answers of each teacher.
        pairs: the letters of each two teachers.
    """

    files: list[str]
    questions: int
    letters: list[str]
    gold: Joined | None
    teachers: list[TeacherReview]
    pairs: list[Pair]

    def to_json(self) -> dict[str, Any]:
        """Return the figures, with shares, as a JSON object."""
        written = asdict(self)
        for teacher, plain in zip(self.teachers, written["teachers"], strict=True):
            plain["read_share"] = teacher.read_share
            if teacher.agreement is not None:
                del plain["agreement"]["sizes"]
                if teacher.agreement.replies:
                    plain["agreement"] |= teacher.agreement.baselines.to_json()
                plain["agreement"]["right_share"] = teacher.agreement.shares()
                plain["agreement"]["by_letter"] = {
                    letter: {
                        "replies": replies,
                        "right": right,
                        "right_share": right / replies if replies else None,
                    }
                    for letter, (replies, right) in teacher.agreement.by_letter().items()
                }
            # `asdict` knows fields only, so values that are computed from them are added here.
            for name in ("uniform", "gold"):
                test: Fit | None = getattr(teacher, name)
                if test is not None:
                    plain[name]["means_little"] = test.means_little
        for pair, plain in zip(self.pairs, written["pairs"], strict=True):
            plain["same_share"] = pair.same / pair.both if pair.both else None
        return written


def share(part: int, total: int) -> str:
    """Return a share in percent, or a dash if the total is 0."""
    return f"{part / total:.1%}" if total else "–"
