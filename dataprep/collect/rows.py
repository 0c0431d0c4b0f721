"""The rows that an Example and its teachers' answers become: labelled ones, and training rows.

A probability for each choice, out of the log-probabilities of a reply's tokens.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import orjson

from dataprep.answers.letters import letter_of, letter_place
from dataprep.answers.rationale import without_cue
from dataprep.collect.answers import Answers
from dataprep.collect.judging import Judged, Labels, gold_letter
from dataprep.core.errors import InputError, RowDropped, RowError
from dataprep.core.records import LETTERS, Example, describe
from dataprep.datasets.templates import SourceRenderer, compile_text
from dataprep.teacher.prompts import PLAIN_USER

# A token that is a letter, whatever stands around it: `A`, ` a`, `(a`, `a)`, `A.`, `**A`; `Ġ` and `Ċ` are a
# space and a newline as some tokenizers spell them.
_NAMED = re.compile(r"[\W_ĠĊ]*([A-Za-z])[\W_ĠĊ]*")
_ROUNDING = 0.01  # servers that round may give a logarithm slightly above 0


def choice_probs(line: Mapping[str, Any], choices: Sequence[str]) -> tuple[dict[str, float], float]:
    """The probabilities that a teacher gave to the choices where its reply names one by letter.

    At the token that holds that letter, the probabilities of all tokens that name a letter are added up by
    letter, and divided by their sum over the row's choices.

    Args:
        line: a line of a journal; ``logprobs`` has one entry for each generated token,
            ``{"token", "logprob", "top": {token: logprob}}``, natural logarithms.
        choices: the choices' texts, 26 at most.

    Returns:
        a probability for each letter, together 1, and the probability that fell on no choice's letter.

    Raises:
        RowDropped: the line has no log-probabilities, the reply names no choice by letter, or no
            probability fell on one.
        RowError: the field is malformed.
    """
    entries = _entries(line)
    place = _letter_token([entry["token"] for entry in entries], line["response"] or "", choices)
    if place is None:
        raise RowDropped("no letter among the tokens")
    masses: dict[str, list[float]] = {letter: [] for letter in LETTERS[: len(choices)]}
    for token, value in _candidates(entries[place]).items():
        match = _NAMED.fullmatch(token)
        if match and match[1].lower() in masses:
            masses[match[1].lower()].append(_probability(value))
    sums = {letter: math.fsum(mass) for letter, mass in masses.items()}
    total = math.fsum(sums.values())
    if not total:
        raise RowDropped("no probability on a letter")
    return {letter: mass / total for letter, mass in sums.items()}, max(0.0, 1.0 - total)


def _entries(line: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries = line.get("logprobs")
    if not entries:
        raise RowDropped("no log-probabilities")
    if not isinstance(entries, list):
        raise RowError("malformed log-probabilities", f"expected a list, found {describe(entries)}")
    for entry in entries:
        if type(entry) is not dict or type(entry.get("token")) is not str:
            raise RowError("malformed log-probabilities", f"expected {{'token', …}}, found {describe(entry)}")
    return entries


def _letter_token(tokens: Sequence[str], reply: str, choices: Sequence[str]) -> int | None:
    """Which token holds the letter by which the reply names its choice; ``None`` where none does."""
    reply = without_cue(reply)
    letter = letter_of(reply, choices)
    if letter is None:
        return None
    # Before the reply may stand the reasoning, after it a token that ends it; and characters that were
    # divided between tokens are not the reply's.
    text = "".join(tokens)
    opening = len(text) - len(text.lstrip())
    begin = opening if text.startswith(reply, opening) else text.rfind(reply)
    if begin < 0:
        begin, reply = 0, text
    at = letter_place(reply, choices)
    if at < 0:
        return None
    place = bisect_right(list(accumulate(map(len, tokens), initial=0)), begin + at) - 1
    match = _NAMED.fullmatch(tokens[place])
    return place if match and match[1].lower() == letter else None


def _candidates(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The tokens that could have stood there; the one that does need not be among the likeliest."""
    top = entry.get("top") or {}
    if not isinstance(top, Mapping):
        raise RowError("malformed log-probabilities", f"expected an object in 'top', found {describe(top)}")
    return {**top, entry["token"]: entry.get("logprob")}


def _probability(value: Any) -> float:
    if value is None:  # some servers' spelling of a probability of 0
        return 0.0
    if type(value) not in (int, float) or value > _ROUNDING:
        expected = "expected a natural logarithm, at most 0"
        raise RowError("malformed log-probabilities", f"{expected}, found {describe(value)}")
    return math.exp(value)


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
    """Render ``{messages, id, source}``: the assistant message is the teacher's rationale.

    Args:
        parts: messages in place of the dataset's default wording.

    Raises:
        TemplateError: a part is not a message, or its text is ill-formed.
    """

    def __init__(self, parts: Mapping[str, str]) -> None:
        self._render = SourceRenderer({"assistant": "{rationale}", **parts}, with_id=True)

    def __call__(self, example: Example, _: Judged) -> bytes:
        """Return the row of an Example whose one rationale is the teacher's.

        Raises:
            RowError: the Example lacks the fields of all sections of a message.
        """
        return self._render(example)


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
