"""Check files of rows, and describe them: rows by source, lengths by role, exact duplicates."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.conversations import find_in
from dataprep.core.errors import InputError, Location, RowError, UsageError, located, one_line
from dataprep.core.optional import require
from dataprep.datasets.chat_counts import ChatCounts
from dataprep.datasets.choice_order import label_of

# A converter that is wrong is wrong in every row; twenty examples of a fault are enough to see it.
SHOWN_PER_KIND = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of one row: its place, its kind, and what was found and expected."""

    where: str
    kind: str
    detail: str

    def __str__(self) -> str:
        return one_line(": ".join(filter(None, (self.where, self.kind, self.detail))))


@dataclass
class Report:
    """The result of ``validate``.

    Attributes:
        rows: number of rows by file.
        counts: number of problems by kind.
        shown: the first problems of each kind.
        unknown_keys: number of messages with each key that dataprep does not know.
    """

    rows: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    shown: list[Problem] = field(default_factory=list)
    unknown_keys: Counter[str] = field(default_factory=Counter)

    def add(self, problem: Problem) -> None:
        """Count a problem, and keep it if it is one of the first of its kind."""
        self.counts[problem.kind] += 1
        if self.counts[problem.kind] <= SHOWN_PER_KIND:
            self.shown.append(problem)

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {
            "rows": {files.printable(path): rows for path, rows in self.rows.items()},
            "problems": dict(self.counts),
            "shown": [files.printable(str(problem)) for problem in self.shown],
            "unknown_keys": dict(self.unknown_keys),
        }


def validate(
    rows: str | Path | Iterable[Mapping[str, Any]], *, strict: bool = False, strict_tools: bool = False
) -> Iterator[Problem]:
    """Yield everything that is wrong with a file of chat rows, or with the chat rows themselves.

    Args:
        rows: the file, or the rows.
        strict: keys of messages that dataprep does not know are problems too.
        strict_tools: the arguments of tool calls must fit the JSON Schema of their tool.

    >>> for problem in validate([{"messages": [{"role": "user", "content": "Hi"}]}]): print(problem)
    row 1: no assistant at the end: found user; expected an assistant message last
    """
    items = _items_in(str(rows)) if isinstance(rows, str | Path) else _places(rows)
    for where, item in items:
        for finding in find_in(item, strict=strict, strict_tools=strict_tools):
            yield Problem(str(where), *finding)


def validate_files(
    inputs: Sequence[str | Path], *, strict: bool = False, strict_tools: bool = False
) -> Report:
    """Check files of chat rows; raise ``InputError`` for one that holds no rows or is damaged as a whole.

    Args:
        inputs: the files.
        strict: keys of messages that dataprep does not know are problems too.
        strict_tools: the arguments of tool calls must fit the JSON Schema of their tool.
    """
    if not inputs:
        raise UsageError("there is nothing to validate: give at least one file")
    if strict_tools:
        require("jsonschema", extra="tools", feature="--strict-tools")
    report = Report()
    for path in map(str, inputs):
        report.rows.setdefault(path, 0)  # a file can be given twice
        for where, item in _items_in(path):
            report.rows[path] += 1
            found = find_in(item, strict=strict, strict_tools=strict_tools, unknown=report.unknown_keys)
            for finding in found:
                report.add(Problem(str(where), *finding))
    return report


def _items_in(path: str) -> Iterator[tuple[Location, Any]]:
    # The last row's place; without one the file holds no rows, which is no fault of a row.
    where = None
    for where, item in files.read_items(path):
        yield where, item
    if where is None:
        raise InputError(path, "the file is empty; expected chat rows")


def _places(rows: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    return ((f"row {number}", row) for number, row in enumerate(rows, 1))


BINS = 12
Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True)
class Lengths:
    """Characters (Unicode code points) in the texts of one role or field."""

    texts: int
    min: int
    median: float
    p95: float
    max: int


@dataclass(frozen=True)
class Tokens(Lengths):
    """Tokens in the texts of one role, field or source, and their sum."""

    total: int


