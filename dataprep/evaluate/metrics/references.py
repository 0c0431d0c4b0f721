"""Decide the metric of a row, and find its reference answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dataprep.answers.final_answers import said_of
from dataprep.answers.letters import letter_of
from dataprep.core.conversations import content_text
from dataprep.core.errors import RowError
from dataprep.core.records import LETTERS, Example
from dataprep.datasets import registry as converters
from dataprep.datasets.converters.squad import UNANSWERABLE
from dataprep.evaluate.metrics.extract import strict_number
from dataprep.evaluate.metrics.programs import shown_tests

Metric = Literal["gsm8k", "squad", "choice", "mbpp", "classes", "loss"]
Style = Literal["letter", "text", "both"]
METRICS: tuple[Metric, ...] = ("gsm8k", "squad", "choice", "mbpp", "classes", "loss")

BY_SET: Mapping[str, Metric] = {"gsm8k": "gsm8k", "squad": "squad", "mbpp": "mbpp"}
BY_TASK: Mapping[str, Metric] = {
    "math": "gsm8k",
    "reading": "squad",
    "code": "mbpp",
    "choice": "choice",
    "qa": "squad",
}

_CHOICE = re.compile(r"^\(([a-z])\) (.+)$", re.MULTILINE)
_ONLY_A_LETTER = re.compile(r"\(?[A-Za-z]\)?\.?")
_WHAT_TO_DO = "say which metric with --metric, or convert with --with-id, which names the source"


@dataclass(frozen=True, slots=True)
class Reference:
    """The right answer to a row."""

    metric: Metric
    answers: tuple[str, ...] = ()  # the number, the letter, or all accepted answers of SQuAD
    choices: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()  # assertions that a program must pass

    @property
    def offered(self) -> Sequence[str]:
        """The answers that the row offers: letters of choices, or classes."""
        return self.choices if self.metric == "classes" else LETTERS[: len(self.choices)]


def reference_of_example(example: Example, metric: Metric | None = None) -> Reference:
    """Return the reference of an Example, for the metric of all rows or else its own."""
    kind = metric or metric_of(example.source, "choice" if example.choices else example.task)
    if kind is None:
        raise RowError("no metric for the row", f"its task is {example.task or None!r}; {_WHAT_TO_DO}")
    if kind == "loss":
        return Reference("loss")
    if kind == "mbpp":
        if not example.tests:
            raise RowError("no tests", "expected an Example with a list of assertions in 'tests'")
        return Reference("mbpp", tests=example.tests)
    if kind == "choice":
        if not example.choices or example.answer_label is None:
            raise RowError("no gold choice", "expected an Example with 'choices' and an 'answer'")
        return Reference("choice", (example.answer_label,), example.choices)
    if example.answer is None and not example.answers:
        raise RowError("no gold answer", "expected an Example with an 'answer'")
    # SQuAD has several accepted answers, the other datasets one.
    answers = example.answers or (example.answer or "",)
    return Reference(kind, _without_unanswerable(answers) if kind == "squad" else answers[:1])


def reference_of_chat(
    asked: Sequence[Mapping[str, Any]], reply: str, row: Mapping[str, Any], metric: Metric | None = None
) -> Reference:
    """Return the reference of a chat row: the content of its last assistant message."""
    prompt = content_text(asked[-1].get("content")) if asked else ""
    # A row that a model is trained to think with shows its thinking before the answer.
    reply = said_of(reply)[0]
    kind = metric or metric_of(row.get("source"), row.get("task")) or _by_wording(prompt, reply)
    if kind is None:
        raise RowError("no metric for the row", f"it names no known source or task; {_WHAT_TO_DO}")
    if kind == "gsm8k":
        number = strict_number(reply)
        if number is None:
            raise RowError("no gold number", "expected '#### ' and a number in the assistant's content")
        return Reference(kind, (number,))
    if kind == "squad":
        return Reference(kind, _without_unanswerable((reply.strip(),)))
    if kind == "mbpp":
        tests = shown_tests(prompt)
        if not tests:
            hint = "expected them in the prompt, between ``` and ```; Examples carry them in any case"
            raise RowError("no tests", hint)
        return Reference(kind, tests=tests)
    return _choice_of(prompt, reply) if kind == "choice" else Reference(kind)


def is_no_answer(reply: str) -> bool:
    """Check whether a reply says, as ``convert`` words it, that the passage has no answer."""
    return reply.strip().rstrip(".").lower() == UNANSWERABLE.rstrip(".").lower()


def metric_of(source: Any, task: Any) -> Metric | None:
    """Return the metric of a dataset or else of a task; ``None`` if neither is known."""
    # A dataset may have its own metric: GSM8K is a math set, but not every math set ends in `#### `.
    name = converters.canonical(source) if type(source) is str else ""
    if name in BY_SET:
        return BY_SET[name]
    if type(task) is str and task in BY_TASK:
        return BY_TASK[task]
    return BY_TASK.get(converters.load(name).SOURCE.task) if name in converters.names() else None


def _without_unanswerable(answers: Sequence[str]) -> tuple[str, ...]:
    return tuple(answer for answer in answers if not is_no_answer(answer))


def _by_wording(prompt: str, reply: str) -> Metric | None:
    # Rows without `--with-id` name no source; the fixed phrases of convert's templates give it away.
    if choices_in(prompt):
        return "choice"
    if "\nYour code should pass these tests:\n" in prompt and shown_tests(prompt):
        return "mbpp"
    if prompt.startswith("Read the passage and answer the question") and "\nPassage:\n" in prompt:
        return "squad"
    last = reply.strip().rpartition("\n")[2]
    return "gsm8k" if last.startswith("#### ") and strict_number(last) is not None else None


def choices_in(prompt: str) -> tuple[str, ...]:
    """Return the choices that end a prompt, one per line from (a) on; none if it does not end so."""
    listed: list[str] = []
    # From the end, because the question itself may contain lines that look like choices.
    for line in reversed(prompt.rstrip().split("\n")):
        match = _CHOICE.fullmatch(line)
        if match is None:
            break
        listed.insert(0, line)
        if match[1] == "a":
            break
    expected = [f"({letter}) " for letter in LETTERS[: len(listed)]]
    if len(listed) < 2 or any(not line.startswith(mark) for line, mark in zip(listed, expected, strict=True)):
        return ()
    return tuple(line[4:] for line in listed)


def _choice_of(prompt: str, reply: str) -> Reference:
    choices = choices_in(prompt)
    if not choices:
        raise RowError("no choices", "expected the prompt to end with lines '(a) …', '(b) …'")
    # The reference is read from the assistant's message as any reply is, or it is a choice's bare text.
    letter = letter_of(reply, choices)
    if letter is None and reply.strip() in choices:  # `--answer-style text`
        letter = LETTERS[choices.index(reply.strip())]
    if letter is None:
        raise RowError("no gold choice", f"the assistant's content names no choice: {reply[-60:]!r}")
    return Reference("choice", (letter,), choices)


def style_of(prompt: str, reply: str) -> Style | None:
    """Return how an answer names its choice; ``None`` if the prompt lists none, or it names none."""
    # The prompt may be a text in a chat format, with special tokens behind the last choice.
    if "\n(a) " not in prompt or "\n(b) " not in prompt:
        return None
    last = reply.strip().rpartition("\n")[2]
    if _ONLY_A_LETTER.fullmatch(last):
        return "letter"
    if last and f"\n{last}" in prompt and _CHOICE.fullmatch(last):
        return "both"
    return "text" if last and re.search(rf"\n\([a-z]\) {re.escape(last)}", prompt) else None
