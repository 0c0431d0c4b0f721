"""The rows that an Example and its teachers' answers become: labelled ones, and training rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import orjson

from dataprep import converters
from dataprep.collecting.answers import Answers
from dataprep.collecting.choice_probs import choice_probs
from dataprep.collecting.judging import Judged, Labels, gold_letter
from dataprep.errors import InputError, RowDropped, RowError
from dataprep.prompts import PLAIN_USER
from dataprep.records import CHOICE_USER, LETTERS, Example
from dataprep.templates import DEFAULT_SYSTEM, Template, chat_renderer, compile_text

Made = dict[str, Any] | bytes
"""A row, or one that is JSON already."""

Statuses = dict[str, Counter[str]]
"""Answers by teacher and status."""


class RationaleRows:
    """Makes an Example's one row with all its teachers, as ``parse-rationales`` has them.

    It is given which sample of the answers is wanted, and where statuses are counted.
    """

    def __init__(self, answers: Answers, sample: int, statuses: Statuses) -> None:
        self._answers = answers
        self._sample = sample
        self._statuses = statuses

    def __call__(self, example: Example, labels: Labels) -> Iterator[Made]:
        """The row; what a journal has of a teacher goes before what the Example has of it."""
        rationales, status = dict(example.rationales or {}), dict(labels.status)
        answers = dict(labels.answers)
        for teacher in self._answers.teachers:
            judged = self._answers.judged(example, labels, teacher, self._sample)
            if judged.place is None:  # the Example's own stays as it is
                if judged.status == "missing":
                    status[teacher] = "missing"
                continue
            status[teacher] = judged.status
            _put(rationales, teacher, judged.rationale)
            _put(answers, teacher, _answer(example, judged.letter))
        for teacher, found in status.items():
            self._statuses.setdefault(teacher, Counter())[found] += 1
        row = example.to_json()
        yield {
            "id": row["id"],
            "question": row["question"],
            "choices": row.get("choices", []),
            "answer": row.get("answer"),
            "rationales": rationales or None,  # no table can hold an object without fields
            "status": status or None,
            "teacher_answers": answers or None,
            "source": row.get("source"),
            **{
                name: row[name] for name in ("task", "context", "answers", "solution", "tests") if name in row
            },
        }


def _put(values: dict[str, Any], teacher: str, value: Any) -> None:
    if value is None:
        values.pop(teacher, None)
    else:
        values[teacher] = value


def _answer(example: Example, letter: str | None) -> dict[str, str] | None:
    return None if letter is None else {"label": letter, "text": example.choices[LETTERS.index(letter)]}


Renderer = Callable[[Example, Judged], Made]


class TrainingRows:
    """Makes a row of each answer of one teacher whose status is kept.

    It is given the answers, whose become rows, what makes a row of an Example and an answer (or raises
    ``RowDropped``), where statuses are counted, the statuses to keep, and which sample of the answers is
    wanted; ``None`` stands for all.
    """

    def __init__(
        self,
        answers: Answers,
        teacher: str,
        render: Renderer,
        statuses: Statuses,
        *,
        keep: Collection[str] = ("ok",),
        sample: int | None = 0,
    ) -> None:
        self._answers = answers
        self._teacher = teacher
        self._render = render
        self._counts = statuses.setdefault(teacher, Counter())
        self._keep = keep
        self._sample = sample

    def __call__(self, example: Example, labels: Labels) -> Iterator[Made | RowDropped]:
        """A row for each answer, or why there is none; at least one of either."""
        samples = [self._sample] if self._sample is not None else self._samples(example)
        for sample in samples:
            judged = self._answers.judged(example, labels, self._teacher, sample)
            self._counts[judged.status] += 1
            try:
                yield self._row(example, judged)
            except RowDropped as drop:
                yield drop

    def _samples(self, example: Example) -> list[int]:
        return self._answers.samples(example, self._teacher) or [0]

    def _row(self, example: Example, judged: Judged) -> Made:
        if judged.status not in self._keep:
            raise RowDropped(f"status: {judged.status}")
        if not judged.rationale:
            raise RowDropped("no text")
        example.rationales = {self._teacher: judged.rationale}
        return self._render(example, judged)


class ChatRows:
    """Renders ``{messages, id, source}``: the teacher's rationale is what the assistant says.

    The wording of system and user is that of ``convert`` for the set which the Example came from; it is
    given the messages (``system``, ``user``, ``assistant``) that take its place.

    Raises:
        TemplateError: a part is no message, or its text cannot be understood.
    """

    def __init__(self, parts: Mapping[str, str]) -> None:
        self._parts = parts
        self._datasets = frozenset(converters.names())
        self._renderers: dict[str | None, Callable[[Example], bytes]] = {None: self._renderer(CHOICE_USER)}

    def __call__(self, example: Example, _: Judged) -> bytes:
        """The row of an Example whose one rationale is the teacher's.

        Raises:
            RowError: the Example lacks the fields of all sections of a message.
        """
        name = converters.canonical(example.source) if example.source else None
        name = name if name in self._datasets else None
        if name is not None and name not in self._renderers:
            self._renderers[name] = self._renderer(converters.load(name).USER)
        return self._renderers[name](example)

    def _renderer(self, user: str) -> Callable[[Example], bytes]:
        template = Template(DEFAULT_SYSTEM, user, "{rationale}").with_parts(self._parts)
        return chat_renderer(template, with_id=True)


_plain = compile_text(PLAIN_USER)


def qa_row(example: Example, judged: Judged) -> dict[str, Any]:
    """The two fields: the question with its lettered choices, and the reply as it came."""
    return {"Question": _plain(example), "Answer": judged.reply}


class ProbsRows:
    """Renders ``{id, text, label, probs, outside, teacher}``, soft labels, of a teacher's answers."""

    def __init__(self, answers: Answers, teacher: str) -> None:
        self._answers = answers
        self._teacher = teacher

    def __call__(self, example: Example, judged: Judged) -> dict[str, Any]:
        """The row of an Example and the teacher's answer to it.

        Raises:
            RowDropped: there are no choices, or no probabilities to be had.
            InputError: the journal's log-probabilities are malformed.
        """
        if not example.choices:
            raise RowDropped("no choices")
        if judged.place is None:
            raise RowDropped("no log-probabilities")
        journals = self._answers.journals
        try:
            probs, outside = choice_probs(journals.row(judged.place), example.choices)
        except RowDropped:
            raise
        except RowError as error:
            raise InputError(journals.where(judged.place), str(error)) from None
        return {
            "id": example.identify(),
            "text": _plain(example),
            "label": gold_letter(example),
            "probs": probs,
            "outside": outside,
            "teacher": self._teacher,
        }


def dump(row: Made) -> bytes:
    """A row as one line of JSON, with its newline."""
    if isinstance(row, bytes):
        return row + b"\n"
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
