"""Judge a teacher's answer to an Example: its status, and the choice that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dataprep.answers.letters import letter_of
from dataprep.answers.numbers import number_of, stated_number
from dataprep.answers.quality import KEEPABLE, by_teacher
from dataprep.answers.rationale import without_cue
from dataprep.answers.runaway import runaway_at, text_before
from dataprep.core.errors import RowError
from dataprep.core.records import LETTERS, Example, describe
from dataprep.teacher.journal.line import outcome_of

STATUSES = (*KEEPABLE, "empty", "refused", "failed", "missing")


@dataclass(frozen=True, slots=True)
class Judged:
    """A teacher's answer to one Example.

    Attributes:
        status: one of ``STATUSES``.
        rationale: its text without cue and outer white space; ``None`` if no text came.
        reply: its text as it came, without outer white space.
        letter: the choice that it concludes on, if it is whole.
        place: the place of its line in the journals; ``None`` if it is from the Example's row.
    """

    status: str
    rationale: str | None = None
    reply: str | None = None
    letter: str | None = None
    place: int | None = None


MISSING = Judged("missing")


def judge(example: Example, line: Mapping[str, Any], place: int | None = None) -> Judged:
    """Judge a line of a journal as an answer to an Example.

    The status is the first one that applies. ``failed``, ``refused`` and ``length`` are outcomes (see
    ``outcome_of``). Then come ``empty``, ``answer_mismatch`` (another choice, or in a math Example without
    choices another number), ``runaway`` (it runs on into another question), ``no_answer`` (the Example has
    choices, and it names none or several), and ``ok``.

    Args:
        example: the Example that was asked.
        line: the line.
        place: the place of the line, kept in the result.

    Raises:
        RowError: the Example has more choices than there are letters.
    """
    status = outcome_of(line)
    if status in {"failed", "refused"}:
        return Judged(status, place=place)
    reply = (line["response"] or "").strip()
    text = without_cue(reply)
    # An answer that was cut off is kept as text, but its last words are no conclusion.
    if status == "length":
        return Judged(status, text, reply, place=place)
    if not text:
        return Judged("empty", text, reply, place=place)
    # An answer that runs on is read up to where the next question begins.
    end = runaway_at(text)
    said, letter = text if end < 0 else text_before(text, end), None
    if example.choices:
        letter = letter_of(said, _checked(example.choices))
        verdict = _of_letter(letter, gold_letter(example))
    else:
        verdict = _of_number(example, said)
    # A wrong answer stays a mismatch: as a runaway it could be trimmed and kept.
    if end >= 0 and verdict != "answer_mismatch":
        verdict = "runaway"
    return Judged(verdict, text, reply, letter, place)


def _of_letter(letter: str | None, gold: str | None) -> str:
    if letter is None:
        return "no_answer"
    return "ok" if gold in (None, letter) else "answer_mismatch"


def _of_number(example: Example, text: str) -> str:
    gold = number_of(example.answer) if example.task == "math" and example.answer else None
    # Only a number that is certain can contradict; other answers to open questions count as ok.
    stated = None if gold is None else stated_number(text)
    return "ok" if stated in (None, gold) else "answer_mismatch"


def _checked(choices: tuple[str, ...]) -> tuple[str, ...]:
    # With more choices than letters, some could not be named, and would count as wrong.
    if len(choices) > len(LETTERS):
        raise RowError("too many choices", f"found {len(choices)}; there are letters for {len(LETTERS)}")
    return choices


def gold_letter(example: Example) -> str | None:
    """Return the letter of the right answer; ``None`` if it is not among the Example's choices."""
    letters = LETTERS[: len(example.choices)]
    label = (example.answer_label or "").lower()
    # The label comes first: two choices may have the same text.
    if len(label) == 1 and label in letters:
        return label
    return letters[example.choices.index(example.answer)] if example.answer in example.choices else None


@dataclass(frozen=True, slots=True)
class Labels:
    """The statuses and teachers' answers that the row of an Example already has, by teacher."""

    status: Mapping[str, str]
    answers: Mapping[str, Any]

    def judged(self, example: Example, teacher: str) -> Judged | None:
        """Return the answer of a teacher in the Example itself; ``None`` if it has none."""
        text = (example.rationales or {}).get(teacher)
        if text is None:
            return Judged(self.status[teacher]) if teacher in self.status else None
        # Rationales without a status come from other tools, and are taken as they are.
        return Judged(self.status.get(teacher, "ok"), text.strip(), text.strip())


NO_LABELS = Labels({}, {})


def labels_of(row: Mapping[str, Any]) -> Labels:
    """Return the labels in an Example's row.

    Raises:
        RowError: ``status`` is not an object of texts, or ``teacher_answers`` not an object.
    """
    statuses = by_teacher(row, "status")
    if not all(type(status) is str for status in statuses.values()):
        raise RowError("field 'status' is not an object of texts", f"found {describe(row['status'])}")
    return Labels(statuses, by_teacher(row, "teacher_answers"))
