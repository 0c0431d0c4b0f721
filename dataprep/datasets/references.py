"""Read reference rows: questions, choices and right answers, to hold teachers' answers against."""

from __future__ import annotations

from dataclasses import dataclass

from dataprep.core import io as files
from dataprep.core.errors import RowError, located
from dataprep.core.records import LETTERS, text_of
from dataprep.datasets.converters.choices import gold_of, id_of, place_of, question_and_choices


@dataclass(frozen=True, slots=True)
class GoldRow:
    """The reference that a teacher's row must agree with.

    Attributes:
        id: the row's id, if it has one.
        question: its text.
        choices: their texts.
        place: which choice is right, counted from 0.
    """

    id: str | None
    question: str
    choices: list[str]
    place: int


def read_gold(path: str) -> list[GoldRow]:
    """Read rows ``{id, question, choices, answer}``, Examples, or rows in a dataset's own layout.

    In CSV the choices are JSON: a list, or one of the other shapes that datasets are published in.
    """
    rows = []
    hint = "correct the row of the reference file, or leave it out where rows are joined by id"
    for where, row in files.read_rows(path):
        with located(where, hint):
            question, (texts, labels) = question_and_choices(row)
            if len(texts) > len(LETTERS):
                raise RowError("too many choices", f"found {len(texts)}; there are {len(LETTERS)} letters")
            answer = gold_of(row)
            # Examples write the label and the text. The label decides: the text of one choice can be the
            # letter of another.
            if type(answer) is dict:
                answer, labels = text_of(answer, "label"), labels or list(LETTERS[: len(texts)])
            rows.append(GoldRow(id_of(row), question, texts, place_of(answer, texts, labels)))
    return rows
