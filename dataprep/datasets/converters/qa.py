"""Any question-answering dataset: the fields are named on the command line.

``dataprep convert qa FILE --map
question=QUESTION,answer=ANSWER[,choices=…][,context=…][,solution=…][,id=…]`` reads JSON Lines, CSV, TSV or
Parquet. A field inside an object is named with dots (``question.stem``). Choices are one field (a list of
texts, or texts with labels, or such a list as JSON in a table's cell), or several fields joined by ``|``
(``choices=a|b|c|d``). A list of answers to an open question are all accepted ones (``Example.answers``).
Without ``--map`` the fields have these names themselves.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from dataprep.core.errors import RowDropped, RowError, UsageError
from dataprep.core.records import (
    Example,
    Source,
    Split,
    describe,
    from_cell,
    listed,
    none_of_the_choices,
    number_text,
    whole_of,
)
from dataprep.datasets.converters.choices import NO_ANSWER, Unlabelled, choice_example, choices_of, place_of

SOURCE = Source(
    splits={
        "train": Split(("*train*",), 0, "qa_train_llama"),
        "test": Split(("*test*", "*dev*", "*valid*"), 0, "qa_test_llama"),
    },
    task="qa",
)

ASSISTANT = """\
{solution}

{answer}"""

_MISSING = object()
FIELDS = ("question", "choices", "answer", "context", "solution", "id")


def convert(
    row: Mapping[str, Any],
    *,
    columns: Mapping[str, str] | None = None,
    answers_from: Literal[0, 1, None] = None,
    unlabelled: Unlabelled = "drop",
) -> Example:
    """Return an Example with the fields that ``columns`` names, by the Example's fields.

    ``answers_from`` is the first choice's number, if answers are numbers.
    """
    columns = columns or {name: name for name in FIELDS}
    question = _text(row, columns.get("question", "question"))
    if question is None:
        expected = f"expected it in {columns.get('question')!r}"
        fields = ", ".join(map(repr, row)) or "none"
        raise RowError("no question", f"{expected}; the row's fields are {fields}")
    shared: dict[str, Any] = {
        name: _text(row, columns[name]) for name in ("id", "context", "solution") if name in columns
    }
    choices = _choices(row, columns["choices"]) if "choices" in columns else None
    answer = _value(row, columns["answer"]) if "answer" in columns else None
    if answer is None and "answer" not in row and columns.get("answer") == "answer":
        answer = row.get("answers")
    if choices is not None:
        find = partial(_place_of, answers_from=answers_from)
        if type(answer) is list:
            answer = _only_choice(answer, choices, find) if answer else None
        return choice_example(question, choices, answer, unlabelled=unlabelled, find=find, **shared)
    if isinstance(answer, Mapping) and "text" in answer:
        answer = answer["text"]
    texts = _answers(answer, columns.get("answer", ""))
    if not texts and unlabelled == "drop":
        raise RowDropped(NO_ANSWER)
    accepted = tuple(texts) if len(texts) > 1 else ()
    return Example(question, "qa", answer=next(iter(texts), None), answers=accepted, **shared)


def parse_map(text: str) -> dict[str, str]:
    """Return the fields in a text such as ``question=q,answer=a``; a field's name can have commas."""
    pairs: list[tuple[str, str]] = []
    try:
        # As in a table, quotes keep what is inside them together: `"answer=a, b=c"`.
        parts = next(csv.reader([text]), [])
    except csv.Error as error:
        raise UsageError(f"--map {text}: {error}") from None
    for part in parts:
        name, sign, column = part.partition("=")
        if sign or not pairs or not part.strip():
            pairs.append((name.strip(), column))
        else:  # what has no `=` belongs to the name before the comma
            pairs[-1] = pairs[-1][0], f"{pairs[-1][1]},{part}"
    columns = {name: column.strip('"') for name, column in pairs}
    if len(columns) < len(pairs):
        raise UsageError(f"--map {text}: a name is repeated")
    check_map(columns, text)
    return columns


