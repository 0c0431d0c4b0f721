"""Any question-answering dataset: the fields are named on the command line.

``dataprep convert qa FILE --map
question=QUESTION,answer=ANSWER[,choices=…][,context=…][,solution=…][,id=…]`` reads JSON Lines, CSV, TSV or
Parquet. A field inside an object is named with dots (``question.stem``). Choices are one field (a list of
texts, or texts with labels, or such a list as JSON in a table's cell), or several fields joined by ``|``
(``choices=a|b|c|d``). Without ``--map`` the fields have these names themselves.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from dataprep.core.errors import RowDropped, RowError
from dataprep.core.records import Example, Source, Split, describe, listed, none_of_the_choices
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
    if choices is not None:
        find = partial(_place_of, answers_from=answers_from)
        return choice_example(question, choices, answer, unlabelled=unlabelled, find=find, **shared)
    text = _plain(answer, columns.get("answer", ""))
    if text is None and unlabelled == "drop":
        raise RowDropped(NO_ANSWER)
    return Example(question, "qa", answer=text, **shared)


def mapped_fields(columns: Mapping[str, str]) -> Iterator[str]:
    """Yield the fields of a row that ``columns`` names."""
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
    given = str(answer) if type(answer) in (int, float) else answer
    plain = given.strip().strip("().:") if type(given) is str else ""
    if not (plain.isdecimal() and plain.isascii()) or plain in labels:
        return place_of(plain if plain in labels else given, texts, labels)
    if answers_from is not None:
        if 0 <= (place := int(plain[:9]) - answers_from) < len(texts):
            return place
        raise none_of_the_choices(answer, texts, labels)
    for text in (str(given).strip(), plain):
        if text in texts:
            return texts.index(text)
    found = f"found {describe(answer)}; the choices are {listed(texts, labels)}"
    hint = "say what the first one's number is: --answers-from 0 or 1"
    raise RowError("the answer is a number", f"{found}; {hint}")


def _value(row: Mapping[str, Any], path: str, default: object = None) -> Any:
    """Return the value of a field, or of a dotted path through objects; the default if it is missing."""
    value: Any = row
    # A field whose own name has a dot goes first.
    for name in (path,) if path in row else path.split("."):
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
        return str(value)
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
