"""Review the rows that ``evaluate`` writes: predictions by outcome, and the wrong answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dataprep.answers.baselines import Baselines, wilson
from dataprep.collect.review.replies import LocatedRows
from dataprep.core.errors import InputError, RowError, located, shortened
from dataprep.core.records import LETTERS, describe

# The outcomes of a row, in the order in which tables show them; programs have others, which follow.
RIGHT, PARTLY, WRONG, CONTRADICTION, UNREAD = (
    "right", "partly right", "wrong", "contradiction", "unread",
)  # fmt: skip
OUTCOMES = (RIGHT, PARTLY, WRONG, CONTRADICTION, UNREAD)
# Number of wrong answers of each group that are listed, and of characters of each of their texts.
SHOWN, EXCERPT = 20, 240


@dataclass(frozen=True, slots=True)
class WrongAnswer:
    """A row whose answer is not right; its texts are shortened.

    Attributes:
        id: the row's id, or its place.
        question: the user's last words.
        gold: the right answer; of several, the first.
        answer: the answer that was read from the prediction; `None` if none could be read.
        prediction: what the system said.
        outcome: one of `OUTCOMES`, or the outcome of a program.
    """

    id: str
    question: str
    gold: str
    answer: str | None
    prediction: str
    outcome: str


@dataclass(slots=True)
class ScoredGroup:
    """The rows of one file, metric and source.

    Attributes:
        file: the file.
        source: the dataset; `None` if the rows name none.
        metric: the metric.
        outcomes: number of rows by outcome.
        scores: the sum of each score by its name.
        names: of choices and classes, all letters or classes.
        pairs: of choices and classes, the number of rows by gold answer and answer.
        sizes: of choices and classes, the number of rows by the number of answers offered; 0 if unknown.
        wrong: the first rows that are not right.
    """

    file: str
    source: str | None
    metric: str
    outcomes: Counter[str] = field(default_factory=Counter)
    scores: Counter[str] = field(default_factory=Counter)
    names: list[str] = field(default_factory=list)
    pairs: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    sizes: Counter[int] = field(default_factory=Counter)
    wrong: list[WrongAnswer] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.outcomes.total()

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share of right rows."""
        return wilson(self.outcomes[RIGHT], self.rows)

    @property
    def answers(self) -> Baselines | None:
        """The distributions of gold answers and of answers; `None` for rows of other metrics."""
        if not self.pairs:
            return None
        # Letters in their order; classes as they came.
        names = sorted(self.names) if self.metric == "choice" else self.names
        found = Baselines(names, self.metric == "choice")
        for (gold, answer), count in self.pairs.items():
            found.gold[gold] += count
            found.answered.update({} if answer is None else {answer: count})
            found.right += count * (gold == answer)
        for size, count in self.sizes.items():
            found.sizes[size or len(names)] += count
        return found

    @property
    def shown_outcomes(self) -> dict[str, int]:
        """The outcomes that occur, the known ones first."""
        names = [*(name for name in OUTCOMES if self.outcomes[name]), *sorted(self.outcomes)]
        return {name: self.outcomes[name] for name in names if self.outcomes[name]}

    def confusion(self) -> dict[str, dict[str, int]]:
        """Return the number of rows by gold answer, then by answer or `UNREAD`, of those that occur."""
        counts: dict[str, dict[str, int]] = {}
        for (gold, answer), count in self.pairs.items():
            counts.setdefault(gold, {})[UNREAD if answer is None else answer] = count
        return {name: counts[name] for name in self.answers.classes if name in counts} if self.answers else {}

    def to_json(self) -> dict[str, Any]:
        """Return the figures as a JSON object."""
        low, high = self.interval
        answers = self.answers
        return {
            "file": self.file,
            "source": self.source,
            "metric": self.metric,
            "rows": self.rows,
            "outcomes": self.shown_outcomes,
            "right_share": {"value": self.outcomes[RIGHT] / self.rows, "low": low, "high": high},
            "scores": {name: total / self.rows for name, total in self.scores.items()},
            **({} if answers is None else {"answers": answers.to_json(), "confusion": self.confusion()}),
            "wrong": [asdict(row) for row in self.wrong],
        }


