"""Read the predictions of a system and match them to rows, by id or else by position."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

import orjson

from dataprep.answers.final_answers import begins_in_thinking, divided
from dataprep.core import io as files
from dataprep.core.conversations import REASONING_FIELDS
from dataprep.core.errors import InputError, Location, UsageError, located
from dataprep.core.io.tables.scratch import packed, scratch_database, unpacked
from dataprep.core.records import describe
from dataprep.evaluate.items import MISSING, Item, Prediction
from dataprep.teacher.journal.current import CurrentLines
from dataprep.teacher.journal.line import check_response, outcome_of, sample_of

FIELDS = ("prediction", "text", "response")
NO_ANSWER = "the teacher gave no answer"


class Predictions:
    """The predictions in a file of rows, or in a journal of ``generate``, in bounded memory.

    Args:
        path: the file.
        teacher: the teacher whose answers in a journal are the predictions; required if there are several.
        classes: whether the predictions are classes, in the field ``prediction``, and may be numbers.

    Raises:
        InputError: a row is no prediction, an id has two, some rows have an id and others none, or there are
            no rows.
        UsageError: the journal has several teachers, or not this one.
    """

    def __init__(self, path: str, teacher: str | None = None, *, classes: bool = False) -> None:
        self._path, self._classes = path, classes
        self._database = scratch_database(
            # `place` is the number of the row as messages count it, of `unit`.
            "predictions (number INTEGER PRIMARY KEY, id BLOB UNIQUE, text BLOB, place INT, unit TEXT, "
            "cut INT)",
            "items (id BLOB PRIMARY KEY, place INT) WITHOUT ROWID",
        )
        self._current: CurrentLines | None = None  # of a journal
        self._teacher = ""
        self._with_id = False
        self._without_id: Location | None = None  # the first row without an id
        self._matched = 0
        # The teachers whose prompts open the thinking: a reply of theirs has its end without its beginning.
        self._opened: set[str] = set()
        for number, (where, row) in zip(count(1), files.read_rows(path, growing=True), strict=False):
            if number == 1 and _is_journal(row):
                self._current = CurrentLines()
            elif number == 1 and teacher is not None:
                raise UsageError(f"--teacher {teacher}: {path} is no journal of responses")
            self._add(number, where, row)
        self._rows = number = self._value("SELECT count(*) FROM predictions")
        if not number and self._current is None:
            raise InputError(path, "the file is empty; expected predictions")
        if self._current is not None:
            self._teacher = self._chosen(self._current, teacher)
        elif self._with_id and self._without_id:
            message = "the row has no id, and others have; expected one in all or in none of them"
            raise InputError(self._without_id, message)

    def _add(self, number: int, where: Location, row: dict[str, Any]) -> None:
        name, cut = None, False
        if self._current is not None:
            # Every line is checked, also one that is not current: a journal with a damaged line is not read.
            with located(where):
                check_response(row)
                sample, outcome = sample_of(row), outcome_of(row)
                self._current.add(row["teacher"], row["id"], row["key"], sample, outcome, number)
            text = _answer(row)
            if begins_in_thinking(text or ""):
                self._opened.add(row["teacher"])
            elif outcome in ("length", "unknown"):
                cut = not (row.get("reasoning") or divided(text or "")[1])
        else:
            with located(where):
                name = None if row.get("id") is None else str(row["id"])
            self._with_id = self._with_id or name is not None
            self._without_id = self._without_id or (where if name is None else None)
            text = _class(where, row) if self._classes else _prediction(where, row)
        held = None if text is None else packed(text)
        values = (number, None if name is None else packed(name), held, where.number, where.unit, cut)
        added = self._database.execute("INSERT OR IGNORE INTO predictions VALUES (?, ?, ?, ?, ?, ?)", values)
        if not added.rowcount:
            query = "SELECT place, unit FROM predictions WHERE id = ?"
            first = Location(self._path, *self._database.execute(query, values[1:2]).fetchone())
            message = f"a second prediction for {name!r}; the first is {first}"
            raise InputError(where, f"{message}: remove one of them")

    def _chosen(self, current: CurrentLines, teacher: str | None) -> str:
        teachers = current.teachers
        # A name under which only failures came, such as a mistyped one, is no teacher if another answered.
        if teacher is None:
            teachers = [name for name in teachers if name in current.answered] or teachers
        found = ", ".join(teachers)
        if teacher is None and len(teachers) > 1:
            raise UsageError(f"{self._path} has answers of {found}; choose one with --teacher")
        if teacher is not None and teacher not in teachers:
            raise UsageError(f"--teacher {teacher}: {self._path} has answers of {found}")
        return teacher or teachers[0]

    def find(self, item: Item) -> Prediction:
        """Return the prediction for an item; ask for each item once.

        Raises:
            UsageError: the item has no id, or that of an earlier item.
        """
        # Bad and dropped rows have a prediction too, so items are counted as their file counts them.
        query, key = "SELECT text, cut FROM predictions WHERE number = ?", item.number
        if self._current is not None or self._with_id:
            name = self._named(item)
            if self._current is None:
                number = self._value("SELECT number FROM predictions WHERE id = ?", packed(name))
            else:
                # With several samples per request, the first one is evaluated: a score is of one answer.
                number = self._current.find(self._teacher, name)
            if number is None:
                return Prediction(None, MISSING)
            key = number
        found = self._database.execute(query, (key,)).fetchone()
        if found is None:
            return Prediction(None, MISSING)
        self._matched += 1
        if found[0] is None:
            return Prediction(None, NO_ANSWER)
        # All of it is thinking, whose mark the prompt wrote: no answer is read from it.
        opening = "<think>" if found[1] and self._teacher in self._opened else ""
        return Prediction(opening + unpacked(found[0]))

    def _named(self, item: Item) -> str:
        """Return the id of an item that was not asked for before."""
        if item.id is None:
            hint = "write the rows with `dataprep convert --with-id`, or leave the ids out of the predictions"
            raise UsageError(f"{item.where}: the row has no id to find its prediction by; {hint}")
        values = (packed(item.id), item.where.number)
        if not self._database.execute("INSERT OR IGNORE INTO items VALUES (?, ?)", values).rowcount:
            first = item.where._replace(number=self._value("SELECT place FROM items WHERE id = ?", values[0]))
            raise UsageError(f"{item.where}: the id {item.id!r} stands at {first} too; remove one of them")
        return item.id

    def unmatched(self, rows_in: int) -> int:
        """Return how many predictions have an id that no item has, after all items were asked for.

        ``rows_in`` counts bad and dropped rows, too: without ids, predictions are matched by position.

        Raises:
            InputError: no prediction has the id of an item, or without ids there are more or fewer
                predictions than rows.
        """
        if self._current is None and not self._with_id:
            if self._rows != rows_in:
                message = f"found {self._rows:,} predictions without ids for {rows_in:,} rows"
                raise InputError(
                    self._path, f"{message}; expected as many, in the same order, or an 'id' in each"
                )
            return 0
        if not self._matched:
            expected = unpacked(self._value("SELECT id FROM items ORDER BY place LIMIT 1") or b"none")
            message = f"no id is one of the rows' ids: found {self._first_id()!r}"
            raise InputError(self._path, f"{message}, expected such as {expected!r}")
        if self._current is None:
            return int(self._rows) - self._matched
        return self._current.count(self._teacher) - self._matched

    def _first_id(self) -> str:
        if self._current is None:
            return unpacked(self._value("SELECT id FROM predictions ORDER BY number LIMIT 1"))
        return next(name for teacher, name, *_ in self._current if teacher == self._teacher)

    def _value(self, query: str, *values: Any) -> Any:
        """Return the only value of a query's first row; ``None`` without a row."""
        found = self._database.execute(query, values).fetchone()
        return None if found is None else found[0]