def check_map(columns: Any, shown: str = "") -> None:
    """Raise ``UsageError`` unless ``columns`` has the fields of rows by names that Examples have."""
    pairs = columns.items() if isinstance(columns, Mapping) else ()
    if not pairs or not all(name in FIELDS and column and type(column) is str for name, column in pairs):
        known = ", ".join(FIELDS)
        raise UsageError(f"--map {shown or columns}: expected NAME=FIELD, with NAME one of {known}")


def mapped_fields(columns: Mapping[str, str]) -> Iterator[str]:
    """Yield the fields of a row that ``columns`` names."""
    check_map(columns)
    for name, path in columns.items():
        yield from path.split("|") if name == "choices" else (path,)


def has_field(row: Mapping[str, Any], path: str) -> bool:
    """Return whether a row has a field, or a dotted path through its objects; its value may be null."""
    return _value(row, path, _MISSING) is not _MISSING


def _place_of(
    answer: object, texts: Sequence[str], labels: Sequence[str], answers_from: Literal[0, 1, None]
) -> int:
    """Return which of the choices an answer names, counted from 0."""
    # Nothing here tells whether a number counts from 0 or from 1. It is a label or text of a choice, or
    # --answers-from says how it counts. JSON's 1 and a table's "1" are the same.
    given = number_text(answer) if type(answer) in (int, float) else answer
    plain = given.strip().strip("().:'\"") if type(given) is str else ""
    number = whole_of(plain)
    if plain in labels or number is None:
        return place_of(plain if plain in labels else given, texts, labels)
    if str(number) in labels:  # a table can write the label 2 as 2.0
        return labels.index(str(number))
    if answers_from is not None:
        if 0 <= (place := number - answers_from) < len(texts):
            return place
        raise none_of_the_choices(answer, texts, labels)
    for text in (str(answer).strip(), str(given).strip(), plain, str(number)):
        if text in texts:
            return texts.index(text)
    found = f"found {describe(answer)}; the choices are {listed(texts, labels)}"
    hint = "say what the first one's number is: --answers-from 0 or 1"
    raise RowError("the answer is a number", f"{found}; {hint}")


def _only_choice(answers: Sequence[Any], choices: tuple[Any, Any], find: Callable[..., int]) -> int | str:
    """Return the text of the choice that all of several answers name."""
    places = {find(answer, *choices) for answer in answers}
    if len(places) > 1:
        found = f"found {describe(list(answers))}; the choices are {listed(*choices)}"
        raise RowError("several right choices", f"{found}; a question has one")
    return str(choices[0][places.pop()])


def _answers(answer: Any, path: str) -> list[str]:
    """Return the accepted answers to an open question, each once."""
    # JSON's words for truth are the same in a text and outside of one.
    items = answer if type(answer) is list else [answer]
    texts = [_plain(str(item).lower() if type(item) is bool else item, path) for item in items]
    return list(dict.fromkeys(text for text in texts if text is not None))


def _value(row: Mapping[str, Any], path: str, default: object = None) -> Any:
    """Return the value of a field, or of a dotted path through objects; the default if it is missing."""
    value: Any = row
    # A field whose own name has a dot goes first.
    for name in (path,) if path in row else path.split("."):
        value = from_cell(value)
        if not isinstance(value, Mapping) or name not in value:
            return default
        value = value[name]
    return value


def _text(row: Mapping[str, Any], path: str) -> str | None:
    return _plain(_value(row, path), path)


def _plain(value: Any, path: str) -> str | None:
    """Return a text, or a number as a text; ``None`` if it is blank or null."""
    if value is None or type(value) is str:
        return (value or "").strip() or None
    if type(value) in (int, float):
        return number_text(value)
    raise RowError(f"field {path!r} is not a text", f"found {describe(value)}")


def _choices(row: Mapping[str, Any], path: str) -> tuple[list[str], list[str]] | None:
    """Return the choices' texts and labels; ``None`` if the row has none."""
    if "|" in path:
        texts = [_text(row, name) for name in path.split("|")]
        # Rows with fewer choices leave the last columns empty.
        while texts and texts[-1] is None:
            texts.pop()
        given = [text for text in texts if text is not None]
        if len(given) < len(texts):
            found = f"found {describe(texts)}; one in the middle would move the others"
            raise RowError("an empty choice", found)
        return given, []
    value = _value(row, path)
    return None if value in (None, "", [], "[]") else choices_of(value)
