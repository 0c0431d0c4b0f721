"""Of several lines about one question, the one that counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from dataprep.responses import Outcome


@dataclass(frozen=True, slots=True)
class Answer:
    """What is kept of a reply: no more than the figures need.

    Attributes:
        outcome: what came of the question; only ``ok`` is a reply.
        letter: the letter that the reply names; ``None`` for none, and where there is no reply.
        choices: how many choices there were; 0 where that is not known.
        excerpt: the beginning and the end of a reply that names none.
    """

    outcome: Outcome
    letter: str | None = None
    choices: int = 0
    excerpt: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A teacher's answer to one question, once asked.

    Attributes:
        teacher: who answered.
        id: the question's id; in rows without one the line's place, or the question itself.
        key: what was asked with; a later key takes an earlier one's place.
        sample: which of several answers to the same question it is, counted from 0.
        answer: what came of it.
    """

    teacher: str
    id: str
    key: str
    sample: int
    answer: Answer


Asked = tuple[str, int]
"""A question's id, and which of several answers to it."""


class Journal:
    """Takes replies one by one and keeps, for each teacher and question, the one that counts.

    The key of the last line of a question is its current one. Of several lines with that key (a failure asked
    again) a whole answer goes before one cut off, that before a refusal or nothing, that before a failure;
    among equals the last one counts.
    """

    RANK: Mapping[Outcome, int] = {"ok": 3, "length": 2, "refused": 1, "empty": 1, "failed": 0}

    def __init__(self) -> None:
        self.lines: Counter[str] = Counter()
        self._answers: dict[str, dict[tuple[str, str, int], Answer]] = {}
        self._current: dict[str, dict[str, str]] = {}
        self._known: dict[Answer, Answer] = {}

    def add(self, reply: Reply) -> None:
        """One more line."""
        answers = self._answers.setdefault(reply.teacher, {})
        self._current.setdefault(reply.teacher, {})[reply.id] = reply.key
        self.lines[reply.teacher] += 1
        asked = (reply.id, reply.key, reply.sample)
        before = answers.get(asked)
        if before is None or self.RANK[reply.answer.outcome] >= self.RANK[before.outcome]:
            # Most answers are one of a few, and kept only once.
            answer = reply.answer
            answers[asked] = answer if answer.excerpt else self._known.setdefault(answer, answer)

    def current(self) -> dict[str, dict[Asked, Answer]]:
        """By teacher, the answers that count."""
        return {
            teacher: {
                (own, sample): answer
                for (own, key, sample), answer in answers.items()
                if key == self._current[teacher][own]
            }
            for teacher, answers in self._answers.items()
        }
