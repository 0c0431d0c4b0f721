"""Score replies against references, and sum up the scores of many rows with their 95 % confidence intervals.

SQuAD answers are scored by exact match and F1, as the official script of version 2.0 computes them. Texts are
compared in lower case, without ASCII punctuation, without the articles a, an and the, and with single spaces.
The best of several accepted answers counts. A question that the passage does not answer has the empty answer,
and is right or wrong as a whole.

Source: Rajpurkar et al. 2018, and ``evaluate-v2.0.py`` on https://rajpurkar.github.io/SQuAD-explorer/.
"""

from __future__ import annotations

import math
import re
import string
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from dataprep.answers.baselines import Baselines, wilson
from dataprep.answers.final_answers import said_of, without_stop_tokens
from dataprep.answers.letters import choice_of
from dataprep.evaluate.metrics import agreement
from dataprep.evaluate.metrics.extract import (
    choice_alone,
    flexible_number,
    same_number,
    same_quantity,
    strict_number,
)
from dataprep.evaluate.metrics.references import METRICS, Metric, Reference, Style, is_no_answer

RESAMPLES = 2000
_CELLS = 1 << 22


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


_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Return a text as it is compared."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def accepted(answers: Sequence[str]) -> tuple[str, ...]:
    """Return the answers of which something is left once normalised, or else the empty answer."""
    return tuple(answer for answer in answers if normalised(answer)) or ("",)


def exact_match(answer: str, references: Sequence[str]) -> float:
    """Return 1.0 if an answer is one of the accepted ones, else 0.0."""
    plain = normalised(answer)
    return float(any(plain == normalised(reference) for reference in accepted(references)))


def f1(answer: str, references: Sequence[str]) -> float:
    """Return the harmonic mean of precision and recall in words, for the best accepted answer."""
    words = normalised(answer).split()
    return max(_f1(words, normalised(reference).split()) for reference in accepted(references))


def _f1(answer: list[str], reference: list[str]) -> float:
    # Without words precision and recall are not defined: the official script asks for equality.
    if not answer or not reference:
        return float(answer == reference)
    shared = (Counter(answer) & Counter(reference)).total()
    if not shared:
        return 0.0
    precision, recall = shared / len(answer), shared / len(reference)
    return 2 * precision * recall / (precision + recall)


STRICT, FLEXIBLE, VALUE = "exact match (strict)", "exact match (flexible)", "exact match (value)"
EXACT, F1 = "exact match", "F1"
ACCURACY, PASS = "accuracy", "pass@1"

