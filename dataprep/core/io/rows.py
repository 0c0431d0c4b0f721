"""Read files of any format as rows: one at a time, or in blocks of JSON Lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

from dataprep.core import provenance
from dataprep.core.errors import InputError, Location, RowError, located
from dataprep.core.io.blocks import Block, Form, ragged_bytes, read_blocks
from dataprep.core.io.formats import format_of
from dataprep.core.io.identity import Identity
from dataprep.core.io.paths import is_file, size_of
from dataprep.core.io.raw import record_input
from dataprep.core.io.reading import check_kind, is_document, open_input, read_document
from dataprep.core.io.tables.delimited import read_delimited
from dataprep.core.io.tables.parquet import parquet_rows, read_parquet
from dataprep.core.jsonl import MAX_LINE, any_line, not_object, parse_row, too_long
from dataprep.core.ledger import advance
from dataprep.core.urls import is_url

_REPORTED = 1024  # rows of a table or a document from one call of `advance` to the next


def read_row_blocks(
    path: str, items: Callable[[Any], Iterator[Any]] | None = None, delimiter: str | None = None
) -> Iterator[Block]:
    """Read a file of any format as blocks of JSON Lines; standard input must be JSON Lines.

    Args:
        path: the file.
        items: yields the rows of a JSON document. By default they are as in ``read_items``.
        delimiter: as in ``read_items``.
    """
    kind, form = format_of(path).kind, Form(items, delimiter)
    ragged = ragged_bytes.get()
    if ragged and is_file(path) and kind != "jsonl" and (kind != "json" or is_document(path)):
        # Whoever works on it reads it.
        check_kind(path)
        record_input(path)
        identity = Identity.at(path)
        for part in [form] if kind != "parquet" else _ranges_of_rows(path, ragged, form):
            yield Block(path, unit="row", ragged=True, first=not part.begin, identity=identity, form=part)
        return
    yield from blocks_of_rows(path, form)


def blocks_of_rows(path: str, form: Form) -> Iterator[Block]:
    """Read the rows of a file of any format as blocks of JSON Lines, or blocks of its lines."""
    kind = format_of(path).kind
    document = read_document(path) if kind == "json" else None
    if document is not None:
        yield from row_blocks(path, _items_of(path, document) if form.items is None else form.items(document))
    elif kind in ("json", "jsonl"):
        yield from read_blocks(path)
    else:
        yield from row_blocks(path, (row for _, row in _table_rows(path, form)))


def _ranges_of_rows(path: str, size: int, form: Form) -> Iterator[Form]:
    """Divide the rows of a Parquet file so that about ``size`` bytes of it are read for each part."""
    rows = None if is_url(path) or format_of(path).compression else parquet_rows(path)
    count = None if rows is None else max(1, rows * size // max(size_of(path), 1))
    if rows is None or count is None or count >= rows:
        yield form
        return
    for begin in range(0, rows, count):
        yield replace(form, begin=begin, count=count)


def row_blocks(path: str, rows: Iterable[Any], count: int = 256, *, given: bool = False) -> Iterator[Block]:
    """Turn rows into blocks of ``count`` lines of JSON; ``given`` rows can have any values of Python."""
    dump: Callable[[Any], bytes] = any_line
    if given:
        from dataprep.core.io.tables.values import dump_row as dump
    lines: list[bytes] = []
    done, first = 0, True
    try:
        for row in rows:
            lines.append(dump(row))
            if len(lines) == count:
                yield Block(path, data=b"\n".join(lines), unit="row", first=first)
                lines, first = [], False
                done += count
    except RowError as error:
        where = Location(path, done + len(lines) + 1, "row")
        raise InputError(where if given else path, str(error)) from None
    if lines:
        yield Block(path, data=b"\n".join(lines), unit="row", first=first)


def read_lines(path: str, *, growing: bool = False) -> Iterator[tuple[int, bytes]]:
    """Read the lines of a file that are not blank, each with its number; blank lines count too."""
    number = 0
    for block in read_blocks(path, growing=growing):
        data = block.read()
        advance("bytes read", len(data))
        lines = data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        for line in lines:
            number += 1
            if len(line) > MAX_LINE:
                raise too_long(path, number)
            if line.strip():
                yield number, line


# Names under which documents wrap the list of their rows: `{"version": …, "data": […]}`.
_WRAPPERS = ("data", "rows", "examples", "questions", "items", "instances", "records", "samples")


def rows_in(document: Any) -> list[Any] | None:
    """Return the rows of a JSON document that is a list of them or wraps one; ``None`` for another one."""
    if isinstance(document, list):
        return document
    if not isinstance(document, dict) or "question" in document:
        return None
    lists: dict[str, list[Any]] = {
        name: document[name] for name in _WRAPPERS if _holds_rows(document.get(name))
    }
    # Taking one of them would leave out the rows of the others.
    if len(lists) > 1:
        found = f"found rows in {' and '.join(map(repr, lists))}"
        raise RowError(
            "several lists of rows", f"{found}; expected one list: write each to a file of its own"
        )
    return next((list(map(_shown, rows)) for rows in lists.values()), None)


def _holds_rows(value: Any) -> bool:
    # SQuAD's list of articles has its rows further inside.
    return (
        isinstance(value, list)
        and bool(value)
        and isinstance(value[0], dict)
        and "paragraphs" not in value[0]
    )


def _shown(row: Any) -> Any:
    """Return the row that the hub's viewer gives as ``{"row_idx": 0, "row": {…}, "truncated_cells": []}``."""
    if not isinstance(row, dict) or "row_idx" not in row:
        return row
    if cells := row.get("truncated_cells"):
        found = f"the viewer shortened {', '.join(map(repr, cells))} of the row with row_idx {row['row_idx']}"
        raise RowError("truncated cells", f"{found}; download the dataset's files")
    return row["row"]


