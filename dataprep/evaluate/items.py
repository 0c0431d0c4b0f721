"""Read the rows to evaluate: the conversation and the reference of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import orjson

from dataprep.core import io as files
from dataprep.core.conversations import content_text, find_in_row, stripped
from dataprep.core.errors import InputError, Location, RowDropped, RowError
from dataprep.core.jsonl import any_line
from dataprep.core.ledger import Ledger
from dataprep.core.records import LETTERS, Example, describe
from dataprep.curate.contamination.wording import question_digest
from dataprep.datasets import registry as converters
from dataprep.datasets.source_rows import example_of, read_located
from dataprep.datasets.templates import LETTER_SYSTEM, question_of, source_renderer
from dataprep.evaluate.metrics.references import (
    Metric,
    Reference,
    Style,
    choices_in,
    reference_of_chat,
    reference_of_example,
)

Message = dict[str, Any]

MISSING = "no prediction"
FACTS = "facts.json"  # what a run of `train` records in the directory of its student


@dataclass(frozen=True, slots=True)
class Training:
    """The facts about a student's training by which it must be asked and read."""

    prefix: str | None = None  # what stands before the question, if it was trained on rationales
    style: Style | None = None  # how the answers that it was trained on name a choice
    strip: bool = False  # whether contents are without outer white space
    date: str | None = None  # the date in its conversations
    template_args: Mapping[str, Any] = field(default_factory=dict)  # of its chat template
    recorded: bool = False  # whether there is such a record: its templates have had no clock

    def given(self, messages: Sequence[Message]) -> list[Message]:
        """Return messages as the chat format of the training gave them to the student."""
        return stripped(messages) if self.strip else list(messages)


def read_training(model: str) -> Training:
    """Return what the run that trained a model recorded; for another model nothing is known."""
    path = Path(model) / FACTS
    if not path.is_file():
        return Training()
    try:
        facts = orjson.loads(path.read_bytes())
        if type(facts) is not dict or "dataprep" not in facts:
            return Training()  # another program's file
        # Only a run on rationales has parts. Runs of earlier versions record no style.
        prefix = facts["parts"]["answer"]["prefix"] if "parts" in facts else None
        style: Any = "text" if prefix is not None else facts.get("answer_style")
        given = facts.get("template_args") or {}
        settings = (facts.get("strip") or False, facts.get("date"), given)
        found = Training(prefix, style, *settings, recorded=True)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(
            path, f"damaged: {error!r}; restore it, or remove it to evaluate without it"
        ) from None
    texts = (found.prefix, found.date, found.style)
    if (
        type(found.strip) is not bool
        or type(found.template_args) is not dict
        or any(type(text) not in (str, type(None)) for text in texts)
    ):
        raise InputError(path, "damaged: a field has another type; restore it, or remove it")
    return found if found.style in get_args(Style) else replace(found, style=None)


@dataclass(frozen=True, slots=True)
class Item:
    """A row to be evaluated."""

    where: Location
    id: str | None
    source: str | None  # the dataset it comes from, if that is known
    messages: Sequence[Message]  # with or without the reference answer as the last message
    reference: Reference
    digest: str | None = None  # of its question, by which `decontaminate` names rows without an id
    contaminated: bool = False  # whether it stands in the training data
    number: int = 0  # in its file, from 1, bad and dropped rows included
    context: Mapping[str, Any] = field(
        default_factory=dict
    )  # `tools` and `chat_template_kwargs` of a chat row

    @property
    def row(self) -> dict[str, Any]:
        """The chat row, without fields that no model sees."""
        return {"messages": self.messages, **self.context}

    @property
    def asked(self) -> list[Message]:
        """The messages before the answer."""
        messages = list(self.messages)
        return messages[:-1] if messages[-1]["role"] == "assistant" else messages


