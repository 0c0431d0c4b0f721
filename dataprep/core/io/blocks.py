"""Read files as rows, one at a time or in blocks of whole lines.

A block is the unit of work of ``core.parallel``. JSON Lines are cut at newlines without being parsed; the
rows of documents and tables are turned into JSON Lines, so that there is one row path only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from io import RawIOBase
from pathlib import Path
from typing import IO, Any, Literal, cast

from dataprep.core import provenance
from dataprep.core.errors import InputError, Location, RowError, located
from dataprep.core.io.formats import HEAD_BYTES, STDIO, check_head, format_of
from dataprep.core.io.identity import Identity, translated
from dataprep.core.io.part_files import files_of
from dataprep.core.io.paths import is_file
from dataprep.core.io.raw import open_object, open_raw, record_input
from dataprep.core.io.reading import (
    BLOCK_BYTES,
    BOM,
    check_input,
    check_kind,
    open_input,
    read_document,
    read_full,
    read_whole,
)
from dataprep.core.io.stores import changed
from dataprep.core.io.tables.delimited import read_delimited
from dataprep.core.io.tables.parquet import read_parquet
from dataprep.core.jsonl import MAX_LINE, any_line, not_object, parse_row, too_long
from dataprep.core.ledger import advance
from dataprep.core.urls import is_url

_REPORTED = 1024  # rows of a table or a document from one call of `advance` to the next


@dataclass(frozen=True, slots=True)
class Block:
    """Some whole lines of a file: a byte range of it, or the bytes themselves."""

    path: str  # the file, for messages
    start: int = 0  # first byte of the range to read; where `data` begins in a stream
    end: int = 0  # the byte after the range
    data: bytes | None = None
    # A user's name for a line: a line of the file, or a row of a document or table.
    unit: Literal["line", "row"] = "line"
    array: bool = False  # the bytes are not lines but one JSON array, whose items are the rows
    first: bool = False  # it is the first block of its file
    # Number of rows of the file that precede the block, if the engine was asked to count them.
    rows_before: int | None = None
    identity: Identity | None = None  # the file that the range is of
    source: str | None = None  # the file to read, if not `path`: one part of a folder of parts
    # The range is not cut at newlines, and `core.io.chunks.pieces` finds its lines: those whose first byte
    # stands in it. Of a file that cannot be read at an offset, it is the whole file, and `end` is 0.
    ragged: bool = False

    @property
    def file(self) -> str:
        """Return the file that holds the range."""
        return self.source or self.path

    def read(self) -> bytes:
        """Return the block's lines; the last one may lack its newline."""
        assert not self.ragged, "the lines of a ragged block are found by core.io.chunks.pieces"
        if self.data is not None:
            return self.data
        with self._opened() as file:
            return read_full(cast(IO[bytes], file), self.end - self.start)

    def read_into(self, buffer: bytearray) -> memoryview:
        """Return the block's lines, read into a buffer that is large enough."""
        size = self.end - self.start
        view = memoryview(buffer)[:size]
        with self._opened() as file:
            done = 0
            while done < size and (count := file.readinto(view[done:])):
                done += count
        return view

    @contextmanager
    def _opened(self) -> Iterator[RawIOBase]:
        # Each block is read when its turn comes, perhaps by another process: the file is opened once more.
        with translated(self.file), open_raw(self.file, self.identity) as file:
            file.seek(self.start)
            yield file
            if is_url(self.file):  # each range is read only of the object that the identity names
                return
            status = os.fstat(file.fileno())
            if self.identity is not None:
                self.identity.check(self.file, status)
            if status.st_size < self.end:
                raise changed(self.file)


# The size of ragged blocks, if `core.io.chunks.in_chunks` asks for them in place of whole lines.
ragged_bytes: ContextVar[int] = ContextVar("ragged_bytes", default=0)


def read_blocks(
    path: str, size: int = BLOCK_BYTES, *, arrays: bool = False, growing: bool = False
) -> Iterator[Block]:
    """Cut a JSON Lines file at newlines into blocks of about ``size`` bytes.

    A plain file gives byte ranges, which any process can read; standard input and compressed files give
    the bytes. A byte order mark at the beginning is not part of the first line. A line much longer than
    ``MAX_LINE`` ends the blocks: it is the last line of the last one, and is not whole.

    A file of another kind is an error; with ``arrays`` a JSON array is not one. A range of a file that was
    changed since cannot be read. With ``growing`` others may append to it, as ``generate`` appends to its
    journal; the lines that were there at the beginning are read.
    """
    check_kind(path, arrays=arrays)
    record_input(path)
    first = True
    for part in files_of(path):
        for block in _blocks_of(path, part, size, arrays, growing):
            yield block if block.first == first else replace(block, first=first)
            first = False


