"""Read files as rows, one at a time or in blocks of whole lines.

A block is the unit of work of ``core.parallel``. JSON Lines are cut at newlines without being parsed; the
rows of documents and tables are turned into JSON Lines, so that there is one row path only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from io import RawIOBase
from pathlib import Path
from typing import IO, Any, Literal, cast

from dataprep.core import provenance
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
    read_full,
    read_whole,
)
from dataprep.core.io.stores import changed
from dataprep.core.jsonl import MAX_LINE
from dataprep.core.urls import is_url


@dataclass(frozen=True, slots=True)
class Form:
    """A way to read the rows of a document or a table; see ``read_row_blocks``. Picklable if ``items`` is."""

    items: Callable[[Any], Iterator[Any]] | None = None
    delimiter: str | None = None
    # Of Parquet, some rows of a file can be read alone: the first of them, and their number.
    begin: int = 0
    count: int | None = None


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
    form: Form | None = None  # the rows of a ragged block are those of a document or a table

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
