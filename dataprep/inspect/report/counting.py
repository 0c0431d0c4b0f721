"""Count the rows of files for a report: an operator over blocks, and the sum of its counts."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any

import orjson

from dataprep.core.conversations import content_text
from dataprep.core.errors import RowError
from dataprep.core.io import Block
from dataprep.core.parallel import Outcome, read_block
from dataprep.core.records import Example, from_cell, is_example
from dataprep.curate.texts import TextOf, normalised
from dataprep.datasets import registry
from dataprep.datasets.checks.chat_counts import ChatCounts
from dataprep.datasets.checks.stats import Encode
from dataprep.evaluate.metrics.references import Reference, reference_of_chat, reference_of_example

MAX_NAMES = 1000
"""Different sources, answers and so on that are counted by name; the others are counted together."""
MAX_ANSWERS = 50_000
OTHERS = "(others)"
EXTREMES = 5
DIGEST = 16  # bytes of a row's digest
_LONGEST_ANSWER = 60  # characters; a longer one is a text, and no two texts are alike
_NOT_CONTENT = ("id", "source", "file", "index")

Extreme = tuple[int, int]  # characters of a row, and its number in the file from 0


def _lengths() -> defaultdict[str, Counter[int]]:
    return defaultdict(Counter)


def _names() -> defaultdict[str, Counter[str]]:
    return defaultdict(Counter)


@dataclass
class Counts:
    """Counts of rows that follow each other; counts of several blocks add up."""

    rows: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    roles: Counter[str] = field(default_factory=Counter)  # messages by role
    parts: Counter[str] = field(default_factory=Counter)  # what chat rows have beside contents
    turns: Counter[int] = field(default_factory=Counter)  # rows by their number of messages
    characters: dict[str, Counter[int]] = field(default_factory=_lengths)  # texts by length, by role or field
    tokens: dict[str, Counter[int]] = field(default_factory=_lengths)
    row_characters: Counter[int] = field(default_factory=Counter)
    row_tokens: Counter[int] = field(default_factory=Counter)
    statuses: dict[str, Counter[str]] = field(default_factory=_names)  # rationales by status, by teacher
    labels: dict[str, Counter[str]] = field(default_factory=_names)  # letters of gold choices, by source
    answers: Counter[str] = field(default_factory=Counter)  # other gold answers that are short
    long_answers: int = 0
    longest: list[Extreme] = field(default_factory=list)
    shortest: list[Extreme] = field(default_factory=list)
    digests: bytearray = field(default_factory=bytearray)  # `DIGEST` bytes a row; zeros for a bad row

    def add(self, other: Counts, rows_before: int = 0) -> None:
        """Add the counts of the rows that follow, before which the file has ``rows_before`` rows."""
        self.rows += other.rows
        self.long_answers += other.long_answers
        for mine, more in (
            (self.kinds, other.kinds), (self.sources, other.sources), (self.tasks, other.tasks),
            (self.roles, other.roles), (self.parts, other.parts),
        ):  # fmt: skip
            _add_names(mine, more)
        _add_names(self.answers, other.answers, MAX_ANSWERS)
        self.turns.update(other.turns)
        self.row_characters.update(other.row_characters)
        self.row_tokens.update(other.row_tokens)
        for lengths, more_lengths in ((self.characters, other.characters), (self.tokens, other.tokens)):
            for name, counts in more_lengths.items():
                lengths[_bounded(name, lengths)].update(counts)
        for names, more_names in ((self.statuses, other.statuses), (self.labels, other.labels)):
            for name, values in more_names.items():
                _add_names(names[_bounded(name, names)], values)
        moved = [(length, number + rows_before) for length, number in other.longest]
        self.longest = heapq.nsmallest(EXTREMES, self.longest + moved, key=lambda row: (-row[0], row[1]))
        moved = [(length, number + rows_before) for length, number in other.shortest]
        self.shortest = heapq.nsmallest(EXTREMES, self.shortest + moved)
        self.digests += other.digests


def _bounded(name: str, names: Mapping[str, Any], limit: int = MAX_NAMES) -> str:
    return name if name in names or len(names) < limit else OTHERS


def _add_names(counts: Counter[str], more: Mapping[str, int], limit: int = MAX_NAMES) -> None:
    # Blocks come in the order of the files, so the names that are kept do not depend on the workers.
    for name, count in more.items():
        counts[_bounded(name, counts, limit)] += count


class Count:
    """Count the rows of blocks: a picklable operator, whose payload is a ``Counts``.

    Args:
        source: the source of rows that name none.
        encode: encodes a text as a list of tokens; ``None`` counts no tokens.
    """

    def __init__(self, source: str, encode: Encode | None) -> None:
        self._source = source
        self._encode = encode

    def __call__(self, block: Block) -> Outcome:
        """Return an outcome without output."""
        counts, chats = Counts(), ChatCounts()
        read = read_block(block, partial(self._row, counts, chats))
        # A number in the block is that among all its rows, also those that failed.
        sizes = [(length, number) for (length, _), number in zip(read.rows, read.numbers, strict=True)]
        counts.longest = heapq.nsmallest(EXTREMES, sizes, key=lambda row: (-row[0], row[1]))
        counts.shortest = heapq.nsmallest(EXTREMES, sizes)
        counts.digests = bytearray(DIGEST * read.outcome.rows_in)
        for (_, digest), number in zip(read.rows, read.numbers, strict=True):
            counts.digests[DIGEST * number : DIGEST * (number + 1)] = digest
        counts.roles.update(chats.roles())
        counts.parts.update(chats.parts())
        read.outcome.payload = counts
        return read.outcome

    def _row(self, counts: Counts, chats: ChatCounts, row: dict[str, Any]) -> tuple[int, bytes]:
        """Count a row, and return its characters and its digest."""
        texts = list(texts_of(row, chats))
        digest = digest_of(row)
        source = str(row.get("source") or self._source)
        counts.rows += 1
        counts.kinds[kind_of(row)] += 1
        counts.sources[source] += 1
        counts.tasks[task_of(row, source)] += 1
        if isinstance(row.get("messages"), list):
            counts.turns[len(row["messages"])] += 1
        for name, text in texts:
            counts.characters[name][len(text)] += 1
        total = sum(len(text) for _, text in texts)
        counts.row_characters[total] += 1
        if self._encode is not None:
            tokens = [len(self._encode(text)) for _, text in texts]
            for (name, _), count in zip(texts, tokens, strict=True):
                counts.tokens[name][count] += 1
            counts.row_tokens[sum(tokens)] += 1
        _count_statuses(counts, row)
        _count_answer(counts, row, source)
        return total, digest


def texts_of(row: Mapping[str, Any], chats: ChatCounts) -> Iterable[tuple[str, str]]:
    """Yield the texts of a row: by role as ``stats`` has them, or by field, and by teacher."""
    if row.get("messages") is not None:
        yield from chats.add(row)
        return
    for name, value in row.items():
        if isinstance(value, str) and name not in _NOT_CONTENT:
            yield name, value
        elif name == "rationales" and isinstance(value, Mapping):
            yield from ((f"rationale: {who}", text) for who, text in value.items() if isinstance(text, str))


def kind_of(row: Mapping[str, Any]) -> str:
    """Return what a row is: the name of its kind, in the plural."""
    if row.get("messages") is not None:
        return "chat rows"
    if isinstance(from_cell(row.get("status")), Mapping):
        return "labelled rows"
    return "Examples" if is_example(row) else "other rows"


def task_of(row: Mapping[str, Any], source: str) -> str:
    """Return the task of a row: its own, or that of the dataset that it is from."""
    if isinstance(row.get("task"), str) and row["task"]:
        return str(row["task"])
    name = registry.canonical(source)
    if name in registry.names():
        return registry.load(name).SOURCE.task
    return "choice" if row.get("choices") else "unknown"


def digest_of(row: Mapping[str, Any]) -> bytes:
    """Return a digest that rows with the same content share, whatever their id, source, case and spaces."""
    if row.get("messages") is not None:
        text = TextOf("messages")(row)
    else:
        content = {name: value for name, value in row.items() if name not in _NOT_CONTENT}
        try:
            text = orjson.dumps(content, default=str, option=orjson.OPT_SORT_KEYS).decode()
        except TypeError as error:  # nested too deeply
            raise RowError("a row that JSON cannot hold", str(error)) from None
    return blake2b(normalised(text).encode("utf-8", "surrogatepass"), digest_size=DIGEST).digest()


def _count_statuses(counts: Counts, row: Mapping[str, Any]) -> None:
    statuses = from_cell(row.get("status"))
    if isinstance(statuses, Mapping):
        for teacher, status in statuses.items():
            if isinstance(status, str):
                counts.statuses[str(teacher)][status] += 1


def _count_answer(counts: Counts, row: Mapping[str, Any], source: str) -> None:
    for reference in _references(row):
        if reference.metric == "choice":
            counts.labels[source][reference.answers[0]] += 1
        elif reference.metric in ("gsm8k", "squad"):
            answer = normalised(reference.answers[0]) if reference.answers else "(no answer)"
            if len(answer) > _LONGEST_ANSWER:
                counts.long_answers += 1
            else:
                counts.answers[answer] += 1
        return
    for name in ("label", "answerKey", "answer"):
        value = row.get(name)
        if isinstance(value, str | int | float) and len(str(value)) <= _LONGEST_ANSWER:
            counts.answers[str(value)] += 1
            return


def _references(row: Mapping[str, Any]) -> Iterator[Reference]:
    try:
        messages = row.get("messages")
        if messages is None:
            yield reference_of_example(Example.from_json(row))
        elif messages and messages[-1].get("role") == "assistant":
            yield reference_of_chat(messages[:-1], content_text(messages[-1].get("content")), row)
    except (RowError, TypeError, KeyError, AttributeError):
        # Rows of other kinds have answers of other kinds; a report about them has none.
        return