@dataclass(frozen=True)
class Bin:
    """Number of rows that have ``low`` to ``high`` characters."""

    low: int
    high: int
    rows: int


@dataclass(frozen=True)
class Stats:
    """The result of ``stats``.

    Attributes:
        rows: number of rows.
        sources: rows by ``source`` field, or by file for rows without one.
        characters: lengths by role in chat rows, by field in other rows.
        duplicates: rows whose content (all but ``id`` and ``source``) an earlier row has too.
        histogram: rows by their number of characters.
        roles: messages of chat rows by role.
        parts: what chat rows have beside contents, such as tool calls; only what occurs.
        tokens: tokens by role or field, if a tokenizer was given.
        tokens_by_source: tokens of whole rows' texts by source, if a tokenizer was given.
        labels: multiple-choice rows by the letter of their right answer, if there are any.
    """

    rows: int
    sources: dict[str, int]
    characters: dict[str, Lengths]
    duplicates: int
    histogram: list[Bin]
    roles: dict[str, int] | None = None
    parts: dict[str, int] | None = None
    tokens: dict[str, Tokens] | None = None
    tokens_by_source: dict[str, Tokens] | None = None
    labels: dict[str, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the figures as a JSON object."""
        return {key: value for key, value in asdict(self).items() if value is not None}


class _Columns:
    """Take rows one at a time and keep a few numbers of each."""

    # 16 bytes a row, for its digest. Lengths are counted, not kept: there are few different ones, and their
    # quantiles come out of the counts as exactly as out of the lengths themselves.

    def __init__(self, encode: Encode | None = None) -> None:
        self.encode = encode
        self.rows = 0
        self.sources: Counter[str] = Counter()
        self.chats = ChatCounts()
        self.digests = (array("Q"), array("Q"))
        self.row_lengths: Counter[int] = Counter()
        self.lengths: dict[str, Counter[int]] = defaultdict(Counter)
        self.tokens: dict[str, Counter[int]] = defaultdict(Counter)
        self.row_tokens: dict[str, Counter[int]] = defaultdict(Counter)
        self.labels: Counter[str] = Counter()

    def _texts_of(self, row: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Return the texts of a row by role (chat rows) or by field (other rows)."""
        if row.get("messages") is not None:
            return self.chats.add(row)
        return [(name, text) for name, text in row.items() if isinstance(text, str)]

    def add(self, row: Mapping[str, Any], default_source: str) -> None:
        total = tokens = 0
        for role, text in self._texts_of(row):
            self.lengths[role][len(text)] += 1
            total += len(text)
            if self.encode is not None:
                count = len(self.encode(text))
                self.tokens[role][count] += 1
                tokens += count
        source = str(row.get("source") or default_source)
        if (label := label_of(row)) is not None:
            self.labels[label] += 1
        self.rows += 1
        self.sources[source] += 1
        self.row_lengths[total] += 1
        if self.encode is not None:
            self.row_tokens[source][tokens] += 1
        # Converted twice with other options, a row has another id and is still the same row to train on.
        content = {key: value for key, value in row.items() if key not in ("id", "source")}
        try:
            written = orjson.dumps(content, default=str, option=orjson.OPT_SORT_KEYS)
        # Nested too deeply, or lone surrogates, which only rows given by a program can have.
        except TypeError as error:
            raise RowError("a row that JSON cannot hold", str(error)) from None
        # 16 bytes of a hash stand for the row: two different rows sharing them is not to be expected.
        digest = blake2b(written, digest_size=16).digest()
        for column, half in zip(self.digests, (digest[:8], digest[8:]), strict=True):
            column.append(int.from_bytes(half, "little"))


def stats(rows: str | Path | Iterable[Mapping[str, Any]], encode: Encode | None = None) -> Stats:
    """Describe a file of rows, or the rows themselves.

    Args:
        rows: the file, or the rows.
        encode: encodes a text as a list of tokens; adds figures of tokens.
    """
    if isinstance(rows, str | Path):
        return stats_of_files([rows], encode)
    columns = _Columns(encode)
    for number, row in enumerate(rows, 1):
        with located(f"row {number}"):
            columns.add(row, "the given rows")
    return _figures(columns)


def stats_of_files(inputs: Sequence[str | Path], encode: Encode | None = None) -> Stats:
    """Describe the rows of several files together, each in any format that dataprep reads."""
    if not inputs:
        raise UsageError("there is nothing to describe: give at least one file")
    columns = _Columns(encode)
    for path in map(str, inputs):
        before = columns.rows
        name = files.printable(path)
        for where, row in files.read_rows(path):
            with located(where):
                columns.add(row, name)
        if columns.rows == before:
            raise InputError(path, "the file is empty; expected rows")
    return _figures(columns)


def _figures(columns: _Columns) -> Stats:
    sources = dict(columns.sources.most_common())
    tokens = tokens_by_source = None
    if columns.encode is not None:
        tokens = {role: _tokens(counts) for role, counts in columns.tokens.items()}
        tokens_by_source = {source: _tokens(columns.row_tokens[source]) for source in sources}
    return Stats(
        rows=columns.rows,
        sources=sources,
        characters={role: lengths_of(counts) for role, counts in columns.lengths.items()},
        duplicates=_duplicates(*columns.digests),
        histogram=_histogram(columns.row_lengths),
        roles=columns.chats.roles() or None,
        parts=columns.chats.parts() or None,
        tokens=tokens,
        tokens_by_source=tokens_by_source,
        labels=dict(sorted(columns.labels.items())) or None,
    )


def _duplicates(low: array[int], high: array[int]) -> int:
    """Return how many digests, each given as two halves, an earlier one equals."""
    import numpy as np

    halves = [np.frombuffer(half, dtype=np.uint64) for half in (low, high)]
    order = np.lexsort(halves)
    same = np.ones(max(len(order) - 1, 0), dtype=bool)
    for half in halves:
        ordered = half[order]
        same &= ordered[1:] == ordered[:-1]
    return int(same.sum())


def _tokens(counts: Counter[int]) -> Tokens:
    return Tokens(**asdict(lengths_of(counts)), total=sum(length * count for length, count in counts.items()))


def lengths_of(counts: Counter[int]) -> Lengths:
    """Return the figures of lengths, given how many texts have each length; at least one text."""
    texts, at = counts.total(), rank_of(counts)
    return Lengths(
        texts=texts,
        min=min(counts),
        median=(at((texts - 1) // 2) + at(texts // 2)) / 2,
        p95=float(at(nearest_rank(0.95, texts))),
        max=max(counts),
    )


def rank_of(counts: Counter[int]) -> Callable[[int], int]:
    """Return a function that returns the length at an index of all lengths in ascending order."""
    lengths = sorted(counts)
    ends = list(accumulate(counts[length] for length in lengths))
    return lambda index: lengths[bisect_right(ends, index)]


def nearest_rank(quantile: float, count: int) -> int:
    """Return the index that is nearest to a quantile, of ``count`` values in ascending order."""
    return int(quantile * (count - 1) + 0.5)


def _histogram(counts: Counter[int]) -> list[Bin]:
    """Return bins of equal width up to the 99th percentile; the last one takes all longer rows too."""
    if not counts:
        return []
    longest, shortest = max(counts), min(counts)
    # One row of a megabyte would otherwise leave all others in the first bin.
    usual = rank_of(counts)(nearest_rank(0.99, counts.total()))
    # Rounded up, so that there are never more than BINS bins.
    width = max(1, -(-(usual + 1 - shortest) // BINS))
    edges = list(range(shortest, usual + 1, width))
    rows = [0] * len(edges)
    for length, count in counts.items():
        rows[min((length - shortest) // width, len(edges) - 1)] += count
    tops = [edge - 1 for edge in edges[1:]] + [longest]
    return [Bin(low, high, held) for low, high, held in zip(edges, tops, rows, strict=True)]
