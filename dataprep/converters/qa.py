"""Any question-answering set: the row's fields are named on the command line.

``dataprep convert qa FILE --map
question=QUESTION,answer=ANSWER[,choices=…][,context=…][,solution=…][,id=…]`` reads JSON Lines, CSV, TSV or
Parquet. A field inside an object is named with dots (``question.stem``); choices may be one field (a list
of texts, or texts with labels, or such a list as JSON in a table's cell), or several fields joined by ``|``
(``choices=a|b|c|d``). Without ``--map`` the fields have these names themselves.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from dataprep.choices import Unlabelled, choice_example, choices_of
from dataprep.errors import RowDropped, RowError
from dataprep.records import Example, Source, Split, describe

SOURCE = Source(
    hub="",
    revision="",
    licence="",
    homepage="",
    splits={
        "train": Split(("*train*",), 0, "qa_train_llama"),
        "test": Split(("*test*", "*dev*", "*valid*"), 0, "qa_test_llama"),
    },
    task="qa",
)

USER = """\
{context}

{question}

{choices}"""
ASSISTANT = """\
{solution}

{answer}"""

FIELDS = ("question", "choices", "answer", "context", "solution", "id")


def convert(
    row: Mapping[str, Any], *, columns: Mapping[str, str] | None = None, unlabelled: Unlabelled = "drop"
) -> Example:
    """An Example with the fields that ``columns`` finds; it maps Example fields to the row's fields.

    Raises:
        RowDropped: there is no answer, and those rows are not kept.
        RowError: the question is missing, or a field is malformed.
    """
    columns = columns or {name: name for name in FIELDS}
    question = _text(row, columns.get("question", "question"))
    if question is None:
        found = ", ".join(map(repr, row)) or "none"
        raise RowError(
            "no question", f"expected it in {columns.get('question')!r}; the row's fields are {found}"
        )
    shared: dict[str, Any] = {
        name: _text(row, columns[name]) for name in ("id", "context", "solution") if name in columns
    }
    choices = _choices(row, columns["choices"]) if "choices" in columns else None
    answer = _found(row, columns["answer"]) if "answer" in columns else None
    if choices is not None:
        return choice_example(question, choices, answer, unlabelled=unlabelled, **shared)
    text = _plain(answer, columns.get("answer", ""))
    if text is None and unlabelled == "drop":
        raise RowDropped("no gold answer")
    return Example(question, "qa", answer=text, **shared)


def _found(row: Mapping[str, Any], path: str) -> Any:
    """The value at a field, or at a dotted path through objects; ``None`` where it is missing."""
    if path in row:
        return row[path]
    value: Any = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(row: Mapping[str, Any], path: str) -> str | None:
    return _plain(_found(row, path), path)


def _plain(value: Any, path: str) -> str | None:
    """A text, or a number as a text; ``None`` where there is none."""
    if value is None or type(value) is str:
        return (value or "").strip() or None
    if type(value) in (int, float):
        return str(value)
    raise RowError(f"field {path!r} is not a text", f"found {describe(value)}")


def _choices(row: Mapping[str, Any], path: str) -> tuple[list[str], list[str]] | None:
    """The choices' texts and labels; ``None`` where the row has none."""
    if "|" in path:
        texts = [_text(row, name) for name in path.split("|")]
        while texts and texts[-1] is None:
            texts.pop()
        given = [text for text in texts if text is not None]
        if len(given) < len(texts):
            raise RowError(
                "an empty choice", f"found {describe(texts)}; one in the middle would move the others"
            )
        return given, []
    value = _found(row, path)
    if type(value) is str and value.strip():
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise RowError(f"field {path!r} is no list of choices", f"found {describe(value)}") from None
    return None if value in (None, "", []) else choices_of(value)
