"""What a review of teachers' answers found, as figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from dataprep.report.fit import Fit
from dataprep.responses import Outcome


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
