"""Multiple-choice rows: choices and gold answers in all the shapes that sets are published in.

Choices come as a list of texts, as a list of ``{"label", "text"}``, or as ``{"label": […], "text": […]}``.
The gold answer comes as a label of its choices, as a letter, as a number counted from 1 (a string), as an
index counted from 0 (a number), or as the text of a choice. An Example always has both, its label one of
``a``, ``b``, ``c``, ….
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from dataprep.errors import RowDropped, RowError
from dataprep.records import LETTERS, Example, describe, text_of

Unlabelled = Literal["drop", "keep"]


def choice_example(
    question: str,
    choices: tuple[Sequence[str], Sequence[str]],
    answer: object,
    *,
    unlabelled: Unlabelled = "drop",
    **fields: Any,
) -> Example:
    """A multiple-choice Example.

    Args:
        question: the question's text.
        choices: the choices' texts and the labels they are published under (none: letters).
        answer: the gold answer in any of the published shapes; ``None`` or empty where it is hidden.
        unlabelled: what becomes of a row whose answer is hidden.
        fields: further fields of the Example.

    Raises:
        RowDropped: the answer is hidden, and those rows are not kept.
        RowError: the answer is none of the choices; fewer than two choices, or more than letters.
    """
    texts, labels = choices
    if not 2 <= len(texts) <= len(LETTERS):
        raise RowError("not a choice", f"found {len(texts)} choices; expected 2 to {len(LETTERS)}")
    if answer is None or answer == "":
        if unlabelled == "drop":
            raise RowDropped("no gold answer")
        return Example(question, "choice", choices=tuple(texts), **fields)
    place = place_of(answer, texts, labels)
    return Example(
        question,
        "choice",
        choices=tuple(texts),
        answer=texts[place],
        answer_label=LETTERS[place],
        **fields,
    )


def place_of(answer: object, texts: Sequence[str], labels: Sequence[str] = ()) -> int:
    """Which of the choices an answer names, counted from 0.

    A label as published goes before a text, a text before a letter, a letter before a number: in
    ``(a) 2 (b) 1`` the answer ``"1"`` is choice b.

    Raises:
        RowError: it is none of them; the message shows the choices.
    """
    if type(answer) is int and 0 <= answer < len(texts):
        return answer
    if type(answer) is str:
        given = answer.strip()
        for known in (labels, texts):
            if given in known:
                return known.index(given)
        plain = given.strip("().").lower()
        letter = LETTERS.find(plain) if len(plain) == 1 else -1
        place = letter if letter >= 0 else int(plain) - 1 if plain.isdecimal() and len(plain) < 4 else -1
        if 0 <= place < len(texts):
            return place
    shown = " ".join(f"({label}) {text}" for label, text in zip(labels or LETTERS, texts, strict=False))
    raise RowError("the answer is none of the choices", f"found {describe(answer)}; the choices are {shown}")


def choices_of(value: object) -> tuple[list[str], list[str]]:
    """The texts and published labels in a field of choices, whatever its shape.

    Raises:
        RowError: it is in none of the known shapes.
    """
    try:
        if type(value) is list and value and type(value[0]) is dict:
            texts = [each["text"].strip() for each in value]
            labels = [each["label"].strip() for each in value]
        elif type(value) is dict:
            texts = [text.strip() for text in value["text"]]
            labels = [label.strip() for label in value["label"]]
        elif type(value) is list:
            texts, labels = [text.strip() for text in value], []
        else:
            raise TypeError
        if not all(texts) or not all(labels) or len(labels) not in (0, len(texts)):
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError):  # asked for once, not field by field: row path
        expected = "expected a list of texts, or texts with their labels"
        raise RowError("malformed choices", f"found {describe(value, 200)}; {expected}") from None
    return texts, labels


def question_and_choices(row: Mapping[str, Any]) -> tuple[str, tuple[list[str], list[str]]]:
    """Question and choices of a row in the layout that most sets share, or a flat one.

    The official files nest them (``question: {"stem", "choices"}``), the hub and flat files do not
    (``question`` or ``question_stem``, and ``choices``).

    Raises:
        RowError: a field is missing, empty or of the wrong type.
    """
    question = row.get("question")
    if type(question) is dict:
        return text_of(question, "stem"), choices_of(question.get("choices"))
    name = "question_stem" if question is None and "question_stem" in row else "question"
    if "choices" not in row:
        raise RowError("missing field 'choices'", f"the row's fields are {', '.join(map(repr, row))}")
    return text_of(row, name), choices_of(row["choices"])


def gold_of(row: Mapping[str, Any]) -> object:
    """The gold answer of such a row: ``answerKey`` in the official and the hub's layout, else ``answer``."""
    answer = row.get("answerKey", row.get("answer"))
    return answer.strip() if type(answer) is str else answer


def id_of(row: Mapping[str, Any]) -> str | None:
    """The id of such a row as a text; ``None`` where it has none."""
    value = row.get("id")
    if value is None or type(value) is str:
        return value or None
    if type(value) is int:
        return str(value)
    raise RowError("field 'id' is neither text nor number", f"found {describe(value)}")
