"""Which metric a row is for, by its set, its task or its wording, and what is right in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dataprep.core.errors import RowError
from dataprep.core.records import LETTERS, Example
from dataprep.datasets import registry as converters
from dataprep.datasets.converters.squad import UNANSWERABLE
from dataprep.evaluate.metrics.choice import chosen_letter
from dataprep.evaluate.metrics.code import shown_tests
from dataprep.evaluate.metrics.gsm8k import strict_number

Metric = Literal["gsm8k", "squad", "choice", "mbpp", "loss"]
METRICS: tuple[Metric, ...] = ("gsm8k", "squad", "choice", "mbpp", "loss")

BY_SET: Mapping[str, Metric] = {"gsm8k": "gsm8k", "squad": "squad", "mbpp": "mbpp"}
BY_TASK: Mapping[str, Metric] = {
    "math": "gsm8k",
    "reading": "squad",
    "code": "mbpp",
    "choice": "choice",
    "qa": "squad",
}

_CHOICE = re.compile(r"^\(([a-z])\) (.+)$", re.MULTILINE)
_WHAT_TO_DO = "say which metric with --metric, or convert with --with-id, which names the source"


@dataclass(frozen=True, slots=True)
class Gold:
    """What is right.

    Attributes:
        metric: what a reply is measured by.
        answers: GSM8K: the number. SQuAD: all accepted answers, none where the passage has none. Choice:
            the letter.
        choices: the choices' texts.
        tests: what a program must pass.
    """

    metric: Metric
    answers: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()


def gold_of_example(example: Example, metric: Metric | None = None) -> Gold:
    """What is right for an Example; ``metric`` where its task is not to decide.

    Raises:
        RowError: the Example lacks what the metric needs, or its task has no metric.
    """
    kind = metric or metric_of(example.source, "choice" if example.choices else example.task)
    if kind is None:
        raise RowError("no metric for the row", f"its task is {example.task or None!r}; {_WHAT_TO_DO}")
    if kind == "loss":
        return Gold("loss")
    if kind == "mbpp":
        if not example.tests:
            raise RowError("no tests", "expected an Example with a list of assertions in 'tests'")
        return Gold("mbpp", tests=example.tests)
    if kind == "choice":
        if not example.choices or example.answer_label is None:
            raise RowError("no gold choice", "expected an Example with 'choices' and an 'answer'")
        return Gold("choice", (example.answer_label,), example.choices)
    if example.answer is None and not example.answers:
        raise RowError("no gold answer", "expected an Example with an 'answer'")
    answers = example.answers or (example.answer or "",)
    return Gold(kind, _without_unanswerable(answers) if kind == "squad" else answers[:1])


def gold_of_chat(
    asked: Sequence[Mapping[str, Any]], reply: str, row: Mapping[str, Any], metric: Metric | None = None
) -> Gold:
    """What is right for a chat row: what its own assistant says at the end.

    Args:
        asked: the messages before that.
        reply: what the assistant says.
        row: may name its ``source`` and ``task``. Without them the metric is told by the wording of
            ``convert``.
        metric: where the row is not to decide.

    Raises:
        RowError: the metric cannot be told, or the row does not say what is right.
    """
    prompt = str(asked[-1]["content"]) if asked else ""
    kind = metric or metric_of(row.get("source"), row.get("task")) or _by_wording(prompt, reply)
    if kind is None:
        raise RowError("no metric for the row", f"it names no known source or task; {_WHAT_TO_DO}")
    if kind == "gsm8k":
        number = strict_number(reply)
        if number is None:
            raise RowError("no gold number", "expected '#### ' and a number in the assistant's content")
        return Gold(kind, (number,))
    if kind == "squad":
        return Gold(kind, _without_unanswerable((reply.strip(),)))
    if kind == "mbpp":
        tests = shown_tests(prompt)
        if not tests:
            hint = "expected them in the prompt, between ``` and ```; Examples carry them in any case"
            raise RowError("no tests", hint)
        return Gold(kind, tests=tests)
    return _gold_choice(prompt, reply) if kind == "choice" else Gold(kind)


def is_no_answer(reply: str) -> bool:
    """Whether a reply says, in the words that ``convert`` uses, that the passage has no answer."""
    return reply.strip().rstrip(".").lower() == UNANSWERABLE.rstrip(".").lower()


def metric_of(source: Any, task: Any) -> Metric | None:
    """The metric of a set or else of a task; ``None`` where neither is known."""
    name = converters.canonical(source) if type(source) is str else ""
    if name in BY_SET:
        return BY_SET[name]
    if type(task) is str and task in BY_TASK:
        return BY_TASK[task]
    return BY_TASK.get(converters.load(name).SOURCE.task) if name in converters.names() else None


def _without_unanswerable(answers: Sequence[str]) -> tuple[str, ...]:
    return tuple(answer for answer in answers if not is_no_answer(answer))


def _by_wording(prompt: str, reply: str) -> Metric | None:
    """The metric of a row that names no source, where it is worded as ``convert`` words it."""
    if _choices_in(prompt):
        return "choice"
    if "\nYour code should pass these tests:\n" in prompt and shown_tests(prompt):
        return "mbpp"
    if prompt.startswith("Read the passage and answer the question") and "\nPassage:\n" in prompt:
        return "squad"
    last = reply.strip().rpartition("\n")[2]
    return "gsm8k" if last.startswith("#### ") and strict_number(last) is not None else None


def _choices_in(prompt: str) -> tuple[str, ...]:
    """The choices that a prompt ends with, one a line from (a) on; none where it does not."""
    found: list[str] = []
    for line in reversed(prompt.rstrip().split("\n")):
        match = _CHOICE.fullmatch(line)
        if match is None:
            break
        found.insert(0, line)
        if match[1] == "a":
            break
    expected = [f"({letter}) " for letter in LETTERS[: len(found)]]
    if len(found) < 2 or any(not line.startswith(mark) for line, mark in zip(found, expected, strict=True)):
        return ()
    return tuple(line[4:] for line in found)


def _gold_choice(prompt: str, reply: str) -> Gold:
    choices = _choices_in(prompt)
    if not choices:
        raise RowError("no choices", "expected the prompt to end with lines '(a) …', '(b) …'")
    letter = chosen_letter(reply, choices)
    if letter is None and reply.strip() in choices:  # `--answer-style text`
        letter = LETTERS[choices.index(reply.strip())]
    if letter is None:
        raise RowError("no gold choice", f"the assistant's content names no choice: {reply[-60:]!r}")
    return Gold("choice", (letter,), choices)
