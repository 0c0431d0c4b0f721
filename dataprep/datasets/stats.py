"""Describe files of rows: rows by source, lengths by role, exact duplicates."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from dataprep.core import io as files
from dataprep.core.errors import InputError, RowError, UsageError, located
from dataprep.core.records import describe

if TYPE_CHECKING:
    import polars as pl

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
        tokens: tokens by role or field, if a tokenizer was given.
        tokens_by_source: tokens of whole rows' texts by source, if a tokenizer was given.
    """

    rows: int
    sources: dict[str, int]
    characters: dict[str, Lengths]
    duplicates: int
    histogram: list[Bin]
    tokens: dict[str, Tokens] | None = None
    tokens_by_source: dict[str, Tokens] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the figures as a JSON object."""
        return {key: value for key, value in asdict(self).items() if value is not None}


class _Columns:
    """Take rows one at a time and keep a few numbers of each."""

    # Arrays, not lists of numbers: about 28 bytes a row and 5 for each text (5 more with a tokenizer), so
    # that tens of millions of rows fit into memory.

    def __init__(self, encode: Encode | None = None) -> None:
        self.encode = encode
        self.sources: dict[str, int] = {}
        self.source_of = array("I")
        self.length_of = array("I")
        self.digests = (array("Q"), array("Q"))
        self.lengths: dict[str, array[int]] = defaultdict(lambda: array("I"))
        self.tokens: dict[str, array[int]] = defaultdict(lambda: array("I"))
        self.tokens_of = array("I")

    def add(self, row: Mapping[str, Any], default_source: str) -> None:
        total = tokens = 0
        for role, text in _texts_of(row):
            self.lengths[role].append(len(text))
            total += len(text)
            if self.encode is not None:
                count = len(self.encode(text))
                self.tokens[role].append(count)
                tokens += count
        # Sources become numbers, because there are few of them and many rows.
        source = str(row.get("source") or default_source)
        self.source_of.append(self.sources.setdefault(source, len(self.sources)))
        self.length_of.append(total)
        self.tokens_of.append(tokens)
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


def _texts_of(row: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Return the texts of a row by role (chat rows) or by field (other rows)."""
    messages = row.get("messages")
    if messages is None:
        return [(name, text) for name, text in row.items() if isinstance(text, str)]
    if not isinstance(messages, list):
        raise RowError("'messages' is not a list", f"found {describe(messages)}")
    texts = []
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise RowError("malformed message", f"found {describe(message)}; try `dataprep validate`")
        texts.append((str(message.get("role")), message["content"]))
    return texts


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
        before = len(columns.length_of)
        name = files.printable(path)
        for where, row in files.read_rows(path):
            with located(where):
                columns.add(row, name)
        if len(columns.length_of) == before:
            raise InputError(path, "the file is empty; expected rows")
    return _figures(columns)


def _figures(columns: _Columns) -> Stats:
    import polars as pl

    low, high = columns.digests
    data = {"source": columns.source_of, "length": columns.length_of, "low": low, "high": high}
    schema = {"source": pl.UInt32, "length": pl.UInt32, "low": pl.UInt64, "high": pl.UInt64}
    frame = pl.DataFrame({name: pl.Series(values, dtype=schema[name]) for name, values in data.items()})
    # polars counts and sorts columns of numbers; names come in again at the end.
    names = list(columns.sources)
    counts = frame.group_by("source").len().sort("len", "source", descending=[True, False])
    tokens = tokens_by_source = None
    if columns.encode is not None:
        tokens = {role: _tokens(values) for role, values in columns.tokens.items()}
        tokens_of = pl.Series(columns.tokens_of, dtype=pl.UInt32)
        tokens_by_source = {
            names[source]: _tokens(tokens_of.filter(frame["source"] == source)) for source in counts["source"]
        }
    return Stats(
        rows=frame.height,
        sources={names[source]: count for source, count in counts.iter_rows()},
        characters={role: _lengths(values) for role, values in columns.lengths.items()},
        duplicates=frame.height - frame.select("low", "high").n_unique() if frame.height else 0,
        histogram=_histogram(frame["length"]),
        tokens=tokens,
        tokens_by_source=tokens_by_source,
    )


def _tokens(values: array[int] | pl.Series) -> Tokens:
    return Tokens(**asdict(_lengths(values)), total=sum(values))


def _lengths(values: array[int] | pl.Series) -> Lengths:
    import polars as pl

    figures = pl.DataFrame({"n": pl.Series(values, dtype=pl.UInt32)}).select(
        texts=pl.len(),
        min=pl.col("n").min(),
        median=pl.col("n").median(),
        p95=pl.col("n").quantile(0.95, interpolation="nearest"),
        max=pl.col("n").max(),
    )
    return Lengths(**figures.row(0, named=True))


def _histogram(lengths: pl.Series) -> list[Bin]:
    """Return bins of equal width up to the 99th percentile; the last one takes all longer rows too."""
    if lengths.is_empty():
        return []
    longest, shortest = int(lengths.max()), int(lengths.min())  # type: ignore[arg-type]
    # One row of a megabyte would otherwise leave all others in the first bin.
    usual = int(lengths.quantile(0.99, interpolation="nearest") or 0)
    # Rounded up, so that there are never more than BINS bins.
    width = max(1, -(-(usual + 1 - shortest) // BINS))
    edges = list(range(shortest, usual + 1, width))
    tops = [edge - 1 for edge in edges[1:]] + [longest]
    return [
        Bin(low, high, int(lengths.is_between(low, high).sum()))
        for low, high in zip(edges, tops, strict=True)
    ]
