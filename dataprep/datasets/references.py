"""Files of gold rows: the questions, choices and right answers that teachers' answers are held against."""

from __future__ import annotations

from dataclasses import dataclass

from dataprep.core import io as files
from dataprep.core.errors import RowError, located
from dataprep.core.records import LETTERS, text_of
from dataprep.datasets.converters.choices import gold_of, id_of, place_of, question_and_choices


@dataclass(frozen=True, slots=True)
class GoldRow:
    """What a teacher's row must agree with: question, choices and the place of the gold answer."""

    id: str | None
    question: str
    choices: list[str]
    place: int


def read_gold(path: str) -> list[GoldRow]:
    """The gold rows of a file: ``{id, question, choices, answer}``, Examples, or a set's own layout.

    In CSV the choices are a JSON text: a list, or one of the other shapes that sets are published in.

    Raises:
        InputError: a row is malformed, or its answer is none of its choices.
        FileError: the file cannot be read.
    """
    rows = []
    hint = "correct the row of the gold file, or leave it out where rows are joined by id"
    for where, row in files.read_rows(path):
        with located(where, hint):
            question, (texts, labels) = question_and_choices(row)
            if len(texts) > len(LETTERS):
                raise RowError("too many choices", f"found {len(texts)}; there are {len(LETTERS)} letters")
            answer = gold_of(row)
            if type(answer) is dict:  # as Examples have it: the label is the letter, whatever the texts are
                answer, labels = text_of(answer, "label"), labels or list(LETTERS[: len(texts)])
            rows.append(GoldRow(id_of(row), question, texts, place_of(answer, texts, labels)))
    return rows
