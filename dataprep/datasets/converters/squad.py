"""SQuAD: questions whose answers are spans of a Wikipedia passage.

Published as one JSON document (CC BY-SA 4.0), version 1.1 or 2.0: ``data`` → ``paragraphs`` → ``qas``.
A row here is one question with its context, which is also the row of the hub::

    {"id": "5f3a…", "title": "Basalt", "context": "Basalt is …", "question": "What is …?",
     "answers": {"text": ["lava"], "answer_start": [61]}}

In the document ``answers`` is a list of ``{"text", "answer_start"}``; both forms are read. Questions that the
passage does not answer (version 2.0) have no answers.

Source: Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text";
Rajpurkar et al. 2018, "Know What You Don't Know: Unanswerable Questions for SQuAD".
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from dataprep.core.errors import RowDropped, RowError
from dataprep.core.records import (
    Example,
    Source,
    Split,
    describe,
    from_cell,
    id_text,
    is_true,
    text_of,
)
from dataprep.datasets.converters.choices import whole_document

SOURCE = Source(
    hub="rajpurkar/squad_v2",
    revision="3ffb306f725f7d2ce8394bc1873b24868140c412",
    licence="CC BY-SA 4.0",
    language="en",
    homepage="https://rajpurkar.github.io/SQuAD-explorer/",
    splits={
        "train": Split(("*train*",), 130319, "squad_train_sample_llama", hub="squad_v2/train"),
        "test": Split(("*dev*", "*validation*"), 11873, "squad_dev_llama", hub="squad_v2/validation"),
    },
    task="reading",
)

USER = """\
Read the passage and answer the question with the shortest span of it that is a full answer.

Passage:
{context}

Question: {question}"""
ASSISTANT = "{answer}"

# The dataset has no text for this case; with `--unanswerable keep` a student learns to say it.
UNANSWERABLE = "The passage does not answer this question."


def rows(document: Any) -> Iterator[dict[str, Any]]:
    """Yield the questions of a SQuAD document, each with context and title."""
    for number, article in enumerate(_list(document, "data", "the document")):
        place = f"data[{number}]"
        for position, paragraph in enumerate(_list(article, "paragraphs", place)):
            place = f"data[{number}].paragraphs[{position}]"
            for question in _list(paragraph, "qas", place):
                shared = {"title": article.get("title"), "context": paragraph.get("context")}
                yield shared | question if isinstance(question, dict) else question


def adopt(example: Example, *, unanswerable: Literal["drop", "keep"] = "drop") -> Example:
    """Return an Example as its own row has it; one without an answer is a question that has none."""
    if example.answer is None and unanswerable == "drop":
        raise RowDropped("unanswerable")
    example.answer = example.answer or UNANSWERABLE
    return example


def convert(row: Mapping[str, Any], *, unanswerable: Literal["drop", "keep"] = "drop") -> Example:
    """Return an Example with context, question and the first answer; with all of them if they differ."""
    if "data" in row and "question" not in row:
        raise whole_document("SQuAD")
    answers = _answers(row)
    if not answers and unanswerable == "drop":
        raise RowDropped("unanswerable")
    answer = answers[0].strip() if answers else UNANSWERABLE
    if not answer:
        raise RowError("the answer is empty", f"found {describe(answers)} as the answers' texts")
    # Annotators often marked the same span; several equal answers are one.
    distinct = tuple(dict.fromkeys(text for marked in answers if (text := marked.strip())))
    return Example(
        question=text_of(row, "question"),
        task="reading",
        id=id_text(row),
        context=text_of(row, "context"),
        answer=answer,
        answers=distinct if len(distinct) > 1 else (),
    )


def _answers(row: Mapping[str, Any]) -> list[str]:
    """Return the texts of the answers; none if the passage does not answer the question."""
    answers, impossible = from_cell(row.get("answers")), is_true(row, "is_impossible")
    if "answers" not in row and not impossible:
        raise RowError("missing field 'answers'", f"the row's fields are {', '.join(map(repr, row))}")
    # Tables can have null for an empty list.
    texts: Any = answers or []
    if isinstance(answers, Mapping):
        texts = from_cell(answers.get("text"))
        # A place without a text is no empty list.
        if "text" in answers and not texts and not answers.get("answer_start"):
            texts = []
    elif isinstance(answers, list):
        texts = [answer.get("text") if isinstance(answer, Mapping) else answer for answer in answers]
    if not isinstance(texts, list) or not all(type(text) is str for text in texts):
        raise RowError("field 'answers' is not a list of answers", f"found {describe(answers)}")
    # This field decides, whatever answers are beside it: at best they are plausible ones.
    return [] if impossible else texts


def _list(value: Any, name: str, place: str) -> list[Any]:
    items = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(items, list):
        raise RowError(f"no list {name!r} in {place}", "expected a SQuAD document, version 1.1 or 2.0")
    return items
