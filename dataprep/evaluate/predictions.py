"""Predictions of any system, each put beside its row: by id, or by place where they have no ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataprep.core import io as files
from dataprep.core.errors import InputError, Location, UsageError, located
from dataprep.core.records import describe
from dataprep.evaluate.items import Item, by_id
from dataprep.teacher.journal.current import current_lines, sample_of
from dataprep.teacher.journal.line import check_response, outcome_of

FIELDS = ("prediction", "text", "response")
MISSING, NO_ANSWER = "no prediction", "the teacher gave no answer"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a system said: a text, or the reason that there is none."""

    text: str | None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Matched:
    """Predictions in the order of the rows.

    Attributes:
        predictions: one a row.
        unknown: how many predictions have an id that no row has.
    """

    predictions: list[Prediction]
    unknown: int = 0


def read_predictions(path: str, items: Sequence[Item], rows_in: int, teacher: str | None = None) -> Matched:
    """The predictions of a file, one for each item.

    Args:
        path: rows with a ``prediction`` or ``text``, and an ``id`` or none of them; or a journal of
            ``generate``, whose lines count as they do in ``collect``.
        items: the rows that they are for.
        rows_in: how many rows their file has, bad and dropped ones among them.
        teacher: whose answers are meant, where a journal has several teachers'.

    Raises:
        InputError: a row is malformed, an id comes twice, or without ids there are more or fewer than rows.
        UsageError: a journal has several teachers, or items have no ids to match by.
        FileError: the file cannot be read.
    """
    rows = list(files.read_rows(path))
    if not rows:
        raise InputError(path, "the file is empty; expected predictions")
    if _is_journal(rows[0][1]):
        found = _of_journal(path, rows, teacher)
    elif teacher is not None:
        raise UsageError(f"--teacher {teacher}: {path} is no journal of responses")
    else:
        named = _of_rows(rows)
        if named is None:
            return _by_place(path, rows, items, rows_in)
        found = named
    places = by_id(items)
    made = [Prediction(None, MISSING)] * len(items)
    for name, prediction in found.items():
        if name in places:
            made[places[name]] = prediction
    if not found.keys() & places.keys():
        some, other = next(iter(found)), next(iter(places), "none")
        raise InputError(path, f"no id is one of the rows' ids: found {some!r}, expected such as {other!r}")
    return Matched(made, len(found.keys() - places.keys()))


def _is_journal(row: Mapping[str, Any]) -> bool:
    return {"key", "teacher", "response", "finish_reason"} <= row.keys()


def _of_rows(rows: Sequence[tuple[Location, dict[str, Any]]]) -> dict[str, Prediction] | None:
    """Predictions by id; ``None`` where no row has one."""
    without = [where for where, row in rows if row.get("id") is None]
    if len(without) == len(rows):
        return None
    if without:
        message = "the row has no id, and others have; expected one in all or in none of them"
        raise InputError(without[0], message)
    found: dict[str, Prediction] = {}
    first: dict[str, Location] = {}
    for where, row in rows:
        name = str(row["id"])
        if name in found:
            message = f"a second prediction for {name!r}; the first is {first[name]}"
            raise InputError(where, f"{message}: remove one of them")
        found[name], first[name] = _prediction(where, row), where
    return found


def _by_place(
    path: str, rows: Sequence[tuple[Location, dict[str, Any]]], items: Sequence[Item], rows_in: int
) -> Matched:
    """One prediction for each row of the file; those of bad and dropped rows are for no item."""
    if len(rows) != rows_in:
        message = f"found {len(rows):,} predictions without ids for {rows_in:,} rows; expected as many"
        raise InputError(path, f"{message}, in the same order, or an 'id' in each")
    made = [_prediction(where, row) for where, row in rows]
    return Matched([made[item.number - 1] for item in items])


def _prediction(where: Location, row: Mapping[str, Any]) -> Prediction:
    for name in FIELDS:
        if name in row:
            if type(row[name]) is str:
                return Prediction(row[name])
            found = f"field {name!r} is not a string: found {describe(row[name])}"
            raise InputError(where, f"{found}; expected what the system said, or an empty text")
    found = ", ".join(map(repr, row)) or "none"
    message = f"no prediction: the row's fields are {found}; expected one in 'prediction' or 'text'"
    raise InputError(where, message)


def _of_journal(
    path: str, rows: Sequence[tuple[Location, dict[str, Any]]], teacher: str | None
) -> dict[str, Prediction]:
    """A teacher's answers by id: the lines that count, of the first sample."""
    for where, row in rows:
        with located(where):
            check_response(row)
            sample_of(row)
    lines = dict(rows)
    current = current_lines(rows)
    if teacher is None and len(current) > 1:
        raise UsageError(f"{path} has answers of {', '.join(current)}; choose one with --teacher")
    name = teacher or next(iter(current))
    if name not in current:
        raise UsageError(f"--teacher {name}: {path} has answers of {', '.join(current)}")
    counted = current[name].get(0, {})
    return {each: _answer(lines[place]) for each, place in counted.items()}


def _answer(line: Mapping[str, Any]) -> Prediction:
    """What counts as said: an answer that was cut off as far as it goes, and nothing for a refusal."""
    if outcome_of(line) == "failed":
        return Prediction(None, NO_ANSWER)
    return Prediction(line["response"] or "")
