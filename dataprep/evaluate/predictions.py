"""Read the predictions of a system and match them to rows, by id or else by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataprep.core import io as files
from dataprep.core.errors import InputError, Location, UsageError, located
from dataprep.core.records import describe
from dataprep.evaluate.items import MISSING, Item, Prediction, by_id
from dataprep.teacher.journal.current import current_lines
from dataprep.teacher.journal.line import check_response, outcome_of, sample_of

FIELDS = ("prediction", "text", "response")
NO_ANSWER = "the teacher gave no answer"


@dataclass(frozen=True, slots=True)
class Matched:
    """Predictions in the order of the rows."""

    predictions: list[Prediction]
    unknown: int = 0  # predictions whose id no row has


def read_predictions(path: str, items: Sequence[Item], rows_in: int, teacher: str | None = None) -> Matched:
    """Return the predictions of a file of rows, or of a journal of ``generate``, one for each item."""
    # `rows_in` counts bad and dropped rows, too: without ids, predictions are matched by position.
    rows = list(files.read_rows(path, growing=True))
    if not rows:
        raise InputError(path, "the file is empty; expected predictions")
    if _is_journal(rows[0][1]):
        named = _of_journal(path, rows, teacher)
    elif teacher is not None:
        raise UsageError(f"--teacher {teacher}: {path} is no journal of responses")
    else:
        if all(row.get("id") is None for _, row in rows):
            return _by_position(path, rows, items, rows_in)
        named = _of_rows(rows)
    indices = by_id(items)
    predictions = [Prediction(None, MISSING)] * len(items)
    for name, prediction in named.items():
        if name in indices:
            predictions[indices[name]] = prediction
    if not named.keys() & indices.keys():
        first, expected = next(iter(named)), next(iter(indices), "none")
        raise InputError(
            path, f"no id is one of the rows' ids: found {first!r}, expected such as {expected!r}"
        )
    return Matched(predictions, len(named.keys() - indices.keys()))


def _is_journal(row: Mapping[str, Any]) -> bool:
    return {"key", "teacher", "response", "finish_reason"} <= row.keys()


def _of_rows(rows: Sequence[tuple[Location, dict[str, Any]]]) -> dict[str, Prediction]:
    predictions: dict[str, Prediction] = {}
    first: dict[str, Location] = {}
    for where, row in rows:
        if row.get("id") is None:
            message = "the row has no id, and others have; expected one in all or in none of them"
            raise InputError(where, message)
        name = str(row["id"])
        if name in predictions:
            message = f"a second prediction for {name!r}; the first is {first[name]}"
            raise InputError(where, f"{message}: remove one of them")
        predictions[name], first[name] = _prediction(where, row), where
    return predictions


def _by_position(
    path: str, rows: Sequence[tuple[Location, dict[str, Any]]], items: Sequence[Item], rows_in: int
) -> Matched:
    if len(rows) != rows_in:
        message = f"found {len(rows):,} predictions without ids for {rows_in:,} rows; expected as many"
        raise InputError(path, f"{message}, in the same order, or an 'id' in each")
    predictions = [_prediction(where, row) for where, row in rows]
    # Bad and dropped rows have a prediction too, so items are counted as their file counts them.
    return Matched([predictions[item.number - 1] for item in items])


def _prediction(where: Location, row: Mapping[str, Any]) -> Prediction:
    for name in FIELDS:
        if name in row:
            if type(row[name]) is str:
                return Prediction(row[name])
            problem = f"field {name!r} is not a string: found {describe(row[name])}"
            raise InputError(where, f"{problem}; expected what the system said, or an empty text")
    names = ", ".join(map(repr, row)) or "none"
    message = f"no prediction: the row's fields are {names}; expected one in 'prediction' or 'text'"
    raise InputError(where, message)


def _of_journal(
    path: str, rows: Sequence[tuple[Location, dict[str, Any]]], teacher: str | None
) -> dict[str, Prediction]:
    for where, row in rows:
        with located(where):
            check_response(row)
            sample_of(row)
    # Every line is checked, also one that is not current: a journal with a damaged line is not read.
    lines = dict(rows)
    current = current_lines(rows)
    if teacher is None and len(current) > 1:
        raise UsageError(f"{path} has answers of {', '.join(current)}; choose one with --teacher")
    name = teacher or next(iter(current))
    if name not in current:
        raise UsageError(f"--teacher {name}: {path} has answers of {', '.join(current)}")
    # With several samples per request, the first one is evaluated: a score is of one answer per row.
    counted = current[name].get(0, {})
    return {identity: _answer(lines[where]) for identity, where in counted.items()}


def _answer(line: Mapping[str, Any]) -> Prediction:
    # Answers that were cut off and refusals are scored as they are; only failures have no answer.
    if outcome_of(line) == "failed":
        return Prediction(None, NO_ANSWER)
    return Prediction(line["response"] or "")