# A letter with the text of another choice: neither counts.
CONTRADICTION = "contradiction"
ALL = "all"
LOSS, PERPLEXITY = "loss", "perplexity"
UNANSWERED = "unanswered"
UNREADABLE = 0.9  # the share of replies without a readable answer from which on a figure is doubtful
_LARGEST = 700.0  # exp of more overflows a float
# The scores of each metric; the loss has its own.
NAMES: dict[Metric, tuple[str, ...]] = {
    "gsm8k": (STRICT, FLEXIBLE, VALUE),
    "squad": (EXACT, F1),
    "choice": (ACCURACY,),
    "mbpp": (PASS,),
}


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of a reply."""

    extracted: str | None  # the answer that was read from it, if any could be
    scores: dict[str, float]  # by the names in `NAMES`, or in `likelihood.NAMES`
    detail: str | None = None  # for a program, its outcome; for a choice, `CONTRADICTION`
    unread: tuple[str, ...] = ()  # the figures for which no answer could be read
    # By figure, the letter or class that it counts, if the row offers several.
    answers: Mapping[str, str | None] = field(default_factory=dict)


def score(reply: str, reference: Reference, style: Style | None = None) -> Scored:
    """Return the scores of a reply; programs are run by the sandbox instead.

    Thinking that a reply shows is not part of its answer. ``style`` is how the student was trained to name a
    choice, if that is known.
    """
    reply = without_stop_tokens(said_of(reply)[0])
    if reference.metric == "gsm8k":
        strict, flexible = strict_number(reply), flexible_number(reply)
        scores = {
            STRICT: float(same_number(strict, reference.answers[0])),
            FLEXIBLE: float(same_number(flexible, reference.answers[0])),
        }
        same = same_quantity(reply, reference.answers[0])
        scores[VALUE] = float(bool(same) or scores[STRICT] == 1)
        read = {STRICT: strict, FLEXIBLE: flexible, VALUE: same}
        unread = tuple(name for name, found in read.items() if found is None)
        return Scored(strict if strict is not None else flexible, scores, unread=unread)
    if reference.metric == "squad":
        # A model trained on `convert` says it in words; the official script expects an empty answer.
        answer = "" if is_no_answer(reply) else reply.strip()
        both = {EXACT: exact_match(answer, reference.answers), F1: f1(answer, reference.answers)}
        return Scored(answer, both, unread=() if reply.strip() else (EXACT, F1))
    if reference.metric == "choice":
        letter, _, contradicts = choice_of(reply, reference.choices)
        # A choice's text may look like a letter of another one.
        if style == "text" and (alone := choice_alone(reply, reference.choices)):
            letter, contradicts = alone, False
        right = float(letter == reference.answers[0])
        unread = () if letter or contradicts else (ACCURACY,)
        detail = CONTRADICTION if contradicts else None
        return Scored(letter, {ACCURACY: right}, detail, unread, {ACCURACY: letter})
    raise ValueError(f"a reply alone has no {reference.metric}")


@dataclass(frozen=True, slots=True)
class Figure:
    """A score, between 0 and 1 except for loss and kappa, and its 95 % interval.

    Attributes:
        chance: for choices and classes, what guesses reach.
        majority: for choices and classes, what the most frequent gold answer reaches for all rows.
    """

    name: str
    value: float
    low: float
    high: float
    chance: float | None = None
    majority: float | None = None

    @property
    def is_above(self) -> bool | None:
        """True if the interval begins above chance and majority; ``None`` without them."""
        if self.chance is None or self.majority is None:
            return None
        return self.low > max(self.chance, self.majority)


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of the rows of one source."""

    source: str | None  # `None` if rows name none, `ALL` for all datasets of this metric together
    metric: Metric
    rows: int
    figures: tuple[Figure, ...]  # in the order of `NAMES`, or of `likelihood.NAMES`
    counts: dict[str, int] = field(default_factory=dict)  # unanswered rows, tokens, or programs by outcome
    unread: dict[str, int] = field(default_factory=dict)  # by figure, the replies from which it read nothing
    answers: dict[str, Baselines] = field(default_factory=dict)  # of choices and classes, by figure
    # Of classes: the number of rows by gold class and predicted class.
    confusion: dict[str, dict[str, int]] | None = None

    def warnings(self) -> list[str]:
        """Return a sentence for each figure that says little about a student, and why."""
        read = {name: count for name, count in self.unread.items() if count >= UNREADABLE * self.rows}
        about = self.source or "the rows"
        warnings = [
            f"{name} of {about}: no answer could be read from {count:,} of {self.rows:,} "
            "replies, so the figure says little about the student; look at replies with `evaluate -o OUT`"
            for name, count in read.items()
        ]
        for name, found in self.answers.items():
            unit = "predictions" if self.metric == "classes" else "replies"
            sentences = [found.collapse(unit), None if name in read else found.below()]
            warnings += [f"{name} of {about}: {sentence}" for sentence in sentences if sentence]
        return warnings

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON object."""
        written = asdict(replace(self, answers={}))
        for figure, plain in zip(self.figures, written["figures"], strict=True):
            if figure.is_above is not None:
                plain["is_above"] = figure.is_above
            else:
                del plain["chance"], plain["majority"]
        written["figures"] = {figure.pop("name"): figure for figure in written["figures"]}
        if self.confusion is None:
            del written["confusion"]
        written["answers"] = {name: found.to_json() for name, found in self.answers.items()}
        return written


@dataclass(frozen=True, slots=True)
class Row:
    """A row with its scores, or with its loss: the sum over tokens, and their number."""

    source: str | None
    reference: Reference
    scored: Scored | None = None
    loss: tuple[float, int] | None = None
    contaminated: bool = False  # whether it stands in the training data


class Tally:
    """Add up rows one by one; 8 bytes of each figure of a row are kept, for the intervals."""

    def __init__(self) -> None:
        self._groups: dict[Metric, dict[str | None, _Group]] = {}

    def add(self, row: Row) -> None:
        """Add a row to the figures of its metric and source."""
        groups = self._groups.setdefault(row.reference.metric, {})
        groups.setdefault(row.source, _Group()).add(row)

    def results(self, seed: int = 0) -> list[Result]:
        """Return figures by metric and source, and for all sources of a metric that has several."""
        found = []
        for metric in METRICS:
            groups = self._groups.get(metric, {})
            found += [group.result(source, metric, seed) for source, group in groups.items()]
            # The figure over all sources weighs each row, not each source.
            if len(groups) > 1:
                found.append(_Group.all_of(groups.values()).result(ALL, metric, seed))
        return found


class _Group:
    """The rows of one metric and source."""

    def __init__(self) -> None:
        self.rows = 0
        # In the order of the rows: the bootstrap draws rows by their index.
        self.values: dict[str, array[float]] = defaultdict(lambda: array("d"))
        self.tokens = array("Q")
        self.counts: Counter[str] = Counter()
        self.unread: Counter[str] = Counter()
        self.answers: dict[str, Baselines] = {}
        self.pairs: Counter[tuple[str, str]] = Counter()  # gold class and predicted class

    def add(self, row: Row) -> None:
        self.rows += 1
        if row.loss is not None:
            self.values[LOSS].append(row.loss[0])
            self.tokens.append(row.loss[1])
        if (scored := row.scored) is not None:
            for name, value in scored.scores.items():
                self.values[name].append(value)
            self.unread.update(scored.unread)
            for name, answer in scored.answers.items():
                found = self.answers.setdefault(name, Baselines(letters=row.reference.metric == "choice"))
                found.add(row.reference.answers[0], answer, row.reference.offered)
            if row.reference.metric == "classes":
                self.pairs[row.reference.answers[0], scored.extracted or ""] += 1
            self.counts[_count_of(row.reference, scored)] += 1

    @classmethod
    def all_of(cls, groups: Iterable[_Group]) -> _Group:
        """Return the rows of several groups as one."""
        whole = cls()
        for group in groups:
            whole.rows += group.rows
            for name, values in group.values.items():
                whole.values[name].extend(values)
            whole.tokens.extend(group.tokens)
            whole.counts.update(group.counts)
            whole.pairs.update(group.pairs)
            whole.unread.update(group.unread)
            for name, found in group.answers.items():
                whole.answers.setdefault(name, Baselines()).update(found)
        return whole

    def result(self, source: str | None, metric: Metric, seed: int) -> Result:
        if metric == "loss":
            return _loss(source, self.values[LOSS], self.tokens, seed)
        if metric == "classes":
            return _classes(source, self.pairs, self.answers[ACCURACY], seed)
        figures = [_figure(name, values, seed) for name, values in self.values.items()]
        for number, figure in enumerate(figures):
            if (found := self.answers.get(figure.name)) is not None:
                figures[number] = replace(figure, chance=found.chance, majority=found.majority)
        counts = {name: count for name, count in self.counts.items() if name}
        if metric in ("choice", "gsm8k"):
            counts = {UNANSWERED: self.counts[UNANSWERED]} | counts
        return Result(source, metric, self.rows, tuple(figures), counts, dict(self.unread), self.answers)


def _count_of(reference: Reference, scored: Scored) -> str:
    """Return what a row is counted under beside its figures; empty if under nothing."""
    if reference.metric == "mbpp":
        return (scored.detail or "passed").partition(":")[0]
    if reference.metric == "squad":
        return "" if reference.answers else "without an answer"
    if scored.detail == CONTRADICTION:
        return "contradictions"
    return UNANSWERED if scored.extracted is None else ""


def _figure(name: str, values: Sequence[float], seed: int) -> Figure:
    mean = math.fsum(values) / len(values)
    # Every score but F1 is 0 or 1, so its mean is a share, for which Wilson's interval is exact enough.
    if name != F1:
        return Figure(name, mean, *wilson(round(math.fsum(values)), len(values)))
    return Figure(name, mean, *bootstrap(values, seed=seed))


# The figures' names in tables, by the metrics' names.
_CLASS_FIGURES = {
    agreement.ACCURACY: ACCURACY,
    agreement.MACRO_F1: "macro F1",
    agreement.KAPPA: "kappa",
    agreement.WEIGHTED_KAPPA: "kappa (quadratic)",
}


def _classes(
    source: str | None, pairs: Mapping[tuple[str, str], int], answers: Baselines, seed: int
) -> Result:
    names = answers.classes
    index = {name: number for number, name in enumerate(names)}
    numbered = {(index[gold], index[answer]): count for (gold, answer), count in pairs.items()}
    measured = agreement.measure(numbered, len(names), ordered=agreement.is_ordered(names), seed=seed)
    figures = []
    for name, found in measured.items():
        low, high = (found.low, found.high)
        if name == agreement.ACCURACY:  # a share
            low, high = wilson(answers.right, answers.rows)
        if found.value is not None:
            shown = _CLASS_FIGURES[name]
            figures.append(Figure(shown, found.value, low, high, found.chance, found.majority))
    confusion: dict[str, dict[str, int]] = {name: {} for name in names}
    for (gold, answer), count in sorted(pairs.items(), key=lambda pair: [*map(index.get, pair[0])]):
        confusion[gold][answer] = count
    return Result(
        source, "classes", answers.rows, tuple(figures), answers={ACCURACY: answers}, confusion=confusion
    )


def _loss(source: str | None, sums: Sequence[float], tokens: Sequence[int], seed: int) -> Result:
    # A mean over tokens, not over rows: long rows count for more, as in training.
    value = math.fsum(sums) / sum(tokens)
    low, high = bootstrap(sums, tokens, seed=seed)
    loss = Figure(LOSS, value, low, high)
    perplexity = Figure(PERPLEXITY, *(math.exp(min(each, _LARGEST)) for each in (value, low, high)))
    return Result(source, "loss", len(sums), (loss, perplexity), {"tokens": sum(tokens)})
