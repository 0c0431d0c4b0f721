"""What a teacher's answer to an Example amounts to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dataprep.answers.letters import letter_of
from dataprep.answers.numbers import number_of, stated_number
from dataprep.answers.quality import KEEPABLE
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
        rationale: its text without cue and outer white space; ``None`` where no text came.
        reply: its text as it came, without outer white space.
        letter: the choice that it concludes on, where it is whole.
        place: where its line stands in the journals; ``None`` where it is the Example's own.
    """

    status: str
    rationale: str | None = None
    reply: str | None = None
    letter: str | None = None
    place: int | None = None


MISSING = Judged("missing")


def judge(example: Example, line: Mapping[str, Any], place: int | None = None) -> Judged:
    """What a line of a journal says to an Example.

    The status is the first that holds of: ``failed``, ``refused`` and ``length`` (as ``outcome_of`` has
    them), ``empty``, ``answer_mismatch`` (it names another choice than the gold one, or in a math Example
    without choices states another number), ``runaway`` (it runs on into another question; what precedes
    that is what it says), ``no_answer`` (the Example has choices, and it names none or several), ``ok``.

    Raises:
        RowError: the Example has more choices than there are letters.
    """
    status = outcome_of(line)
    if status in {"failed", "refused"}:
        return Judged(status, place=place)
    reply = (line["response"] or "").strip()
    text = without_cue(reply)
    if status == "length":
        return Judged(status, text, reply, place=place)
    if not text:
        return Judged("empty", text, reply, place=place)
    end = runaway_at(text)
    said, letter = text if end < 0 else text_before(text, end), None
    if example.choices:
        letter = letter_of(said, _checked(example.choices))
        found = _of_letter(letter, gold_letter(example))
    else:
        found = _of_number(example, said)
    if end >= 0 and found != "answer_mismatch":  # what contradicts gold must not pass for being cut there
        found = "runaway"
    return Judged(found, text, reply, letter, place)


def _of_letter(letter: str | None, gold: str | None) -> str:
    if letter is None:
        return "no_answer"
    return "ok" if gold in (None, letter) else "answer_mismatch"


def _of_number(example: Example, text: str) -> str:
    gold = number_of(example.answer) if example.task == "math" and example.answer else None
    stated = None if gold is None else stated_number(text)
    return "ok" if stated in (None, gold) else "answer_mismatch"


def _checked(choices: tuple[str, ...]) -> tuple[str, ...]:
    if len(choices) > len(LETTERS):
        raise RowError("too many choices", f"found {len(choices)}; there are letters for {len(LETTERS)}")
    return choices


def gold_letter(example: Example) -> str | None:
    """The letter of the gold answer; ``None`` where the Example has none among its choices."""
    letters = LETTERS[: len(example.choices)]
    label = (example.answer_label or "").lower()
    if len(label) == 1 and label in letters:
        return label
    return letters[example.choices.index(example.answer)] if example.answer in example.choices else None


@dataclass(frozen=True, slots=True)
class Labels:
    """The statuses and teachers' answers that an Example's row already has, by teacher."""

    status: Mapping[str, str]
    answers: Mapping[str, Any]

    def judged(self, example: Example, teacher: str) -> Judged | None:
        """What the Example itself has of a teacher; ``None`` where it has nothing.

        A rationale without a status is taken as it is.
        """
        text = (example.rationales or {}).get(teacher)
        if text is None:
            return Judged(self.status[teacher]) if teacher in self.status else None
        return Judged(self.status.get(teacher, "ok"), text.strip(), text.strip())


NO_LABELS = Labels({}, {})


def labels_of(row: Mapping[str, Any]) -> Labels:
    """The labels in an Example's row; a table's nulls are left out.

    Raises:
        RowError: ``status`` is no object of texts, or ``teacher_answers`` no object.
    """
    found = {}
    for name in ("status", "teacher_answers"):
        value = row.get(name) or {}
        if not isinstance(value, Mapping):
            raise RowError(f"field {name!r} is not an object", f"found {describe(value)}")
        found[name] = {teacher: each for teacher, each in value.items() if each is not None}
    if not all(type(status) is str for status in found["status"].values()):
        raise RowError("field 'status' is not an object of texts", f"found {describe(row['status'])}")
    return Labels(found["status"], found["teacher_answers"])
