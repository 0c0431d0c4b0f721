"""Rows to classify: their texts, the gold label, and what a teacher says, whatever the file's format.

Rows to classify as a training set: texts as numbers, the gold class, a teacher's probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
import torch

from dataprep.core import io as files
from dataprep.core.errors import InputError, Location, RowDropped, RowError, located
from dataprep.core.records import describe
from dataprep.train.objective import Batch
from dataprep.train.objectives.soft_label.classes import Classes, Gold, Teacher, name_of
from dataprep.train.objectives.soft_label.scorers import Encoded, Scorer, collate, encode_within, length

COLUMN = "prob_"
"""What a table's columns of probabilities begin with; the class's name follows."""

_USUAL_FIELDS = (("text",), ("question", "answer"), ("question",))


@dataclass(frozen=True, slots=True)
class Judged:
    """One row.

    Attributes:
        where: the row's place, for messages.
        texts: one for each field that is read.
        gold: its label or score.
        teacher: what a teacher says of it.
    """

    where: Location
    texts: tuple[str, ...]
    gold: Gold
    teacher: Teacher | None


def usual_fields(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that hold a row's text where none are named: ``text``, or question and answer.

    Raises:
        RowError: there are none of these.
    """
    for fields in _USUAL_FIELDS:
        if all(field in row for field in fields):
            return fields
    found = ", ".join(map(repr, row)) or "none"
    raise RowError(
        "no text", f"the row's fields are {found}; expected 'text', or name the fields with --fields"
    )


def texts_of(row: Mapping[str, Any], fields: Sequence[str]) -> tuple[str, ...]:
    """The texts of a row.

    Raises:
        RowError: a field is missing or no text.
    """
    texts = []
    for field in fields:
        if field not in row:
            known = ", ".join(map(repr, row)) or "none"
            raise RowError(f"missing field {field!r}", f"the row's fields are {known}")
        if type(row[field]) is not str:
            raise RowError(f"no text in {field!r}", f"found {describe(row[field])}; expected a text")
        texts.append(row[field])
    return tuple(texts)


def gold_of(row: Mapping[str, Any], field: str | None = None) -> Gold:
    """The label in ``field``, or in ``label``, or the score in ``score``; ``None`` where it is empty.

    Raises:
        RowError: it is no name, or the score no number.
    """
    field = field or ("label" if "label" in row else "score")
    value = row.get(field)
    if value is None or value == "":
        return None
    if field != "score":
        return name_of(value)
    try:
        score = float(value) if type(value) in (int, float, str) else math.nan
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise RowError("a score is no number", f"found {describe(value)} in 'score'; expected a number")
    return score


def teacher_of(row: Mapping[str, Any]) -> Teacher | None:
    """A teacher's ``probs`` or ``scores``, or probabilities in columns ``prob_CLASS``; ``None`` without.

    Raises:
        RowError: what is there is neither a list nor an object.
    """
    for field in ("probs", "scores"):
        value = row.get(field)
        if type(value) is str and value.strip():  # in a table it is JSON
            with suppress(orjson.JSONDecodeError):
                value = orjson.loads(value)
        if value is None or value == "":
            continue
        if type(value) is list:
            return Teacher(value, logits=field == "scores")
        if type(value) is dict:
            # In Parquet every row has every class, null where it had none.
            known = {name_of(name): each for name, each in value.items() if each is not None}
            if known or not value:
                return Teacher(known, logits=field == "scores")
            continue
        raise RowError(
            f"{field} of another kind",
            f"found {describe(value)} in {field!r}; expected a list in the classes' order, or an object",
        )
    columns = {name: value for name, value in row.items() if name.startswith(COLUMN)}
    given = {name_of(name[len(COLUMN) :]): each for name, each in columns.items() if each not in (None, "")}
    return Teacher(given) if given else None


def judged_rows(
    paths: Sequence[str], fields: Sequence[str] = (), label: str | None = None
) -> Iterator[Judged]:
    """The rows of some files.

    Args:
        paths: files in any format.
        fields: what holds the text; without them what is usual, by each file's first row.
        label: what holds the gold label.

    Raises:
        InputError: a row lacks its text, has a label or probabilities that are none, or neither of them.
        FileError: a file cannot be read.
    """
    for path in paths:
        own: Sequence[str] = fields
        for where, row in files.read_rows(path):
            with located(where, _HINT):
                own = own or usual_fields(row)
                found = Judged(where, texts_of(row, own), gold_of(row, label), teacher_of(row))
                if found.gold is None and found.teacher is None:
                    raise RowError("nothing to learn", "expected a label, a score or probabilities")
            yield found


_HINT = "correct the row or remove it"

GOLD, SOFT = "gold", "soft"
NO_GOLD = -1


class Examples:
    """Rows ready for a scorer.

    Attributes:
        gold: the number of each row's gold class, or ``NO_GOLD``; shape ``(rows,)``.
        taught: whether a teacher says something of it; shape ``(rows,)``.
        teacher: the logarithms of the teacher's probabilities, of shape ``(rows, classes)``; 0 without.
        dropped: rows that were too long and left out.

    Args:
        scorer: what they are for.
        rows: the rows.
        limit: tokens that one may have; longer ones are treated as ``overflow`` says.
        truncation: ``error``, ``drop`` or ``truncate``.

    Raises:
        InputError: a row is too long, of no class, or its probabilities are none; or there is no row.
    """

    def __init__(
        self, scorer: Scorer, rows: Iterable[Judged], limit: int | None = None, truncation: str = "error"
    ) -> None:
        self._scorer = scorer
        self._encoded: list[Encoded] = []
        self._places: list[Location] = []
        self.dropped = 0
        gold, teacher, taught = [], [], []
        classes: Classes = scorer.classes
        nothing = [0.0] * len(classes.names)
        for row in rows:
            with located(row.where, _HINT):
                try:
                    self._encoded.append(encode_within(scorer, row.texts, limit, truncation))
                except RowDropped:
                    self.dropped += 1
                    continue
                gold.append(NO_GOLD if row.gold is None else classes.place(row.gold))
                teacher.append(nothing if row.teacher is None else classes.log_probs(row.teacher))
                taught.append(row.teacher is not None)
                self._places.append(row.where)
        if not gold:
            raise InputError("the data", "no row is left to train on")
        self.gold = torch.tensor(gold)
        self.teacher = torch.tensor(teacher)
        self.taught = torch.tensor(taught)

    def __len__(self) -> int:
        return len(self._encoded)

    def batch(self, items: Sequence[int]) -> Batch:
        """What the scorer reads of these rows, and ``gold``, ``teacher`` and ``taught``."""
        found = [self._encoded[item] for item in items]
        own = torch.tensor(list(items))
        tensors = collate(self._scorer, found)
        tensors |= {"gold": self.gold[own], "teacher": self.teacher[own], "taught": self.taught[own]}
        counts = {SOFT: int(tensors["taught"].sum()), GOLD: int((tensors["gold"] != NO_GOLD).sum())}
        return Batch(tensors, counts, sum(map(length, found)))

    def where(self, item: int) -> str:
        """A row's place."""
        return str(self._places[item])
