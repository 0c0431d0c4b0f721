"""Classes: names, order, labels, probabilities, and metrics of predictions."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dataprep.core.errors import RowError, UsageError
from dataprep.core.records import describe
from dataprep.evaluate.metrics.agreement import NUMBER, is_ordered, metrics_of_pairs

# Largest distance from 1 of a sum of probabilities; they may have been rounded.
TOLERANCE = 0.02
MOST_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class Teacher:
    """A teacher's probabilities or logits for a row, in the classes' order or by name."""

    values: Mapping[str, Any] | Sequence[Any]
    logits: bool = False

    @property
    def field(self) -> str:
        """The field of the row, for messages."""
        return "scores" if self.logits else "probs"


# A class's name, a score for the nearest class, or nothing.
Gold = str | float | None


def name_of(value: Any) -> str:
    """Return a class's name; a number in its shortest form, in any file format.

    >>> [name_of(value) for value in ("good", 5, 5.0, "5.0", True)]
    ['good', '5', '5', '5', 'true']
    """
    if type(value) is str:
        return _shortest_text(value) if NUMBER.fullmatch(value) else value
    # Before numbers: True is an int in Python.
    if type(value) is bool:
        return str(value).lower()
    if type(value) in (int, float) and math.isfinite(value):
        return _shortest(value)
    raise RowError("a label is not a name", f"found {describe(value)}; expected a text or a number")


def _shortest_text(value: str) -> str:
    whole, _, fraction = value.partition(".")
    # Not by way of a float, which holds 15 digits: a label can be a longer id.
    if not fraction.strip("0"):
        return "0" if whole == "-0" else whole
    return _shortest(float(value)) if math.isfinite(float(value)) else value


def _shortest(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of a task, in order."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise UsageError(f"--classes: {twice!r} is named twice (1 and 1.0 are one class); give it once")

    @property
    def ordered(self) -> bool:
        """True if all classes are numbers, so that errors have a size."""
        return is_ordered(self.names)

    def index(self, gold: str | float) -> int:
        """Return the index of a label's class, or of the class nearest to a score."""
        if isinstance(gold, str):
            if gold in self.names:
                return self.names.index(gold)
            raise RowError("unknown class", f"found {gold!r}; expected {self._listed()}")
        if not self.ordered:
            raise RowError(
                "a score without numbers", f"found the score {gold:g}; the classes are {self._listed()}"
            )
        # Of two classes that are equally near, the larger one: 2.5 counts as 3.
        values = [float(name) for name in self.names]
        return min(range(len(values)), key=lambda index: (abs(values[index] - gold), -values[index]))

    def log_probs(self, teacher: Teacher) -> list[float]:
        """Return the logarithms of a teacher's probabilities; `-inf` for 0.

        Probabilities by name can leave out classes, whose probability is then 0.
        """
        values = self._aligned(teacher)
        if teacher.logits:
            # Subtracting the highest logit keeps exp() from overflowing.
            highest = max(values)
            total = highest + math.log(sum(math.exp(value - highest) for value in values))
            return [value - total for value in values]
        if wrong := [value for value in values if value < 0]:
            raise RowError("a negative probability", f"found {wrong[0]:g} in 'probs'; expected 0 to 1")
        # Rounded probabilities are accepted and made to add up to 1.
        total = sum(values)
        if abs(total - 1) > TOLERANCE:
            raise RowError("probabilities do not add up", f"the sum of 'probs' is {total:g}; expected 1")
        return [math.log(value / total) if value else -math.inf for value in values]

    def _aligned(self, teacher: Teacher) -> list[float]:
        values, field = teacher.values, teacher.field
        if not isinstance(values, Mapping):
            if len(values) != len(self.names):
                raise RowError(
                    f"{field} of another length",
                    f"found {len(values)} values in {field!r}; expected one for each of {self._listed()} "
                    "(--classes names them in order)",
                )
            return [_number(value, field) for value in values]
        if unknown := [name for name in values if name not in self.names]:
            raise RowError("unknown class", f"found {unknown[0]!r} in {field!r}; expected {self._listed()}")
        if teacher.logits and (lacking := [name for name in self.names if name not in values]):
            raise RowError("a class without a score", f"'scores' lacks {lacking[0]!r}; expected one a class")
        return [_number(values.get(name, 0.0), field) for name in self.names]

    def _listed(self) -> str:
        shown = ", ".join(self.names[:12])
        return f"the classes {shown}" + (f" and {len(self.names) - 12} more" if len(self.names) > 12 else "")


