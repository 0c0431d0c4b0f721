"""Define the neutral records between converters and writers; they contain no prompt wording."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from dataprep.core.errors import RowError

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TASKS = ("math", "code", "reading", "choice", "qa")
_WHOLE = re.compile(r"[+-]?\d{1,18}(?:\.0*)?", re.ASCII)
# Tables write truth in these words, also where JSON has `true` and `false`.
_TRUTHS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False, "": False}


@dataclass(slots=True)
class Example:
    """One example of a dataset, independent of the file that it came from.

    An absent field is ``None`` or empty. ``answer`` is the text of the answer (for GSM8K the number, for
    MBPP the code); in a multiple-choice set ``answer_label`` is its letter as well.

    Attributes:
        question: the question or task, without its context.
        task: ``"math"``, ``"code"``, ``"reading"`` or ``"choice"``.
        id: the dataset's own id; without one, ``identify`` makes one from the content.
        source: the converter's name, such as ``"gsm8k"``.
        context: the passage that the question is about.
        choices: the texts of the choices; their labels are the letters from ``a`` on.
        answer: text of the right answer.
        answer_label: letter of the right answer.
        solution: the steps to the answer, without the answer itself.
        tests: assertions that the code must pass, one Python statement each.
        rationales: a rationale by teacher name.
        answers: all right answers if there are several; ``answer`` is the first.
        reasoning: a teacher's thinking beside its rationale, for the template of a training row.
    """

    question: str
    task: str
    id: str | None = None
    source: str | None = None
    context: str | None = None
    choices: tuple[str, ...] = ()
    answer: str | None = None
    answer_label: str | None = None
    solution: str | None = None
    tests: tuple[str, ...] = ()
    rationales: Mapping[str, str] | None = None
    answers: tuple[str, ...] = ()
    reasoning: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the example as a JSON object; absent fields are left out."""
        answer: Any = self.answer
        if self.answer_label is not None:
            answer = {"label": self.answer_label, "text": self.answer}
        row: dict[str, Any] = {
            "id": self.id,
            "source": self.source,
            "task": self.task,
            "question": self.question,
            "context": self.context,
            "choices": list(self.choices),
            "answer": answer,
            "answers": list(self.answers),
            "solution": self.solution,
            "tests": list(self.tests),
            "rationales": self.rationales,
        }
        return {key: value for key, value in row.items() if value not in (None, [], {})}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Example:
        """Parse what ``to_json`` wrote, or a row in the flat layout ``{id, question, choices, answer}``.

        An answer given as the text of a choice gets its letter, and the other way round.

        Raises:
            RowError: there is no question, a field has a wrong type, or the answer is not one of the choices.
        """
        label, answer = _answer_of(row)
        choices = tuple(text.strip() for text in list_of(row, "choices"))
        if choices and answer is not None:
            label, answer = _choice_of(choices, label, answer)
        return cls(
            question=text_of(row, "question"),
            task=optional_text(row, "task") or ("choice" if choices else ""),
            id=id_text(row),
            source=optional_text(row, "source"),
            context=optional_text(row, "context"),
            choices=choices,
            answer=answer,
            answer_label=label,
            solution=optional_text(row, "solution"),
            tests=list_of(row, "tests"),
            rationales=_rationales_of(row),
            answers=list_of(row, "answers"),
        )

    def identify(self) -> str:
        """Return the id; a row without one gets ``<source>-<16 hex digits>``, and keeps it."""
        # A hash of the content depends neither on the row's position in its file nor on how the work was
        # divided, and two rows share it only if they are the same row.
        if self.id is None:
            from hashlib import blake2b

            texts = (self.question, self.context, self.solution, self.answer, self.answer_label)
            content = repr((texts, tuple(self.choices), tuple(self.tests)))
            digest = blake2b(content.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()
            self.id = f"{self.source or self.task}-{digest}"
        return self.id


def is_example(row: Mapping[str, Any]) -> bool:
    """Return whether a row is an Example as ``convert``, ``parse-rationales`` or ``collect`` write it."""
    if type(row.get("question")) is not str:
        return False
    choices, answer = from_cell(row.get("choices")), row.get("answer")
    # Rows of other tools can have these fields too, with objects as choices or numbers as answers.
    if choices and (type(choices) is not list or type(choices[0]) is not str or type(answer) in (int, float)):
        return False
    if "rationales" in row and isinstance(from_cell(row["rationales"]), Mapping):
        return True
    return row.get("task") in TASKS or "teacher_answers" in row


@dataclass(frozen=True, slots=True)
class Split:
    """One split of a published dataset."""

    files: tuple[str, ...]  # patterns, in lower case, of the names of its files
    rows: int  # number of rows in it
    output: str  # stem of the chat file that `convert` writes; empty if the split is not for the workspace
    folder: str = ""  # the folder of `pre_datasets/` that the file goes to
    # Its place on the hub, as `config/split`; empty if it is not there. Splits that are published in
    # one file have the same text, joined by `+`.
    hub: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """The publication of a dataset."""

    # By name: `train` and `test`, and others that do not go into the workspace.
    splits: Mapping[str, Split]
    hub: str = ""  # its name on the Hugging Face hub; empty if it is not there
    revision: str = ""  # the commit there that the row counts and the converter were checked against
    licence: str = ""  # the licence it is published under
    homepage: str = ""  # where its authors publish it
    task: str = "choice"  # the task of its Examples, as in `Example.task`
    language: str = ""  # the language of its texts, as ISO 639-1


def text_of(row: Mapping[str, Any], name: str) -> str:
    """Return the text in a field, stripped; a missing or empty one raises ``RowError``."""
    # The sound case first: this is called several times for each row.
    value = row.get(name)
    if type(value) is str and (text := value.strip()):
        return text
    if name not in row:
        found = ", ".join(repr(key) for key in row) or "none"
        raise RowError(f"missing field {name!r}", f"the row's fields are {found}")
    if type(value) is not str:
        raise RowError(f"field {name!r} is not a string", f"found {describe(value)}")
    raise RowError(f"field {name!r} is empty", "expected a text")


def optional_text(row: Mapping[str, Any], name: str) -> str | None:
    """Return the text in a field, stripped; ``None`` if the field is missing, null or blank."""
    value = row.get(name)
    if value is None:
        return None
    if type(value) is not str:
        raise RowError(f"field {name!r} is not a string", f"found {describe(value)}")
    return value.strip() or None


def texts_of(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the strings in a field that is a list; none if the field is missing or null."""
    value = row.get(name)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise RowError(f"field {name!r} is not a list", f"found {describe(value)}")
    for item in value:
        if type(item) is not str:
            raise RowError(f"field {name!r} holds a non-string", f"found {describe(item)}")
    return tuple(value)


# A value of another JSON type that means the same is read as what it means. Tables and other tools write 2 as
# 2.0 or "2", a list as its JSON text, and an absent value as null or an empty text.


def list_of(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the strings in a field that is a list, or a list as text; none if it is null or blank."""
    value = row.get(name)
    if type(value) is not str:
        return texts_of(row, name)
    return texts_of({name: from_cell(value)}, name) if value.strip() else ()


def id_text(row: Mapping[str, Any]) -> str | None:
    """Return the id of a row as a text; other tools number their rows, and ids are joined as texts."""
    value = row.get("id")
    number = None if type(value) is str else whole_of(value)
    return optional_text(row, "id") if number is None else str(number)


def text_or_number_of(row: Mapping[str, Any], name: str) -> str:
    """Return the text in a field as ``text_of`` does; a number is a text too."""
    value = row.get(name)
    return number_text(value) if type(value) in (int, float) else text_of(row, name)


def number_text(value: Any) -> str:
    """Return a number as a text; a float without a fraction is written as a whole number."""
    # Columns of whole numbers become floats in pandas as soon as one value is missing.
    number = whole_of(value)
    return str(value if number is None else number)


def whole_of(value: object) -> int | None:
    """Return the whole number that ``7``, ``7.0``, ``"7"`` or ``"7.0"`` stands for; else ``None``."""
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer() and abs(value) < 1 << 53:
        return int(value)
    if type(value) is str and _WHOLE.fullmatch(text := value.strip()):
        return int(text.partition(".")[0])
    return None


def is_true(row: Mapping[str, Any], name: str) -> bool:
    """Return whether a field says true, as a boolean, a word or a number; a missing one does not."""
    value = row.get(name)
    if value is None or type(value) is bool:
        return bool(value)
    number = whole_of(value)
    word = str(value if number is None else number).strip().lower()
    if word not in _TRUTHS:
        raise RowError(f"field {name!r} is neither true nor false", f"found {describe(value)}")
    return _TRUTHS[word]


def truth_place(answer: object, texts: Sequence[str]) -> int:
    """Return which of the texts says what a boolean says (``yes`` or ``true`` for true); -1 if none does."""
    word = answer.strip().lower() if type(answer) is str else str(answer).lower()
    if word not in ("true", "false", "yes", "no"):
        return -1
    plain = [text.lower() for text in texts]
    words = ("true", "yes") if _TRUTHS[word] else ("false", "no")
    places = [plain.index(same) for same in words if same in plain]
    return places[0] if len(places) == 1 else -1


def from_cell(value: object) -> object:
    """Return the list or object that a table's cell holds as text; any other value as it is."""
    # JSON, or the notation of Python, in which pandas writes lists into CSV files.
    if type(value) is not str or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return _from_python(value)


def _from_python(text: str) -> object:
    import ast
    import warnings

    try:
        with warnings.catch_warnings(action="ignore"):  # about backslashes in strings
            value = ast.literal_eval(text.strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if type(value) in (list, dict) else text


def describe(value: object, limit: int = 60) -> str:
    """Return a value's JSON type and beginning, short enough for an error message."""
    names = {
        dict: "an object",
        list: "a list",
        str: "the string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    name = names.get(type(value), type(value).__name__)
    if value is None:
        return name
    try:
        shown = repr(value)
    except RecursionError:
        shown = "that is nested very deeply"
    return f"{name} {shown if len(shown) <= limit else shown[: limit - 1] + '…'}"


def letter_place(answer: str) -> int:
    """Return the index, from 0, of a letter such as ``b``, ``(B)`` or ``b.``; -1 if it is not one."""
    plain = answer.strip().strip("().:").lower()
    return LETTERS.find(plain) if len(plain) == 1 else -1


def none_of_the_choices(answer: object, texts: Sequence[str], labels: Sequence[str] = ()) -> RowError:
    """Return the error for an answer that names no choice; it shows the choices."""
    found = f"found {describe(answer)}; the choices are {listed(texts, labels)}"
    return RowError("the answer is none of the choices", found)


def listed(texts: Sequence[str], labels: Sequence[str] = ()) -> str:
    """Return choices with their labels, in one line."""
    return " ".join(f"({label}) {text}" for label, text in zip(labels or LETTERS, texts, strict=False))


def _answer_of(row: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return label and text of the answer in an Example's row; ``None`` for what it lacks."""
    answer = row.get("answer")
    # Without the spaces at its beginning, code would lose the indentation of its first line.
    if type(answer) is str and row.get("task") == "code":
        return None, answer.strip("\n").rstrip() or None
    # An answer can be a text such as "{1, 2}": only a label and a text in a cell are an object.
    if type(answer) is str and answer.lstrip()[:1] == "{" and isinstance(cell := from_cell(answer), Mapping):
        answer = cell if {"label", "text"} <= cell.keys() else answer
    if isinstance(answer, Mapping):
        # Parquet has an object of nulls for an absent answer.
        if "text" in answer and not any(value is not None for value in answer.values()):
            return None, None
        return text_of(answer, "label"), text_of(answer, "text")
    return None, optional_text(row, "answer")


def _choice_of(choices: Sequence[str], label: str | None, answer: str) -> tuple[str, str]:
    """Return letter and text of the choice that an answer names, by its text, its letter, or both."""
    # The text goes first: among the choices "b", "a" the answer "a" is the second.
    if label is None:
        place = choices.index(answer) if answer in choices else letter_place(answer)
    else:
        place = letter_place(label)
    if not 0 <= place < min(len(choices), len(LETTERS)) or (label is not None and choices[place] != answer):
        raise none_of_the_choices(answer if label is None else f"({label}) {answer}", choices)
    return LETTERS[place], choices[place]


def _rationales_of(row: Mapping[str, Any]) -> dict[str, str] | None:
    value = from_cell(row.get("rationales"))
    if value is None or value == "":
        return None
    if isinstance(value, Mapping):
        # Tables have a column for every teacher, null in the rows that lack it.
        texts = {teacher: text for teacher, text in value.items() if text is not None}
        if all(type(text) is str for text in texts.values()):
            return texts
    raise RowError("field 'rationales' is not an object of texts", f"found {describe(value)}")