def _is_journal(row: Mapping[str, Any]) -> bool:
    return {"key", "teacher", "response", "finish_reason"} <= row.keys()


def _prediction(where: Location, row: Mapping[str, Any]) -> str:
    for name in FIELDS:
        if name in row:
            if type(row[name]) is str:
                text: str = row[name]
                return text
            # A system that spent its tokens on thinking said nothing.
            if row[name] is None and any(row.get(field) for field in REASONING_FIELDS):
                return ""
            problem = f"field {name!r} is not a string: found {describe(row[name])}"
            hint = "; classes can be numbers with --metric classes" if type(row[name]) in (int, float) else ""
            raise InputError(where, f"{problem}; expected what the system said, or an empty text{hint}")
    names = ", ".join(map(repr, row)) or "none"
    message = (
        f"no prediction: the row's fields are {names}; expected one in 'prediction', 'text' or 'response'"
    )
    raise InputError(where, message)


def _class(where: Location, row: Mapping[str, Any]) -> str:
    value = row.get("prediction")
    if type(value) is str:
        return value
    if type(value) in (int, float, bool):
        return orjson.dumps(value).decode()
    names = ", ".join(map(repr, row)) or "none"
    message = (
        f"no class in 'prediction': the row's fields are {names}; expected rows as `predict` writes them"
    )
    raise InputError(where, message)


def _answer(line: Mapping[str, Any]) -> str | None:
    # Answers that were cut off and refusals are scored as they are; only failures have no answer.
    if outcome_of(line) == "failed":
        return None
    return line["response"] or ""
