"""BioASQ: biomedical yes/no questions with snippets of the papers that answer them.

Published as one JSON document per round of task b (CC BY 2.5, after registration). Other types of questions
in it are dropped. A row of the document, and a flat one::

    {"id": "55…", "type": "yesno", "body": "Is …?", "snippets": [{"text": "…"}], "ideal_answer": ["…"],
     "exact_answer": "yes"}
    {"id": "55…", "question": "Is …?", "choices": ["yes", "no"], "answer": "yes", "context": "…"}

The ideal answer is the solution.

Source: Tsatsaronis et al. 2015, "An overview of the BIOASQ large-scale biomedical semantic indexing and
question answering competition".
"""

from collections.abc import Iterator, Mapping
from typing import Any

from dataprep.core.errors import RowDropped, RowError
from dataprep.core.records import Example, Source, Split, describe, from_cell, text_of
from dataprep.datasets.converters.choices import (
    Unlabelled,
    as_spelled,
    choice_example,
    given_choices,
    gold_of,
    id_of,
    whole_document,
)

SOURCE = Source(
    # Not on the hub: only its authors publish it, after a registration.
    licence="CC BY 2.5",
    language="en",
    homepage="http://bioasq.org/",
    splits={
        "train": Split(("*train*",), 0, "bioasq_train_llama"),
        "test": Split(("*test*", "*golden*"), 0, "bioasq_test_llama"),
    },
)

CHOICES = ["yes", "no"]


def rows(document: Any) -> Iterator[Any]:
    """Yield the questions of a task-b document."""
    questions = document.get("questions") if isinstance(document, Mapping) else None
    if not isinstance(questions, list):
        raise RowError("not a BioASQ document", f"expected a list 'questions', found {describe(document)}")
    yield from questions


def convert(row: Mapping[str, Any], *, unlabelled: Unlabelled = "drop") -> Example:
    """Return an Example with context (the snippets), question, choices, answer and solution."""
    # A .jsonl file with a whole document on its one line would otherwise fail as a row without a question.
    if "questions" in row and "body" not in row and "question" not in row:
        raise whole_document("BioASQ")
    # A table of both layouts has null in the flat rows.
    kind = row.get("type", "yesno") or (None if "body" in row else "yesno")
    kind = kind.strip().lower() if type(kind) is str else kind
    if kind != "yesno":
        # Unknown types share one reason: a reason made from data could be different in every row.
        raise RowDropped(
            f"a question of type {kind}" if kind in ("factoid", "list", "summary") else "another type"
        )
    exact = from_cell(row.get("exact_answer"))
    # Some rounds wrap the answer in a list.
    if isinstance(exact, list) and len(exact) < 2:
        exact = exact[0] if exact else None
    answer = gold_of(row) if exact in (None, "") else exact
    texts, labels = given_choices(row, CHOICES)
    return choice_example(
        text_of(row, "question" if row.get("body") is None else "body"),
        (texts, labels),
        as_spelled(answer, texts),
        unlabelled=unlabelled,
        id=id_of(row),
        context=_joined(row.get("snippets"), "snippets") or _joined(row.get("context"), "context"),
        solution=_joined(row.get("ideal_answer"), "ideal_answer"),
    )


def _joined(value: Any, name: str) -> str | None:
    """Return a text, or a list of texts or of ``{"text"}``, as lines."""
    value = from_cell(value)
    items = value if isinstance(value, list) else [] if value is None else [value]
    texts = [item.get("text") if isinstance(item, Mapping) else item for item in items]
    if not all(type(text) is str for text in texts):
        raise RowError(f"field {name!r} holds a non-string", f"found {describe(value)}")
    return "\n".join(filter(None, (str(text).strip() for text in texts))) or None
