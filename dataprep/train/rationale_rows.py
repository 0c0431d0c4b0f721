"""Rows with teachers' rationales as what a student is asked and what it is to say, part by part.

The wording of questions and the first three prefixes are those of TinyLLM's published trainer
(Tian et al., "Beyond Answers", arXiv 2402.04616).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataprep import files
from dataprep.collecting import KEEPABLE
from dataprep.errors import InputError, RowError, UsageError
from dataprep.ledger import Ledger
from dataprep.records import Example, describe
from dataprep.templates import FIELDS
from dataprep.train.options import TrainOptions

ANSWER = "answer"
"""The part of the loss that is the answers'; the others are called as their teachers are."""

_PREFIXES = ("predict: ", "explain: ", "rationale: ")


def prefix_of(part: int) -> str:
    """What a question begins with, for the answer (0), the first teacher (1), the second, and so on."""
    return _PREFIXES[part] if part < len(_PREFIXES) else f"rationale {part}: "


def question_of(example: Example) -> str:
    """The question as the student reads it, after the prefix: its context, itself and its lettered choices.

    Raises:
        RowError: it has more choices than there are letters.
    """
    choices = FIELDS["choices"](example)
    pieces = (example.context, example.question, "Answer Choices:" if choices else None, choices)
    return "\n".join(piece for piece in pieces if piece)


@dataclass(slots=True)
class Row:
    """One row.

    Attributes:
        where: its place, such as ``arc.jsonl:17``.
        question: as the student reads it, without a prefix.
        targets: what the student is to say, by part; parts that it lacks are not there.
        lacking: why a part is not there, by part.
    """

    where: str
    question: str
    targets: dict[str, str]
    lacking: dict[str, str]


@dataclass(slots=True)
class Rows:
    """The rows of some files.

    Attributes:
        rows: in their order.
        teachers: the teachers' names, as they first occur.
    """

    rows: list[Row] = field(default_factory=list)
    teachers: list[str] = field(default_factory=list)

    def ledger(self, part: str) -> Ledger:
        """What became of all rows in one part of the loss."""
        reasons = Counter(row.lacking.get(part, "missing") for row in self.rows if part not in row.targets)
        ledger = Ledger(len(self.rows), sum(part in row.targets for row in self.rows), Counter(reasons))
        ledger.check()
        return ledger


def check_statuses(kept: Collection[str]) -> None:
    """Raise ``UsageError`` where one of the statuses to keep is none of a rationale with a text."""
    for status in kept:
        if status not in KEEPABLE:
            known = ", ".join(KEEPABLE)
            raise UsageError(f"--keep-status {status}: a rationale with a text is one of {known}")


def read_rows(paths: Iterable[str], kept: Collection[str]) -> Rows:
    """The rows of files, with the rationales whose status is kept; one without a status counts as ``ok``.

    Raises:
        InputError: a row has no question, or a field of the wrong type.
        FileError: a file cannot be read.
    """
    found = Rows()
    for path in paths:
        unit = "line" if files.format_of(path).kind == "jsonl" else "row"
        for number, raw in files.read_rows(path):
            where = files.place(path, unit, number)
            try:
                row, teachers = _row_of(raw, where, kept)
            except RowError as error:
                raise InputError(where, str(error)) from None
            found.rows.append(row)
            found.teachers += [name for name in teachers if name not in found.teachers]
    if not found.rows:
        raise InputError(", ".join(paths), "the file is empty; expected rows with rationales")
    if ANSWER in found.teachers:
        name = f"a teacher is called {ANSWER!r}, as the part of the loss that is the answers'"
        raise InputError(", ".join(paths), f"{name}: give it another name")
    return found


def _row_of(raw: Mapping[str, Any], where: str, kept: Collection[str]) -> tuple[Row, list[str]]:
    example = Example.from_json(raw)
    statuses = raw.get("status") or {}
    if not isinstance(statuses, Mapping):
        raise RowError("field 'status' is not an object", f"found {describe(statuses)}")
    row = Row(where, question_of(example), {}, {})
    if example.answer:
        row.targets[ANSWER] = example.answer
    else:
        row.lacking[ANSWER] = "no answer"
    rationales = example.rationales or {}
    teachers = list(dict.fromkeys((*rationales, *statuses)))
    for teacher in teachers:
        text = rationales.get(teacher, "").strip()
        status = statuses.get(teacher) or ("ok" if text else "missing")
        if not text or status not in kept:
            row.lacking[teacher] = f"status: {status}" if status != "ok" else "empty"
        else:
            row.targets[teacher] = text
    return row, teachers


def weights_of(options: TrainOptions, teachers: Sequence[str]) -> dict[str, float]:
    """The weight of each part of the loss, 1 where no option gives another.

    Raises:
        UsageError: a teacher is not in the data, or is given two weights; or every weight is 0.
    """
    known = ", ".join(teachers) or "none"
    weights = dict.fromkeys(teachers, 1.0)
    for name, weight in options.teacher_weights.items():
        if name not in weights:
            raise UsageError(f"--teacher-weight {name}: no such teacher in the data; it has {known}")
        weights[name] = weight
    for number, (flag, given) in enumerate((("--alpha", options.alpha), ("--beta", options.beta))):
        if given is None:
            continue
        if number >= len(teachers):
            ordinal = ("first", "second")[number]
            raise UsageError(f"{flag} is the {ordinal} teacher's weight; the data's teachers: {known}")
        if teachers[number] in options.teacher_weights:
            raise UsageError(f"{flag} and --teacher-weight both weigh {teachers[number]}: give one of them")
        weights[teachers[number]] = given
    weights = {ANSWER: options.gamma, **weights}
    if not any(weights.values()):
        raise UsageError(f"every weight is 0: there is nothing to learn; the data's teachers: {known}")
    return weights
