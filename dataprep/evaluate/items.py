"""The rows to be evaluated: what is asked, and what is right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.conversations import find_in_row
from dataprep.core.errors import Location, RowDropped, RowError, UsageError
from dataprep.core.ledger import Ledger
from dataprep.core.records import CHOICE_USER, Example, describe
from dataprep.datasets import registry as converters
from dataprep.datasets.examples import example_of, read_located
from dataprep.datasets.templates import DEFAULT_SYSTEM, Template, chat_renderer
from dataprep.evaluate.metrics.kinds import Gold, Metric, gold_of_chat, gold_of_example

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Item:
    """A row to be evaluated.

    Attributes:
        where: the row's place, for messages.
        id: its id, where it has one.
        source: the set it comes from, where that is known.
        messages: the whole conversation; the last message is the right answer's, or there is none.
        gold: what is right.
        number: which row of the file it is, from 1, bad and dropped ones counted.
    """

    where: Location
    id: str | None
    source: str | None
    messages: Sequence[Message]
    gold: Gold
    number: int = 0

    @property
    def asked(self) -> list[Message]:
        """The conversation up to where the answer begins."""
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
) -> Iterator[Item]:
    """The rows of a file: chat rows, Examples, or a set's raw rows.

    Args:
        path: the file; rows of both kinds may be mixed.
        ledger: counts them, and what became of those that are no item.
        rejects: takes bad rows.
        metric: the metric of all rows; without it each row's own.
        dataset: the rows are raw ones of this set.
        template: messages in place of the default wording, for rows that are not chat rows.

    Raises:
        InputError: a row is bad and there is no place for rejects, or the file cannot be read.
        UsageError: there is no such set.
    """
    worded = _Wording(template or {})
    for where, row in read_located(path, dataset):
        ledger.rows_in += 1
        try:
            if dataset is None and "messages" in row:
                made = _of_chat(row, where, metric)
            else:
                made = _of_example(_example(row, dataset), where, metric, worded)
            yield replace(made, number=ledger.rows_in)
        except RowDropped as drop:
            ledger.drop(drop.reason)
        except RowError as error:
            rejects.add(where, str(error), orjson.dumps(row, default=str))
            ledger.fail(error.reason)


def _example(row: dict[str, Any], dataset: str | None) -> Example:
    if dataset is None or "unanswerable" not in converters.options(converters.load(dataset)):
        return example_of(row, dataset)
    # What the passage does not answer is part of what is measured.
    example: Example = converters.load(dataset).convert(row, unanswerable="keep")
    example.source = converters.canonical(dataset)
    return example


def _of_chat(row: Mapping[str, Any], where: Location, metric: Metric | None) -> Item:
    for finding in find_in_row(dict(row)):
        raise RowError(finding.kind, finding.detail)
    *asked, answer = row["messages"]
    source, name = row.get("source"), row.get("id")
    for field, value in (("source", source), ("id", name)):
        if value is not None and type(value) not in (str, int):
            raise RowError(f"field {field!r} is not a string", f"found {describe(value)}")
    gold = gold_of_chat(asked, answer["content"], row, metric)
    return Item(
        where,
        None if name is None else str(name),
        None if source is None else converters.canonical(str(source)),
        [{"role": each["role"], "content": each["content"]} for each in row["messages"]],
        gold,
    )


def _of_example(example: Example, where: Location, metric: Metric | None, worded: _Wording) -> Item:
    gold = gold_of_example(example, metric)
    return Item(where, example.identify(), example.source, worded(example, metric == "loss"), gold)


class _Wording:
    """Renders Examples as ``convert`` does, each set in its own words."""

    def __init__(self, parts: Mapping[str, str]) -> None:
        self._parts = parts
        self._known = frozenset(converters.names())
        self._whole: dict[str | None, Any] = {}
        self._asking: dict[str | None, Any] = {}
        self._renderer(None, whole=True)  # what is wrong with a template is found before any row

    def __call__(self, example: Example, whole: bool) -> list[Message]:
        """The messages of an Example; without ``whole`` up to where the answer begins.

        Raises:
            RowError: the Example lacks the fields of all sections of a message.
        """
        name = example.source if example.source in self._known else None
        renderer = (self._whole if whole else self._asking).get(name) or self._renderer(name, whole)
        messages: list[Message] = orjson.loads(renderer(example))["messages"]
        return messages if whole else messages[:-1]

    def _renderer(self, name: str | None, whole: bool) -> Any:
        user, assistant = CHOICE_USER, "{answer}"
        if name is not None:
            converter = converters.load(name)
            user, assistant = converter.USER, converter.ASSISTANT
        wording = Template(DEFAULT_SYSTEM, user, assistant).with_parts(self._parts)
        if not whole:
            wording = wording.with_parts({"assistant": "-"})
        made = (self._whole if whole else self._asking)[name] = chat_renderer(wording)
        return made


def by_id(items: Sequence[Item]) -> dict[str, int]:
    """Where each item stands, by its id.

    Raises:
        UsageError: an item has no id, or the same as another.
    """
    found: dict[str, int] = {}
    for number, item in enumerate(items):
        if item.id is None:
            hint = "write the rows with `dataprep convert --with-id`, or leave the ids out of the predictions"
            raise UsageError(f"{item.where}: the row has no id to find its prediction by; {hint}")
        if item.id in found:
            first = items[found[item.id]].where
            raise UsageError(f"{item.where}: the id {item.id!r} stands at {first} too; remove one of them")
        found[item.id] = number
    return found
