"""Read multiple-choice rows, in all the shapes that choices and right answers are published in.

Choices are a list of texts, a list of ``{"label", "text"}``, ``{"label": […], "text": […]}``, or an object of
texts by label (``{"A": "…", "B": "…"}``); in a table's cell, one of these as JSON. The right answer is a
label of the choices, the text of a choice, a letter, a number counted from 1 (a string), or an index counted
from 0 (a number). Where the choices are yes and no it can be true or false. An Example always has both the
text and a letter ``a``, ``b``, ``c``, ….
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from dataprep.core.errors import RowDropped, RowError
from dataprep.core.records import (
    LETTERS,
    Example,
    describe,
    from_cell,
    letter_place,
    listed,
    none_of_the_choices,
    number_text,
    text_of,
    truth_place,
    whole_of,
)

Unlabelled = Literal["drop", "keep"]

NO_ANSWER = "no gold answer"  # the reason for which rows with a hidden answer are dropped
# The default wording of all multiple-choice sets, so that a student meets one form only. `templates` uses it
# for Examples of unknown datasets too.
CHOICE_USER = """\
{context}

{question}

{choices}"""
CHOICE_ASSISTANT = "{answer}"
_DRESS = "().:'\""  # characters allowed around a letter or number
# Test sets without answers write -1 for the label that they hide.
_HIDDEN = frozenset((None, "", -1, "-1", "-1.0"))
_PLAIN = (str, int, float, type(None))  # the types of these


def place_of(answer: object, texts: Sequence[str], labels: Sequence[str] = ()) -> int:
    """Return which of the choices an answer names, counted from 0; ``labels`` are the published ones."""
    # A label as published goes before a text, a text before a letter, a letter before a number: in `(a) 2 (b)
    # 1` the answer "1" is choice b.
    if type(answer) is str:
        given = answer.strip()
        for known in (labels, texts):
            if given in known:
                return known.index(given)
        number = whole_of(given)
        if number is not None and str(number) != given:  # a table can write the number 2 as 2.0
            return place_of(str(number), texts, labels)
        place = _by_letter_or_number(given, labels)
        if place < 0:
            place = truth_place(given, texts)
        if 0 <= place < len(texts):
            return place
    elif type(answer) in (int, float):
        return _by_index(answer, texts, labels)
    elif type(answer) is bool and (place := truth_place(answer, texts)) >= 0:
        return place
    elif isinstance(answer, Mapping) and {"label", "text"} <= answer.keys():
        # The label decides, since two choices can have the same text; the text must be that of its choice.
        place = place_of(text_of(answer, "label"), texts, labels or list(LETTERS[: len(texts)]))
        if texts[place] == text_of(answer, "text"):
            return place
    raise none_of_the_choices(answer, texts, labels)


def _by_letter_or_number(given: str, labels: Sequence[str]) -> int:
    """Return the index that a letter, or a number from 1, stands for; -1 if it stands for none."""
    plain = given.strip(_DRESS).lower()
    published = [label.strip(_DRESS).lower() for label in labels]
    if plain in published:
        return published.index(plain) if published.count(plain) == 1 else -1
    letter = letter_place(given)
    # Published labels count in their own way: with the labels B, C and D, the answer "a" is not the first
    # choice.
    if letter >= 0:
        return -1 if any(len(label) == 1 and label.isalpha() for label in published) else letter
    if plain.isdecimal() and len(plain) < 4 and not any(label.isdecimal() for label in published):
        return int(plain) - 1
    return -1


def _by_index(number: Any, texts: Sequence[str], labels: Sequence[str]) -> int:
    """Return the index that a number stands for, unless it is also a label or text of another choice."""
    names, whole = {number_text(number), str(number)}, whole_of(number)
    named = {known.index(name) for known in (labels, texts) for name in names if name in known}
    if whole is not None and 0 <= whole < len(texts):
        named.add(whole)
    # A table can write true as 1, which is "yes", and the index of "no".
    truth = truth_place(bool(whole), texts) if whole in (0, 1) else -1
    if truth >= 0:
        named.add(truth)
    # Publishers count from 0 and from 1. Guessing would shift every answer of a file by one, unnoticed.
    if len(named) == 1:
        return named.pop()
    if named:
        other = "a label or text" if truth < 0 else "a word for true or false"
        found = f"found a number {number}, an index from 0 that is also {other}"
        choices = f"the choices are {listed(texts, labels)}"
        hint = "write the answer as a letter, or read the rows with `convert qa --answers-from`"
        raise RowError("the answer names two choices", f"{found}; {choices}; {hint}")
    raise none_of_the_choices(number, texts, labels)


def choice_example(
    question: str,
    choices: tuple[Sequence[str], Sequence[str]],
    answer: object,
    *,
    unlabelled: Unlabelled = "drop",
    find: Callable[[Any, Sequence[str], Sequence[str]], int] = place_of,
    **fields: Any,
) -> Example:
    """Return a multiple-choice Example.

    Args:
        question: the question's text.
        choices: the choices' texts, and the labels that they are published under (empty for letters).
        answer: the right answer in any of the published shapes; ``None``, empty or -1 if it is hidden.
        unlabelled: whether to keep or drop a row whose answer is hidden.
        find: returns which of the choices an answer names, for datasets with a rule of their own.
        fields: further fields of the Example.
    """
    texts, labels = choices
    # With one choice there is nothing to choose; it is usually a field that was split wrongly.
    if not 2 <= len(texts) <= len(LETTERS):
        raise RowError("not a choice", f"found {len(texts)} choices; expected 2 to {len(LETTERS)}")
    if type(answer) in _PLAIN and answer in _HIDDEN and not (answer and {"-1", answer} & {*texts, *labels}):
        # Test sets with hidden answers are good for predictions, not for training.
        if unlabelled == "drop":
            raise RowDropped(NO_ANSWER)
        return Example(question, "choice", choices=tuple(texts), **fields)
    index = find(answer, texts, labels)
    fields |= {"answer": texts[index], "answer_label": LETTERS[index]}
    return Example(question, "choice", choices=tuple(texts), **fields)


def as_spelled(answer: object, texts: Sequence[str]) -> object:
    """Return the choice that an answer spells in another case or with a full stop, else the answer."""
    if type(answer) is not str or answer.strip() in texts:
        return answer
    # Only yes/no sets use this: elsewhere "US" and "us" can be two choices.
    plain = [text.lower() for text in texts]
    given = answer.strip().rstrip(".").lower()
    return texts[plain.index(given)] if given in plain else answer


def choices_of(value: object) -> tuple[list[str], list[str]]:
    """Return the texts and published labels in a field of choices; numbers become texts."""
    # This is the row path: the usual shapes are read without checking each field, and what they raise is
    # sorted out below.
    try:
        if type(value) is list and value and type(value[0]) is dict:
            texts = [choice["text"].strip() for choice in value]
            labels = [choice["label"].strip() for choice in value]
        elif type(value) is dict:
            texts = [text.strip() for text in value["text"]]
            labels = [label.strip() for label in value["label"]]
        elif type(value) is list:
            texts, labels = [text.strip() for text in value], []
        else:
            raise TypeError
        if not all(texts) or not all(labels) or len(labels) not in (0, len(texts)):
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError):
        plainer = _plainer(from_cell(value))
        # A number that is no number (NaN) differs from itself.
        if plainer is not value and plainer != value:
            return choices_of(plainer)
        expected = "expected a list of texts, or texts with their labels"
        if type(value) is str:
            expected += ', as JSON in a table\'s cell: ["…", "…"]'
        raise RowError("malformed choices", f"found {describe(value, 200)}; {expected}") from None
    return texts, labels


def given_choices(row: Mapping[str, Any], usual: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the texts and labels of a row's own choices; the usual ones if it has none."""
    value = row.get("choices")
    return (list(usual), []) if value in (None, "", [], "[]") else choices_of(value)


