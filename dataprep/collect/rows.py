"""Make labelled rows and training rows out of Examples and teachers' answers."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, TypeVar

import orjson

from dataprep.answers.final_answers import said_of
from dataprep.answers.letters import choice_of
from dataprep.answers.rationale import without_cue
from dataprep.collect.answers import Answers, Judged, Labels, gold_letter, status_of_letter
from dataprep.collect.settings import Settings
from dataprep.core.errors import InputError, RowDropped, RowError
from dataprep.core.records import LETTERS, Example, describe
from dataprep.datasets.converters.choices import CHOICE_USER
from dataprep.datasets.source_rows import Reasoning, place_thinking
from dataprep.datasets.templates import compile_text

# A token with one letter and any marks around it: `A`, ` a`, `(a`, `a)`, `A.`, `**A`. Some tokenizers spell a
# space and a newline as `Ġ` and `Ċ`.
_NAMED = re.compile(r"[\W_ĠĊ]*([A-Za-z])[\W_ĠĊ]*")
_ROUNDING = 0.01  # a server that rounds may give a logarithm slightly above 0


def choice_probs(line: Mapping[str, Any], choices: Sequence[str]) -> tuple[dict[str, float], float]:
    """Return a teacher's probability of each choice, at the token by which its reply names one.

    Args:
        line: a line of a journal; ``logprobs`` has one entry for each generated token,
            ``{"token", "logprob", "top": {token: logprob}}``, with natural logarithms.
        choices: the texts of the choices, at most 26.

    Returns:
        The probability of each letter, with a sum of 1, and the probability outside these letters.
    """
    entries = _entries(line)
    place = _letter_token([entry["token"] for entry in entries], line["response"] or "", choices)
    if place is None:
        raise RowDropped("no letter among the tokens")
    # Exact sums, so that the order in which a server lists its tokens does not change a probability.
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


_Read = TypeVar("_Read")


def soft_labels(line: Mapping[str, Any], choices: Sequence[str]) -> tuple[dict[str, float], float]:
    """Return a teacher's probability of each choice, and that outside of them.

    They are by the likelihood of the choices if the line has it, otherwise by the letters' tokens.
    """
    return likely_probs(line, choices) or choice_probs(line, choices)


def likely_probs(line: Mapping[str, Any], choices: Sequence[str]) -> tuple[dict[str, float], float] | None:
    """Return a teacher's probability of each choice by the likelihood of its text; ``None`` without such.

    Args:
        line: a line of a journal; ``choices`` has ``{"text", "log_likelihood"}`` for each choice.
        choices: the texts of the choices, at most 26.

    Returns:
        The probability of each letter, with a sum of 1, and the probability of answers that begin with none
        of the texts.
    """
    found = line.get("choices")
    if found is None:
        return None
    texts, values = _likelihoods(found)
    if texts != list(choices):
        raise RowError("other choices", f"found {describe(texts)}, expected those of the Example")
    most = max(values)
    masses = [math.exp(value - most) for value in values]
    probs = {letter: mass / math.fsum(masses) for letter, mass in zip(LETTERS, masses, strict=False)}
    return probs, max(0.0, 1.0 - math.fsum(map(math.exp, values)))


def _likelihoods(found: Any) -> tuple[list[str], list[float]]:
    try:
        values = [float(entry["log_likelihood"]) for entry in found]
        if found and all(value <= _ROUNDING for value in values):
            return [str(entry["text"]) for entry in found], values
    except (KeyError, TypeError, ValueError):
        pass
    expected = "expected {'text', 'log_likelihood'} of each choice, natural logarithms of at most 0"
    raise RowError("malformed likelihoods", f"{expected}, found {describe(found)}")


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
    """Return the index of the token by which the reply names its choice; ``None`` without one."""
    # Journals have the reply as it came; its letter was read without thinking and cue.
    reply = without_cue(said_of(reply)[0])
    letter, at, _ = choice_of(reply, choices)
    if letter is None or at < 0:
        return None
    # The tokens may have reasoning before the reply and a stop token after it. If a character was divided
    # between tokens, their texts do not contain the reply, and are searched as they are.
    text = "".join(tokens)
    opening = len(text) - len(text.lstrip())
    begin = opening if text.startswith(reply, opening) else text.rfind(reply)
    if begin < 0:
        begin, at = 0, choice_of(text, choices).place
        if at < 0:
            return None
    place = bisect_right(list(accumulate(map(len, tokens), initial=0)), begin + at) - 1
    match = _NAMED.fullmatch(tokens[place])
    return place if match and match[1].lower() == letter else None


def _candidates(entry: Mapping[str, Any]) -> dict[str, Any]:
    # The token that was sampled need not be among the likeliest ones.
    top = entry.get("top") or {}
    if not isinstance(top, Mapping):
        raise RowError("malformed log-probabilities", f"expected an object in 'top', found {describe(top)}")
    return {**top, entry["token"]: entry.get("logprob")}


def _probability(value: Any) -> float:
    if value is None:  # some servers write a probability of 0 so
        return 0.0
    if type(value) not in (int, float) or value > _ROUNDING:
        expected = "expected a natural logarithm, at most 0"
        raise RowError("malformed log-probabilities", f"{expected}, found {describe(value)}")
    return math.exp(value)


Made = dict[str, Any] | bytes  # a row, or its JSON
Renderer = Callable[[Example, Judged, Labels], Made]  # raises RowDropped if an answer gives no row
Statuses = dict[str, Counter[str]]  # number of answers by teacher and status


@dataclass(frozen=True)
class RationaleRows:
    """Make one labelled row per Example with all teachers, in the format of ``parse-rationales``."""

    answers: Answers
    sample: int
    statuses: Statuses
    reasoning: Reasoning = "as-reasoning"
    thinking: Counter[str] = field(default_factory=Counter)  # number of answers whose thinking is left out

    def __call__(self, example: Example, labels: Labels) -> Iterator[Made]:
        """Yield the row."""
        rationales: dict[str, str | None] = dict(example.rationales or {})
        status = dict(labels.status)
        answers = dict(labels.answers)
        reasoning = dict(labels.reasoning)
        for teacher in self.answers.teachers:
            judged = self.answers.judged(example, labels, teacher, self.sample)
            if judged.place is None:  # an answer in the Example stays as it is
                if judged.status == "missing":
                    status[teacher] = "missing"
                continue
            self.thinking[teacher] += self.reasoning == "drop" and judged.reasoning is not None
            judged = placed(judged, self.reasoning)
            status[teacher] = judged.status
            # A teacher's answer in a journal replaces the one in the Example, also by none.
            rationales[teacher] = judged.rationale
            answers[teacher] = _answer(example, judged.letter)
            reasoning[teacher] = judged.reasoning
        for teacher, name in status.items():
            self.statuses.setdefault(teacher, Counter())[name] += 1
        row = example.to_json()
        more = ("task", "context", "answers", "solution", "tests")
        yield {
            "id": row["id"],
            "question": row["question"],
            "choices": row.get("choices", []),
            "answer": row.get("answer"),
            "rationales": _filled(rationales),
            "status": status or None,
            "teacher_answers": _filled(answers),
            "source": row.get("source"),
            **{name: row[name] for name in more if name in row},
            **({"reasoning": thinking} if (thinking := _filled(reasoning)) else {}),
        }


def _filled(values: Mapping[str, Any]) -> dict[str, Any] | None:
    # No table can hold an object without fields.
    return {teacher: value for teacher, value in values.items() if value is not None} or None


def _answer(example: Example, letter: str | None) -> dict[str, str] | None:
    return None if letter is None else {"label": letter, "text": example.choices[LETTERS.index(letter)]}


@dataclass(frozen=True)
class TrainingRows:
    """Make a training row out of each answer of one teacher whose status is kept."""

    answers: Answers
    teacher: str
    render: Renderer
    statuses: Statuses
    settings: Settings
    thinking: Counter[str] = field(default_factory=Counter)  # number of rows whose thinking is left out

    def __call__(self, example: Example, labels: Labels) -> Iterator[Made | RowDropped]:
        """Yield a row for each answer, or the reason why there is none; at least one of them."""
        samples = [self.settings.number or 0]
        if self.settings.number is None:
            samples = self.answers.samples(example, self.teacher) or samples
        counts = self.statuses.setdefault(self.teacher, Counter())
        for sample in samples:
            judged = self.answers.judged(example, labels, self.teacher, sample)
            if self.settings.to == "choice-probs":
                judged = _by_likelihood(self.answers, example, judged)
            counts[judged.status] += 1
            try:
                yield self._row(example, labels, judged)
            except RowDropped as drop:
                yield drop

    def _row(self, example: Example, labels: Labels, judged: Judged) -> Made:
        # The reason names the status, so that the ledger shows what was left out and why.
        if judged.status not in self.settings.kept:
            raise RowDropped(f"status: {judged.status}")
        # A choice that is the likeliest one needs no reply that names it.
        if not (judged.rationale or judged.letter or (judged.tool_calls and self.settings.to == "chat")):
            raise RowDropped("no text")
        shown, place = self.settings.to == "chat", self.settings.place
        left_out = judged.reasoning is not None and (place == "drop" or not shown)
        judged = placed(judged, place)
        # The templates know `{rationale}` as the only one of an Example.
        example.rationales = {self.teacher: judged.rationale or ""}
        example.reasoning = judged.reasoning
        made = self.render(example, judged, labels)
        self.thinking[self.teacher] += left_out
        return made


def placed(judged: Judged, reasoning: Reasoning) -> Judged:
    """Return an answer with its thinking in the place where it is to go."""
    text, thinking = place_thinking(judged.rationale or "", judged.reasoning, reasoning)
    return judged if thinking == judged.reasoning else replace(judged, rationale=text, reasoning=thinking)


_plain = compile_text(CHOICE_USER)


def qa_row(example: Example, judged: Judged, _: Labels) -> dict[str, Any]:
    """Return two fields: the question with its lettered choices, and the reply without its thinking."""
    return {"Question": _plain(example), "Answer": judged.reply}


def probs_row(answers: Answers, teacher: str, example: Example, judged: Judged, _: Labels) -> dict[str, Any]:
    """Return the soft labels of an Example by a teacher's answer to it."""
    if not example.choices:
        raise RowDropped("no choices")
    if judged.place is None:
        raise RowDropped("no log-probabilities")
    probs, outside = _located(answers, judged.place, lambda line: soft_labels(line, example.choices))
    return {
        "id": example.identify(),
        "text": _plain(example),
        "label": gold_letter(example),
        "probs": probs,
        "outside": outside,
        "teacher": teacher,
    }


def _by_likelihood(answers: Answers, example: Example, judged: Judged) -> Judged:
    """Judge an answer by the likeliest choice, if its line has the likelihoods, whatever the reply says."""
    place = judged.place
    if place is None or not answers.journals.row(place).get("choices"):
        return judged
    likely = _located(answers, place, lambda line: likely_probs(line, example.choices))
    letter = max(likely[0], key=likely[0].__getitem__) if likely else None
    return replace(judged, status=status_of_letter(letter, gold_letter(example)), letter=letter)


def _located(answers: Answers, place: int, read: Callable[[Mapping[str, Any]], _Read]) -> _Read:
    """Return what is read from a line of the journals; an error names its place."""
    try:
        return read(answers.journals.row(place))
    except RowDropped:
        raise
    except RowError as error:  # the journal is wrong, not the file of Examples
        raise InputError(answers.journals.where(place), str(error)) from None


def dump(row: Made) -> bytes:
    """Return a row as one line of JSON, with its newline."""
    # Chat rows are rendered as JSON already.
    if isinstance(row, bytes):
        return row + b"\n"
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
