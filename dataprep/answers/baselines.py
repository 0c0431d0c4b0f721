"""Compare figures of choices and classes with what a system without any skill reaches.

A figure such as an accuracy of 55 % says little alone: if one of two classes is in 60 % of the rows, it is
worse than naming that class for every row. So each figure is shown with two others: **chance**, the share
that guesses get right, and the **majority**, the share of the rows whose answer is the most frequent one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Z = 1.959963984540054  # the normal distribution's 97.5 % point
# The share of the answers from which on one answer is said to be the only one that a system gives.
ONE_ANSWER = 0.9
# With fewer rows, intervals are so wide that a right system can look like this too.
ENOUGH_ROWS = 10


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


@dataclass(slots=True)
class Baselines:
    """Counts of gold answers and of a system's answers, added up row by row.

    Attributes:
        classes: the letters of the choices, or the classes, in their order.
        letters: whether they are letters of choices; texts then have them as `(a)`.
        gold: number of rows by their gold answer.
        answered: number of rows by the answer of the system. Rows without a readable answer are left out.
        sizes: number of rows by the number of answers that they offer.
        right: number of rows whose answer is the gold one.
    """

    classes: list[str] = field(default_factory=list)
    letters: bool = False
    gold: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    sizes: Counter[int] = field(default_factory=Counter)
    right: int = 0

    def add(self, gold: str, answered: str | None, offered: Sequence[str]) -> None:
        """Add a row: its gold answer, the system's answer, and the answers that it offers."""
        if len(offered) > len(self.classes):
            self.classes = list(offered)
        self.gold[gold] += 1
        self.sizes[len(offered)] += 1
        self.right += answered == gold
        if answered is not None:
            self.answered[answered] += 1

    def update(self, other: Baselines) -> None:
        """Add the rows of another one."""
        self.classes, self.letters = max(self.classes, other.classes, key=len), other.letters
        self.right += other.right
        self.gold.update(other.gold)
        self.answered.update(other.answered)
        self.sizes.update(other.sizes)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.sizes.total()

    @property
    def unread(self) -> int:
        """The number of rows without a readable answer."""
        return self.rows - self.answered.total()

    @property
    def chance(self) -> float:
        """The share of right answers that guesses reach: the mean of 1 / number of answers offered."""
        return sum(count / size for size, count in sorted(self.sizes.items())) / self.rows

    @property
    def most_frequent(self) -> str:
        """The most frequent gold answer; of several, the first in the order of the classes."""
        return max(self.classes, key=self.gold.__getitem__)

    @property
    def majority(self) -> float:
        """The share of the rows whose gold answer is the most frequent one."""
        return self.gold[self.most_frequent] / self.rows

    @property
    def is_above(self) -> bool:
        """True if the 95 % interval of the accuracy begins above the majority and above chance."""
        return wilson(self.right, self.rows)[0] > max(self.majority, self.chance)

    @property
    def only_answer(self) -> str | None:
        """The answer of nearly all rows with a readable one, if the gold answers are not nearly all the same.

        `None` also if half of the rows or more have no readable answer.
        """
        total = self.answered.total()
        if self.rows < ENOUGH_ROWS or total <= self.rows / 2:
            return None
        answer, count = self.answered.most_common(1)[0]
        if count < ONE_ANSWER * total or self.gold[answer] >= ONE_ANSWER * self.rows:
            return None
        return answer

    def shown(self, answer: str) -> str:
        """Return how texts name an answer: `(a)`, or a class in quotation marks."""
        return f"({answer})" if self.letters else repr(answer)

    def collapse(self, unit: str = "replies", kind: str = "gold answers") -> str | None:
        """Return a sentence such as "198 of 200 replies are (a)" if a system gives one answer only."""
        if (answer := self.only_answer) is None:
            return None
        count, gold = self.answered[answer], self.gold[answer]
        return f"{count:,} of {self.rows:,} {unit} are {self.shown(answer)}, and {gold:,} of the {kind}"

    def below(self, kind: str = "gold answers") -> str | None:
        """Return a sentence that the accuracy is not above the majority or chance, unless it is."""
        if self.is_above or self.rows < ENOUGH_ROWS:
            return None
        bar = f"{self.majority:.2%}, the share of {self.shown(self.most_frequent)} in the {kind}"
        if self.chance > self.majority:
            bar = f"{self.chance:.2%}, the share that guesses get right"
        low, high = wilson(self.right, self.rows)
        return f"{self.right / self.rows:.2%} ({low:.2%} – {high:.2%}) is not above {bar}"

    def to_json(self) -> dict[str, Any]:
        """Return the baselines and the distributions as a JSON object."""
        return {
            "chance": self.chance,
            "majority": self.majority,
            "most_frequent": self.most_frequent,
            "gold": {name: self.gold[name] for name in self.classes},
            "answered": {name: self.answered[name] for name in self.classes},
            "unread": self.unread,
            "only_answer": self.only_answer,
            "is_above": self.is_above,
        }


def baselines_of(
    gold: Sequence[int], predicted: Sequence[int | None], classes: Sequence[str], *, letters: bool = False
) -> Baselines:
    """Return the baselines of rows that all offer the same classes.

    Args:
        gold: the index of each row's gold class.
        predicted: the index of the class that each row got; `None` if none could be read.
        classes: the classes' names, in the order of the indices.
        letters: whether the classes are letters of choices.
    """
    pairs = Counter(zip(gold, predicted, strict=True))
    found = Baselines(list(classes), letters)
    for (right, answer), count in pairs.items():
        found.gold[classes[right]] += count
        found.sizes[len(classes)] += count
        if answer is not None:
            found.answered[classes[answer]] += count
            found.right += count * (answer == right)
    return found