def read_items(
    path: str,
    ledger: Ledger,
    rejects: files.Rejects,
    *,
    metric: Metric | None = None,
    dataset: str | None = None,
    template: Mapping[str, str] | None = None,
    training: Training | None = None,
) -> Iterator[Item]:
    """Yield the items in a file of chat rows and Examples, or of source rows of a dataset."""
    training = training or Training()
    worded = _Wording(template or {}, training)
    as_trained = partial(_as_trained, prefix=training.prefix) if training.prefix is not None else list
    for where, row in read_located(path, dataset):
        # Counted before anything can fail, because predictions without ids are matched by this number.
        ledger.rows_in += 1
        try:
            if dataset is None and "messages" in row:
                made = _of_chat(row, where, metric)
                made = replace(made, messages=as_trained(made.messages))
            else:
                # `convert` drops questions that the passage does not answer, but SQuAD 2.0 scores them.
                example = example_of(row, dataset, unanswerable=True)
                made = _of_example(example, where, metric, worded)
            yield replace(made, number=ledger.rows_in)
        except RowDropped as drop:
            ledger.drop(drop.reason)
        except RowError as error:
            is_other = dataset is None and metric is None and not {"messages", "question"} & row.keys()
            hint = "; `evaluate --metric classes --label NAME` measures rows with a label" if is_other else ""
            rejects.add(where, f"{error}{hint}", any_line(row))
            ledger.fail(error.reason)


def _of_chat(row: Mapping[str, Any], where: Location, metric: Metric | None) -> Item:
    for finding in find_in_row(dict(row)):
        raise RowError(finding.kind, finding.detail)
    *asked, answer = row["messages"]
    source, name = row.get("source"), row.get("id")
    for label, value in (("source", source), ("id", name)):
        if value is not None and type(value) not in (str, int):
            raise RowError(f"field {label!r} is not a string", f"found {describe(value)}")
    reference = reference_of_chat(asked, content_text(answer.get("content")), row, metric)
    return Item(
        where,
        None if name is None else str(name),
        None if source is None else converters.canonical(str(source)),
        list(row["messages"]),
        reference,
        question_digest(row),
        context={name: row[name] for name in ("tools", "chat_template_kwargs") if row.get(name)},
    )


def _of_example(example: Example, where: Location, metric: Metric | None, worded: _Wording) -> Item:
    reference = reference_of_example(example, metric)
    messages, digest = worded(example, metric == "loss"), question_digest({"question": example.question})
    return Item(where, example.identify(), example.source, messages, reference, digest)


class _Wording:
    """Render Examples as ``convert`` does, or as the student was trained."""

    def __init__(self, parts: Mapping[str, str], training: Training) -> None:
        self._prefix = training.prefix
        # `convert --answer-style letter` asks for the letter in the system message.
        lettered = {"system": LETTER_SYSTEM} if training.style == "letter" else {}
        # Test sets can have hidden answers, and some metrics need none: any text stands for the answer.
        self._renderers = {
            (whole, choices): source_renderer(
                (lettered if choices else {}) | dict(parts) | ({} if whole else {"assistant": "-"})
            )
            for whole in (True, False)
            for choices in (True, False)
        }

    def __call__(self, example: Example, whole: bool) -> list[Message]:
        """Return the messages of an Example; without ``whole`` those before the answer."""
        if self._prefix is not None:
            asked = {"role": "user", "content": self._prefix + question_of(example)}
            return [asked, {"role": "assistant", "content": example.answer or ""}] if whole else [asked]
        renderer = self._renderers[whole, bool(example.choices)]
        messages: list[Message] = orjson.loads(renderer(example))["messages"]
        return messages if whole else messages[:-1]


def _as_trained(messages: Sequence[Message], prefix: str) -> list[Message]:
    """Return the messages of a chat row as a student of rationales was asked: no system message, a prefix."""
    kept = [message for message in messages if message["role"] != "system"]
    number = max((number for number, message in enumerate(kept) if message["role"] == "user"), default=-1)
    if number < 0:
        raise RowError("no user message", "expected a question for the student to answer")
    text = content_text(kept[number].get("content"))
    if choices := choices_in(text):
        lines = [f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
        question = (
            text.rstrip().removesuffix("\n".join(lines)).strip().removesuffix("Answer Choices:").rstrip()
        )
        text = "\n".join([question, "Answer Choices:", *lines])
    kept[number] = {"role": "user", "content": text if text.startswith(prefix) else prefix + text}
    return kept


@dataclass(frozen=True, slots=True)
class Prediction:
    """A system's answer to an item: a text, or the reason that there is none."""

    text: str | None
    failure: str | None = None