def _number(value: Any, field: str) -> float:
    if type(value) is str:  # from a table
        with suppress(ValueError):
            value = float(value)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise RowError("not a number", f"found {describe(value)} in {field!r}; expected a finite number")
    return float(value)


def classes_of(judged: Iterable[tuple[Gold, Teacher | None]]) -> Classes:
    """Return the classes that occur in labels and in probabilities by name.

    Scores are rounded, and the classes are all whole numbers from the lowest to the highest. If labels are
    indices into lists of probabilities, or there are no labels, the classes are the indices of the lists.
    """
    names: set[str] = set()
    scores: set[int] = set()
    lengths: set[int] = set()
    for gold, teacher in judged:
        if isinstance(gold, float):
            scores.add(math.floor(gold + 0.5))
        elif gold is not None:
            names.add(gold)
        if teacher is not None and isinstance(teacher.values, Mapping):
            names.update(teacher.values)
        elif teacher is not None:
            lengths.add(len(teacher.values))
    # Not a huge range: one score of 1,000,000 would make a million classes.
    if scores:
        lowest, highest = min(scores), max(scores)
        if highest - lowest >= MOST_CLASSES:
            found = f"found {lowest:,} to {highest:,}; expected fewer than {MOST_CLASSES:,} whole numbers"
            raise RowError("scores too far apart", f"{found}; --classes names the classes")
        names.update(map(str, range(lowest, highest + 1)))
    _check_alike(names)
    # A list of probabilities names no classes, so its indices do.
    indices = set(map(str, range(min(lengths, default=0))))
    if len(lengths) == 1 and names <= indices:
        names = indices
    if not 1 < len(names) <= MOST_CLASSES:
        found = (", ".join(map(repr, names)) or "none") if len(names) < 2 else f"{len(names):,}"
        advice = f"expected 2 to {MOST_CLASSES:,}; --classes names them"
        raise RowError("no classes to choose from", f"found {found}; {advice}")
    # Numbers by size, other names alphabetically.
    classes = Classes(tuple(sorted(names)))
    return Classes(tuple(sorted(classes.names, key=float))) if classes.ordered else classes


def _check_alike(names: Iterable[str]) -> None:
    """Raise `RowError` if two names differ only by case or blanks: they were meant to be one class."""
    alike: dict[str, list[str]] = {}
    for name in sorted(names):
        plain = unicodedata.normalize("NFC", name)
        alike.setdefault(" ".join(plain.casefold().split()), []).append(name)
    if found := [same for same in alike.values() if len(same) > 1]:
        shown = "; ".join(", ".join(map(_shown, same)) for same in found[:8])
        advice = "correct the rows, or name the classes with --classes"
        if any(name != name.strip() for same in found for name in same):
            advice = "correct the rows: --classes names no class with blanks at its ends"
        raise RowError("classes that differ only by case or blanks", f"found {shown}; {advice}")


def _shown(name: str) -> str:
    # An accented letter has two spellings that look the same; the longer one is shown escaped.
    return repr(name) if unicodedata.normalize("NFC", name) == name else ascii(name)


def pairs_of(gold: Iterable[int], predicted: Iterable[int]) -> Counter[tuple[int, int]]:
    """Return how often each pair of gold class and predicted class occurs, by their indices."""
    return Counter(zip(map(int, gold), map(int, predicted), strict=True))


def metrics_of(
    gold: Iterable[int], predicted: Iterable[int], classes: Classes
) -> dict[str, float | int | None]:
    """Return all metrics by name: for ordered classes the weighted kappa, for others Cohen's."""
    pairs = pairs_of(gold, predicted)
    metrics: dict[str, float | int | None] = {"rows": pairs.total()}
    if pairs:
        metrics |= metrics_of_pairs(pairs, len(classes.names), ordered=classes.ordered)
    return metrics
