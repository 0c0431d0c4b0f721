"""Read the rows to evaluate: the conversation and the reference of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.conversations import find_in_row
from dataprep.core.errors import Location, RowDropped, RowError, UsageError
from dataprep.core.jsonl import any_line
from dataprep.core.ledger import Ledger
from dataprep.core.records import Example, describe
from dataprep.datasets import registry as converters
from dataprep.datasets.source_rows import example_of, read_located
from dataprep.datasets.templates import source_renderer
from dataprep.evaluate.metrics.references import (
    Metric,
    Reference,
    reference_of_chat,
    reference_of_example,
)

Message = dict[str, str]

MISSING = "no prediction"


@dataclass(frozen=True, slots=True)
class Item:
    """A row to be evaluated."""

    where: Location
    id: str | None
    source: str | None  # the dataset it comes from, if that is known
    messages: Sequence[Message]  # with or without the reference answer as the last message
    reference: Reference
    number: int = 0  # in its file, from 1, bad and dropped rows included

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
) -> Iterator[Item]:
    """Yield the items in a file of chat rows and Examples, or of source rows of a dataset."""
    worded = _Wording(template or {})
    for where, row in read_located(path, dataset):
        # Counted before anything can fail, because predictions without ids are matched by this number.
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
            rejects.add(where, str(error), any_line(row))
            ledger.fail(error.reason)


def _example(row: dict[str, Any], dataset: str | None) -> Example:
    if dataset is None or "unanswerable" not in converters.options(converters.load(dataset)):
        return example_of(row, dataset)
    # `convert` drops questions that the passage does not answer, but SQuAD 2.0 scores them.
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
    reference = reference_of_chat(asked, answer["content"], row, metric)
    return Item(
        where,
        None if name is None else str(name),
        None if source is None else converters.canonical(str(source)),
        [{"role": message["role"], "content": message["content"]} for message in row["messages"]],
        reference,
    )


def _of_example(example: Example, where: Location, metric: Metric | None, worded: _Wording) -> Item:
    reference = reference_of_example(example, metric)
    return Item(where, example.identify(), example.source, worded(example, metric == "loss"), reference)


class _Wording:
    """Render Examples as ``convert`` does."""

    def __init__(self, parts: Mapping[str, str]) -> None:
        self._whole = source_renderer(parts)
        # Test sets can have hidden answers, and some metrics need none: any text stands for the answer.
        self._asking = source_renderer({**parts, "assistant": "-"})

    def __call__(self, example: Example, whole: bool) -> list[Message]:
        """Return the messages of an Example; without ``whole`` those before the answer."""
        renderer = self._whole if whole else self._asking
        messages: list[Message] = orjson.loads(renderer(example))["messages"]
        return messages if whole else messages[:-1]


@dataclass(frozen=True, slots=True)
class Prediction:
    """A system's answer to an item: a text, or the reason that there is none."""

    text: str | None
    failure: str | None = None


def by_id(items: Sequence[Item]) -> dict[str, int]:
    """Return the index of each item by its id."""
    indices: dict[str, int] = {}
    for number, item in enumerate(items):
        if item.id is None:
            hint = "write the rows with `dataprep convert --with-id`, or leave the ids out of the predictions"
            raise UsageError(f"{item.where}: the row has no id to find its prediction by; {hint}")
        if item.id in indices:
            first = items[indices[item.id]].where
            raise UsageError(f"{item.where}: the id {item.id!r} stands at {first} too; remove one of them")
        indices[item.id] = number
    return indices