def _blocks_of(path: str, part: str, size: int, arrays: bool, growing: bool) -> Iterator[Block]:
    """Yield the blocks of a file, which is ``path`` or one part of it."""
    ragged, is_lines = ragged_bytes.get(), part != STDIO and format_of(part).is_plain_lines
    if is_url(part):
        if ragged:
            with open_object(part) as reader:
                seen = Identity.of_object(reader.stat)
            whole = Block(path, ragged=True, first=True, identity=seen)
            cut = _ragged(path, ragged, seen) if is_lines else iter([whole])
            yield from cut if part == path else (replace(block, source=part) for block in cut)
            return
    elif is_lines:
        with translated(part), open(part, "rb", buffering=0) as file:
            # Ranges only make sense in a regular file: a pipe named like one can be read once.
            identity = Identity.of(os.fstat(file.fileno()))
            if identity is not None:
                identity = identity.growing() if growing else identity
                cut = _ragged(path, ragged, identity) if ragged else _ranges(path, file, size, identity)
                yield from cut if part == path else (replace(block, source=part) for block in cut)
                return
    if ragged and not is_lines and not is_url(part) and is_file(part):
        # One task decompresses the whole of it, so that several files are worked on at once.
        yield Block(path, ragged=True, first=True, identity=Identity.at(part))
        return
    with open_input(part) as stream:
        yield from stream_blocks(path, stream, size, arrays)


def read_row_blocks(
    path: str, items: Callable[[Any], Iterator[Any]] | None = None, delimiter: str | None = None
) -> Iterator[Block]:
    """Read a file of any format as blocks of JSON Lines; standard input must be JSON Lines.

    Args:
        path: the file.
        items: yields the rows of a JSON document. By default they are as in ``read_items``.
        delimiter: as in ``read_items``.
    """
    kind = format_of(path).kind
    document = read_document(path) if kind == "json" else None
    if document is not None:
        yield from row_blocks(path, _items_of(path, document) if items is None else items(document))
    elif kind in ("json", "jsonl"):
        yield from read_blocks(path)
    else:
        yield from row_blocks(path, (row for _, row in read_items(path, delimiter=delimiter)))


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


def array_block(path: str) -> Block:
    """Return a ``.json`` file that holds an array as one block of its items."""
    check_kind(path)
    if format_of(path).compression:
        with open_input(path) as stream:
            return Block(path, data=read_whole(path, stream), unit="row", array=True, first=True)
    check_input(path)
    if is_url(path):
        with open_object(path) as reader:
            identity = Identity.of_object(reader.stat)
            return Block(path, 0, identity.size, unit="row", array=True, first=True, identity=identity)
    provenance.read(path)
    status = Path(path).stat()
    return Block(path, 0, status.st_size, unit="row", array=True, first=True, identity=Identity.of(status))


def _ragged(path: str, size: int, identity: Identity) -> Iterator[Block]:
    for start in range(0, identity.size, size):
        end = min(start + size, identity.size)
        yield Block(path, start, end, first=not start, identity=identity, ragged=True)


def _ranges(path: str, file: IO[bytes], size: int, identity: Identity) -> Iterator[Block]:
    begin = start = len(BOM) if file.read(len(BOM)) == BOM else 0
    length = identity.size
    while start < length:
        limit = start + size + MAX_LINE  # past it the last line alone is longer than MAX_LINE
        end = after_newline(file, min(start + size, length), length, limit)
        yield Block(path, start, end, first=start == begin, identity=identity)
        # Without this stop, a file of gigabytes without a newline would become one block in memory.
        if end > limit:
            return
        start = end


def after_newline(file: IO[bytes], position: int, length: int, limit: int) -> int:
    """Return the first offset from ``position`` on at which a line begins, or one past ``limit``."""
    if position == length:
        return length
    position -= 1  # a newline just before the position already ends its line
    file.seek(position)
    while position < length:
        piece = file.read(1 << 16)
        newline = piece.find(b"\n")
        if newline >= 0:
            return position + newline + 1
        position += len(piece)
        if position > limit or not piece:
            return position
    return length


def stream_blocks(path: str, stream: IO[bytes], size: int, arrays: bool) -> Iterator[Block]:
    """Cut a stream at newlines into blocks of about ``size`` bytes, which hold their lines."""
    head = read_full(stream, HEAD_BYTES)
    check_head(path, head, format_of(path), arrays=arrays)
    tail, first, start = head.removeprefix(BOM), True, 0
    while piece := stream.read(size):
        cut = piece.rfind(b"\n") + 1
        if cut:
            yield Block(path, start, data=tail + piece[:cut], first=first)
            start += len(tail) + cut
            tail, first = piece[cut:], False
        else:
            tail += piece
            if len(tail) > MAX_LINE + size:
                break
    if tail:
        yield Block(path, start, data=tail, first=first)


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
        check_kind(path)
        with open_input(path) as stream:
            if kind == "parquet":
                rows = read_parquet(path, stream)
            else:
                rows = read_delimited(path, stream, "\t" if kind == "tsv" else ",", given=delimiter)
            # A table's rows are counted, not its lines: a quoted cell may hold newlines, and the same rows
            # have the same numbers as Parquet. Closed before the stream is, which the reader detaches from
            # when a caller stops after the first row.
            with closing(rows):
                for number, row in enumerate(rows, 1):
                    if not number % _REPORTED:
                        advance("rows read", _REPORTED)
                    yield Location(path, number, "row"), row
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
