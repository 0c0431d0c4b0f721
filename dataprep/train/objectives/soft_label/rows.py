"""Rows to classify, in any file format, and their dataset."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
import torch

from dataprep.core import io as files
from dataprep.core.conversations import find_ignored
from dataprep.core.errors import InputError, Location, RowDropped, RowError, located
from dataprep.core.records import describe
from dataprep.train.objective import Batch
from dataprep.train.objectives.soft_label.classes import Gold, Teacher, name_of
from dataprep.train.objectives.soft_label.scorers import Encoded, Scorer, length

# Prefix of a table's columns of probabilities; the class's name follows.
COLUMN = "prob_"
GOLD, SOFT, NO_GOLD = "gold", "soft", -1
_HINT = "correct the row or remove it"
_USUAL_FIELDS = (("text",), ("question", "answer"), ("question",))


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """One row."""

    where: Location
    texts: tuple[str, ...]
    gold: Gold
    teacher: Teacher | None


def usual_fields(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the default fields of a row's text: `text`, or question and answer."""
    for fields in _USUAL_FIELDS:
        if all(field in row for field in fields):
            return fields
    advice = "expected 'text', or name the fields with --fields"
    raise RowError("no text", f"the row's fields are {_names_of(row)}; {advice}")


def _names_of(row: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, row)) or "none"


def texts_of(row: Mapping[str, Any], fields: Sequence[str]) -> tuple[str, ...]:
    """Return the texts of a row."""
    texts = []
    for field in fields:
        if field not in row:
            raise RowError(f"missing field {field!r}", f"the row's fields are {_names_of(row)}")
        if type(row[field]) is not str:
            raise RowError(f"no text in {field!r}", f"found {describe(row[field])}; expected a text")
        texts.append(row[field])
    return tuple(texts)


def gold_of(row: Mapping[str, Any], field: str | None = None) -> Gold:
    """Return the label or the score of a row; `None` if it is empty."""
    field = field or ("label" if "label" in row else "score")
    value = row.get(field)
    if value is None or value == "":
        return None
    # Only `score` is a number on a scale; any other field names a class.
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
    """Return a teacher's `probs`, `scores` or columns `prob_CLASS`, if any."""
    for field in ("probs", "scores"):
        value = row.get(field)
        if type(value) is str and value.strip():  # tables have JSON in a cell
            with suppress(orjson.JSONDecodeError):
                value = orjson.loads(value)
        if value is None or value == "":
            continue
        if type(value) is list:
            return Teacher(value, logits=field == "scores")
        if type(value) is dict:
            # In Parquet every row has every class, with null where the original row had none.
            known = {name_of(name): number for name, number in value.items() if number is not None}
            if known or not value:
                return Teacher(known, logits=field == "scores")
            continue
        raise RowError(
            f"{field} of another kind",
            f"found {describe(value)} in {field!r}; expected a list in the classes' order, or an object",
        )
    filled = {
        name: value for name, value in row.items() if name.startswith(COLUMN) and value not in (None, "")
    }
    probabilities = {name_of(name.removeprefix(COLUMN)): value for name, value in filled.items()}
    return Teacher(probabilities) if probabilities else None


def judged_rows(
    paths: Sequence[str], fields: Sequence[str] = (), label: str | None = None
) -> Iterator[JudgedRow]:
    """Read the rows of files; the text is in `fields`, by default the usual ones of each file's first row."""
    for path in paths:
        # By each file's first row: files of one run can name their fields differently.
        used: Sequence[str] = fields
        for where, row in files.read_rows(path):
            with located(where, _HINT):
                used = used or usual_fields(row)
                _check_fields(row, {*used, label})
                judged = JudgedRow(where, texts_of(row, used), gold_of(row, label), teacher_of(row))
                if judged.gold is None and judged.teacher is None:
                    raise RowError("nothing to learn", "expected a label, a score or probabilities")
            yield judged


def _check_fields(row: Mapping[str, Any], used: set[str | None]) -> None:
    """Raise ``RowError`` for a field, such as a weight, that would have no effect on the loss."""
    others = {name: value for name, value in row.items() if name not in used and not name.startswith(COLUMN)}
    for finding in find_ignored(others, learned=True):
        raise RowError(*finding)


class JudgedDataset:
    """Rows as items for a classifier."""

    def __init__(
        self, scorer: Scorer, rows: Iterable[JudgedRow], limit: int | None = None, truncation: str = "error"
    ) -> None:
        self._scorer, classes = scorer, scorer.classes
        self._encoded: list[Encoded] = []
        self._places: list[Location] = []
        # Rows that were too long, and name and SHA-256 of each input file.
        self.dropped, self.files = 0, list[dict[str, Any]]()
        gold, teacher, has_teacher = [], [], []
        # Placeholders keep the tensors rectangular; `has_teacher` masks them in the loss.
        nothing = [0.0] * len(classes.names)
        for row in rows:
            with located(row.where, _HINT):
                try:
                    self._encoded.append(scorer.encode_within(row.texts, limit, truncation))
                except RowDropped:
                    self.dropped += 1
                    continue
                gold.append(NO_GOLD if row.gold is None else classes.index(row.gold))
                teacher.append(nothing if row.teacher is None else classes.log_probs(row.teacher))
                has_teacher.append(row.teacher is not None)
                self._places.append(row.where)
        if not gold:
            raise InputError("the data", "no row is left to train on")
        # Shape (rows,), (rows, classes) and (rows,): indices of classes or NO_GOLD, log-probabilities.
        self.gold, self.teacher = torch.tensor(gold), torch.tensor(teacher)
        self.has_teacher = torch.tensor(has_teacher)

    def __len__(self) -> int:
        return len(self._encoded)

    @property
    def tokens(self) -> int:
        """Number of tokens in all rows."""
        return sum(map(length, self._encoded))

    def batch(self, items: Sequence[int]) -> Batch:
        """Return the classifier's inputs, and `gold`, `teacher` and `has_teacher`."""
        encoded = [self._encoded[item] for item in items]
        rows = torch.tensor(list(items))
        tensors = self._scorer.collate(encoded)
        tensors |= {"gold": self.gold[rows], "teacher": self.teacher[rows]}
        tensors["has_teacher"] = self.has_teacher[rows]
        counts = {SOFT: int(tensors["has_teacher"].sum()), GOLD: int((tensors["gold"] != NO_GOLD).sum())}
        return Batch(tensors, counts, sum(map(length, encoded)))

    def describe_item(self, item: int) -> str:
        """Return a row's place."""
        return str(self._places[item])