def _plainer(value: object) -> object:
    """Return the same choices in a usual shape: by label in two lists, the numbers in them as texts."""
    if type(value) is dict:
        texts = _filled(value)
        if "text" not in value and value and all(type(text) in (str, int, float) for text in texts):
            return {"text": [_text(text) for text in texts], "label": list(value)[: len(texts)]}
        return {name: _plainer(item) if type(item) is list else item for name, item in value.items()}
    if type(value) is not list:
        return value
    return [
        {name: _text(part) for name, part in item.items()} if type(item) is dict else _text(item)
        for item in value
    ]


def _filled(choices: Mapping[str, Any]) -> list[Any]:
    """Return the texts of an object of choices, without the nulls at its end."""
    # A table has a column for each label, null in the rows that have fewer choices.
    texts = list(choices.values())
    while texts and texts[-1] is None:
        texts.pop()
    return texts


def _text(value: object) -> object:
    return number_text(value) if type(value) in (int, float) else value


def question_and_choices(row: Mapping[str, Any]) -> tuple[str, tuple[list[str], list[str]]]:
    """Return question and choices of a row in the layout that most datasets share, or a flat one."""
    # The official files nest them (`question: {"stem", "choices"}`); the hub and flat files do not
    # (`question` or `question_stem`, and `choices`).
    question = row.get("question")
    if type(question) is str and question[:1] == "{" and "choices" not in row:
        question = from_cell(question)  # the object in a table's cell
    if type(question) is dict:
        return text_of(question, "stem"), choices_of(question.get("choices"))
    name = "question_stem" if not question and "question_stem" in row else "question"
    if "choices" not in row:
        raise RowError("missing field 'choices'", f"the row's fields are {', '.join(map(repr, row))}")
    return text_of(row, name), choices_of(row["choices"])


def choice_row(row: Mapping[str, Any], *, unlabelled: Unlabelled = "drop") -> Example:
    """Return an Example with question, choices and answer: the ``convert`` of datasets with just these."""
    question, choices = question_and_choices(row)
    return choice_example(question, choices, gold_of(row), unlabelled=unlabelled, id=id_of(row))


def gold_of(row: Mapping[str, Any]) -> object:
    """Return the right answer of such a row, from ``answerKey`` (official files, hub) or ``answer``."""
    answer = row.get("answerKey", row.get("answer"))
    return answer.strip() if type(answer) is str else answer


def id_of(row: Mapping[str, Any]) -> str | None:
    """Return the id of such a row as a text; ``None`` if it has none."""
    value = row.get("id")
    if value is None or type(value) is str:
        return value or None
    if (number := whole_of(value)) is not None:
        return str(number)
    raise RowError("field 'id' is neither text nor number", f"found {describe(value)}")


def whole_document(name: str) -> RowError:
    """Return the error for a row that holds all rows, as on the one line of a document named ``.jsonl``."""
    hint = "expected one question a line; give the document as a .json file"
    return RowError(f"a whole {name} document", hint)