@dataclass(frozen=True, slots=True)
class ScoredReview:
    """The review of files that ``evaluate`` wrote."""

    files: list[str]
    groups: list[ScoredGroup]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as a JSON object."""
        return {"files": self.files, "groups": [group.to_json() for group in self.groups]}


def is_scored(row: Mapping[str, Any]) -> bool:
    """Return whether a row is one that ``evaluate`` writes."""
    return "metric" in row and ("scores" in row or "loss" in row)


def review_scored(inputs: Sequence[tuple[str, LocatedRows]]) -> ScoredReview:
    """Return the review of rows that ``evaluate`` wrote, by the name of their file.

    Raises:
        InputError: a row is of another kind, or has a loss only.
    """
    groups: dict[tuple[str, str | None, str], ScoredGroup] = {}
    for name, rows in inputs:
        for where, row in rows:
            with located(where):
                _check(row)
                key = (name, row.get("source"), row["metric"])
                group = groups.setdefault(key, ScoredGroup(*key))
                _add(group, row, str(where))
    if not groups:
        raise InputError(inputs[0][0], "the file is empty; expected rows that `evaluate -o` wrote")
    return ScoredReview([name for name, _ in inputs], list(groups.values()))


def _check(row: Mapping[str, Any]) -> None:
    if not is_scored(row):
        found = ", ".join(map(repr, row)) or "none"
        raise RowError("not a scored row", f"the row's fields are {found}; expected rows of `evaluate -o`")
    if "scores" not in row:
        raise RowError("a row without an answer", "rows of the metric loss have a loss only")
    kinds = (("metric", str), ("scores", dict), ("gold", list))
    wrong = [
        (name, row.get(name)) for name, kind in kinds if type(row.get(name)) is not kind or not row[name]
    ]
    if wrong and not (row["metric"] == "squad" and wrong[0][0] == "gold"):  # a question without an answer
        name, value = wrong[0]
        raise _malformed(name, value)
    for name, kind in _OPTIONAL.items():
        if row.get(name) is not None and type(row[name]) is not kind:
            raise _malformed(name, row[name])
    if any(type(value) not in (int, float, bool, type(None)) for value in row["scores"].values()):
        raise _malformed("scores", row["scores"])


_OPTIONAL = {"source": str, "detail": str, "extracted": str, "choices": list, "classes": list, "probs": dict}


def _malformed(name: str, value: Any) -> RowError:
    return RowError(f"malformed {name!r}", f"found {describe(value)}; expected what `evaluate -o` wrote")


def _add(group: ScoredGroup, row: Mapping[str, Any], place: str) -> None:
    outcome, answer = _outcome(row), row.get("extracted")
    group.outcomes[outcome] += 1
    for name, value in row["scores"].items():
        # In Parquet every row has every score, with null where its metric has none.
        if value is not None:
            group.scores[name] += value
    gold = str(row["gold"][0]) if row["gold"] else ""
    if group.metric in ("choice", "classes"):
        _count(group, row, gold, answer)
    if outcome != RIGHT and len(group.wrong) < SHOWN:
        # A choice that was scored by likelihood has no prediction in words.
        said = row["prediction"] if "prediction" in row else _named(row, answer)
        texts = (row.get("question") or "", _named(row, gold), said or "")
        question, gold, said = (shortened(str(text), EXCERPT) for text in texts)
        read = None if answer is None else shortened(str(answer), EXCERPT)
        group.wrong.append(WrongAnswer(str(row.get("id") or place), question, gold, read, said, outcome))


def _outcome(row: Mapping[str, Any]) -> str:
    scores = [value for value in row["scores"].values() if value is not None]
    detail = row.get("detail")
    if row["metric"] == "mbpp":
        outcome = str(detail or "").partition(":")[0]
        return RIGHT if outcome == "passed" else outcome or WRONG
    if detail is not None and detail.startswith(CONTRADICTION):
        return CONTRADICTION
    # A row by likelihood has several figures, each with an answer of its own: the extracted one counts.
    right = row.get("extracted") in row["gold"] if row["metric"] in ("choice", "classes") else 1 in scores
    if right:
        return RIGHT
    if row.get("extracted") is None and row["metric"] != "squad":
        return UNREAD
    return PARTLY if any(0 < value < 1 for value in scores) else WRONG


def _named(row: Mapping[str, Any], answer: str | None) -> str | None:
    """Return an answer with its text, if it is the letter of a choice that the row has."""
    place = LETTERS.find(answer) if row["metric"] == "choice" and answer is not None else -1
    choices = row.get("choices") or ()
    return f"({answer}) {choices[place]}" if 0 <= place < len(choices) else answer


def _count(group: ScoredGroup, row: Mapping[str, Any], gold: str, answer: str | None) -> None:
    if group.metric == "choice":
        offered = list(LETTERS[: len(row.get("choices") or ())])
    else:
        # All classes, in their order; a classifier's rows have their probabilities.
        given = {name: value for name, value in (row.get("probs") or {}).items() if value is not None}
        offered = [str(name) for name in row.get("classes") or given]
    names = group.names
    names.extend(name for name in (*offered, gold, answer) if name is not None and name not in names)
    group.pairs[gold, answer] += 1
    group.sizes[len(offered)] += 1