def _items_of(path: str, document: Any) -> list[Any]:
    try:
        rows = rows_in(document)
    except RowError as error:
        raise InputError(path, str(error)) from None
    return [document] if rows is None else rows


def read_items(
    path: str, *, delimiter: str | None = None, growing: bool = False
) -> Iterator[tuple[Location, bytes | Any]]:
    """Read a file of any format, with the place of each row.

    A ``.json`` file may hold a list of rows, also inside an object such as ``{"data": […]}``, one row, or
    JSON Lines. A line of JSON Lines comes as bytes, for the caller to parse; any other row as a parsed value,
    which in a list need not be an object. ``delimiter`` separates the cells of a ``.csv`` or ``.tsv`` file,
    in place of its own.
    """
    kind = format_of(path).kind
    document = read_document(path) if kind == "json" else None
    number = 0
    if document is not None:
        for number, value in enumerate(_items_of(path, document), 1):
            if not number % _REPORTED:
                advance("rows read", _REPORTED)
            yield Location(path, number, "row"), value
        provenance.count(path, number)
    elif kind in ("json", "jsonl"):
        for place, line in read_lines(path, growing=growing):
            number += 1
            yield Location(path, place), line
        provenance.count(path, number)
    else:
        yield from _table_rows(path, Form(delimiter=delimiter))


def _table_rows(path: str, form: Form) -> Iterator[tuple[Location, dict[str, Any]]]:
    kind = format_of(path).kind
    check_kind(path)
    with open_input(path) as stream:
        if kind == "parquet":
            rows = read_parquet(path, stream, form.begin, form.count)
        else:
            rows = read_delimited(path, stream, "\t" if kind == "tsv" else ",", given=form.delimiter)
        number = form.begin
        # A table's rows are counted, not its lines: a quoted cell may hold newlines, and the same rows have
        # the same numbers as Parquet. Closed before the stream is, which the reader detaches from when a
        # caller stops after the first row.
        with closing(rows):
            for number, row in enumerate(rows, form.begin + 1):
                if not number % _REPORTED:
                    advance("rows read", _REPORTED)
                yield Location(path, number, "row"), row
        if form.count is None:
            provenance.count(path, number)


def read_rows(path: str, *, growing: bool = False) -> Iterator[tuple[Location, dict[str, Any]]]:
    """Read the rows of a file of any format.

    Args:
        path: the file; ``-`` is standard input.
        growing: others may append lines meanwhile. Otherwise a file that is changed is an error.

    Yields:
        The row's place, ``(path, number, unit)``, which prints as ``path:line`` or ``path: row N``; and
        the row.

    Raises:
        FileError: the file cannot be opened or read.
        InputError: a row cannot be read, with its place; or the file was changed while it was read.
    """
    for where, item in read_items(path, growing=growing):
        try:  # a context manager for each row would cost more than parsing it
            row = parse_row(item) if type(item) is bytes else item
            if type(row) is not dict:
                raise not_object(row)
        except RowError:
            with located(where):
                raise
        yield where, row
