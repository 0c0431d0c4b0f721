"""Reading: lines and blocks of JSON Lines, whole JSON documents, and rows of any format."""

from __future__ import annotations

import io
import mmap
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

import orjson

from dataprep.core.errors import FileError, InputError, Location, located
from dataprep.core.io.formats import STDIO, decompressing, decompression_errors, format_of
from dataprep.core.io.tables import read_delimited, read_parquet
from dataprep.core.jsonl import MAX_LINE, not_object, parse_line, too_long

BLOCK_BYTES = 1 << 19  # small enough for the processor's cache, large enough to forget the overhead
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Block:
    """Some whole lines of a file: a byte range of it, or the bytes themselves.

    Attributes:
        path: the file, for messages.
        start, end: the byte range to read where ``data`` is ``None``.
        data: the lines.
        unit: what a line is to a user: a ``"line"`` of the file, or a ``"row"`` of a document or table.
        array: the bytes are no lines, but one JSON array, whose items are the rows.
        first: it is the first block of its file.
        rows_before: number of rows of the file that precede the block, if the engine was asked to count them.
    """

    path: str
    start: int = 0
    end: int = 0
    data: bytes | None = None
    unit: Literal["line", "row"] = "line"
    array: bool = False
    first: bool = False
    rows_before: int | None = None

    def mapped(self) -> memoryview:
        """The same bytes as ``read``, without a copy where they lie in a file: mapped from it."""
        if self.data is not None or self.start == self.end:
            return memoryview(self.data or b"")
        with _translated(self.path), open(self.path, "rb", buffering=0) as file:
            base = self.start - self.start % mmap.ALLOCATIONGRANULARITY
            length = self.end - base
            if os.fstat(file.fileno()).st_size < self.end:
                raise InputError(self.path, "the file shrank while it was read")
            view = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ, offset=base)
        return memoryview(view)[self.start - base :]

    def read(self) -> bytes:
        """The block's lines, the last one with or without its newline."""
        if self.data is not None:
            return self.data
        with _translated(self.path), open(self.path, "rb", buffering=0) as file:
            file.seek(self.start)
            data = _read_full(file, self.end - self.start)
        if len(data) < self.end - self.start:
            raise InputError(self.path, "the file shrank while it was read")
        return data


def check_input(path: str) -> None:
    """Raise ``FileError`` unless ``path`` is ``-`` or a file that can be opened for reading."""
    if path != STDIO:
        with _translated(path), open(path, "rb"):
            pass


@contextmanager
def _translated(path: str) -> Iterator[None]:
    """Operating system and decompression errors as dataprep's own, with the path."""
    try:
        yield
    except FileError:
        raise
    except FileNotFoundError:
        raise FileError(path, "no such file") from None
    except IsADirectoryError:
        raise FileError(path, "is a directory; expected a file") from None
    except OSError as error:
        if isinstance(error, decompression_errors()):
            raise InputError(path, _damaged(error)) from None
        raise FileError(path, f"cannot be read: {error.strerror or error}") from None
    except decompression_errors() as error:
        raise InputError(path, _damaged(error)) from None


def _damaged(error: Exception) -> str:
    return f"the compressed data is cut short or damaged ({error}); fetch or write the file again"


@contextmanager
def open_input(path: str) -> Iterator[IO[bytes]]:
    """The bytes of a file (decompressed) or of standard input (``-``), as a binary stream.

    Raises:
        FileError: the file cannot be opened or read.
        InputError: compressed data is cut short or damaged.
    """
    with _translated(path):
        if path == STDIO:
            yield sys.stdin.buffer
            return
        with open(path, "rb", buffering=0) as file:
            # Opening a directory fails on its own everywhere but for reading on some systems.
            if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
                raise IsADirectoryError
            with decompressing(file, format_of(path).compression) as stream:
                yield stream


def read_blocks(path: str, size: int = BLOCK_BYTES) -> Iterator[Block]:
    """A JSON Lines file as blocks of about ``size`` bytes, cut at newlines, in order.

    A plain file gives byte ranges, which any process can read; standard input and compressed files give
    the bytes. A byte order mark at the beginning is no part of the first line. A line much longer than
    ``MAX_LINE`` ends the blocks: it is the last one's last line, and not whole.

    Raises:
        FileError: the file cannot be opened or read.
        InputError: compressed data is cut short or damaged.
    """
    if path != STDIO and format_of(path).is_plain_lines:
        with _translated(path), open(path, "rb", buffering=0) as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                yield from _ranges(path, file, size)
                return
    with open_input(path) as stream:
        yield from _stream_blocks(path, stream, size)


def array_block(path: str) -> Block:
    """A ``.json`` file that holds an array, as one block of its items.

    Raises:
        FileError: the file cannot be opened or read.
        InputError: compressed data is cut short or damaged.
    """
    if format_of(path).compression:
        with open_input(path) as stream:
            return Block(path, data=stream.read(), unit="row", array=True, first=True)
    check_input(path)
    return Block(path, 0, Path(path).stat().st_size, unit="row", array=True, first=True)


def _ranges(path: str, file: IO[bytes], size: int) -> Iterator[Block]:
    begin = start = len(BOM) if file.read(len(BOM)) == BOM else 0
    length = os.fstat(file.fileno()).st_size
    while start < length:
        limit = start + size + MAX_LINE  # past it the last line alone is longer than MAX_LINE
        end = _after_newline(file, min(start + size, length), length, limit)
        yield Block(path, start, end, first=start == begin)
        if end > limit:
            return
        start = end


def _after_newline(file: IO[bytes], position: int, length: int, limit: int) -> int:
    """The first place at or after ``position`` that a line begins, or where it is past ``limit``."""
    if position == length:
        return length
    position -= 1  # a newline just before the position already ends its line
    file.seek(position)
    while position < length:
        piece = file.read(1 << 16)
        if not piece or (found := piece.find(b"\n")) < 0:
            position += len(piece)
            if position > limit or not piece:
                return position
            continue
        return position + found + 1
    return length


def _stream_blocks(path: str, stream: IO[bytes], size: int) -> Iterator[Block]:
    head = _read_full(stream, len(BOM))
    tail, first = b"" if head == BOM else head, True
    while piece := stream.read(size):
        cut = piece.rfind(b"\n") + 1
        if cut:
            yield Block(path, data=tail + piece[:cut], first=first)
            tail, first = piece[cut:], False
        else:
            tail += piece
            if len(tail) > MAX_LINE + size:
                break
    if tail:
        yield Block(path, data=tail, first=first)


def _read_full(stream: IO[bytes], size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := stream.read(size - len(data))):
        data += piece
    return data


def read_lines(path: str) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not blank, numbered from 1, without their newlines.

    Raises:
        FileError: the file cannot be opened or read.
        InputError: compressed data is cut short, or a line is longer than ``MAX_LINE``.
    """
    number = 0
    for block in read_blocks(path):
        lines = block.read().split(b"\n")
        if not lines[-1]:
            lines.pop()
        for line in lines:
            number += 1
            if len(line) > MAX_LINE:
                raise too_long(path, number)
            if line.strip():
                yield number, line


def read_text(path: str) -> str:
    """The whole of a small text file, as UTF-8.

    Raises:
        FileError: the file cannot be opened or read.
        InputError: it is not UTF-8.
    """
    with _translated(path):
        data = Path(path).read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(path, f"not UTF-8: byte 0x{data[error.start]:02x} at {error.start}") from None


def read_document(path: str) -> Any | None:
    """The JSON document in a ``.json`` file; ``None`` where the file holds JSON Lines instead.

    Raises:
        FileError: the file cannot be opened or read.
        InputError: the file is empty, not UTF-8 or not JSON.
    """
    with open_input(path) as stream:
        buffered = io.BufferedReader(cast(io.RawIOBase, stream), BLOCK_BYTES)
        data = _next_line(buffered).removeprefix(BOM)
        if data.isspace():
            data = _next_line(buffered)
        if _is_row(data) and _next_line(buffered):
            return None
        data += buffered.read()
        buffered.detach()
    if not data.strip():
        raise InputError(path, "the file is empty; expected a JSON document")
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _broken_document(path, data, error) from None


def _next_line(stream: IO[bytes]) -> bytes:
    """The next line that is not blank, or as much of it as a line may have."""
    line = stream.readline(MAX_LINE)
    while line.isspace():
        line = stream.readline(MAX_LINE)
    return line


def _broken_document(path: str, data: bytes, error: orjson.JSONDecodeError) -> InputError:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as wrong:
        number = data.count(b"\n", 0, wrong.start) + 1
        return InputError(f"{path}:{number}", f"not UTF-8: found byte 0x{data[wrong.start]:02x}")
    if error.pos >= len(text.rstrip()):
        return InputError(f"{path}:{error.lineno}", "the JSON document is cut short")
    reason = error.msg.partition(": line ")[0]
    found = text[error.pos :][:30]
    return InputError(f"{path}:{error.lineno}", f"not JSON: {reason} at column {error.colno}: …{found!r}")


def _is_row(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict | str)
    except orjson.JSONDecodeError:
        return False


def open_mapped(path: str) -> mmap.mmap | bytes:
    """A plain file's bytes, mapped into memory for reading at any place.

    Raises:
        FileError: the file cannot be opened or mapped.
    """
    with _translated(path), open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return b""  # an empty file cannot be mapped
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def open_whole(path: str) -> mmap.mmap | bytes:
    """A file's bytes, to be read at any place: mapped where it is plain, else decompressed into memory.

    Raises:
        FileError: the file cannot be opened or read.
        InputError: compressed data is cut short or damaged.
    """
    if path != STDIO and not format_of(path).compression and Path(path).is_file():
        return open_mapped(path)
    with open_input(path) as stream:
        return stream.read()


def read_items(path: str) -> Iterator[tuple[Location, bytes | Any]]:
    """Read a file of any format, with the place of each row.

    A ``.json`` file may hold an array of rows, one row, or JSON Lines.

    Yields:
        The row's place, and the row: a line of JSON Lines as it stands in the file, for the caller to
        parse; else the parsed value, which in an array need not be an object.

    Raises:
        FileError: the file cannot be opened or read.
        InputError: the file as a whole is damaged.
    """
    kind = format_of(path).kind
    document = read_document(path) if kind == "json" else None
    if document is not None:
        for number, value in enumerate(document if isinstance(document, list) else [document], 1):
            yield Location(path, number, "row"), value
    elif kind in ("json", "jsonl"):
        for number, line in read_lines(path):
            yield Location(path, number), line
    else:
        with open_input(path) as stream:
            if kind == "parquet":
                rows = read_parquet(path, stream)
            else:
                rows = read_delimited(path, stream, "\t" if kind == "tsv" else ",")
            # A table's rows are counted, not its lines: a quoted cell may hold newlines, and the same rows
            # have the same numbers as Parquet. Closed before the stream is, which the reader detaches from
            # when a caller stops after the first row.
            with closing(rows):
                for number, row in enumerate(rows, 1):
                    yield Location(path, number, "row"), row


def read_rows(path: str) -> Iterator[tuple[Location, dict[str, Any]]]:
    """Read the rows of a file of any format.

    A ``.json`` file may hold an array of rows, one row, or JSON Lines.

    Yields:
        The row's place, ``(path, number, unit)``, which prints as ``path:line`` or ``path: row N``; and
        the row.

    Raises:
        FileError: the file cannot be opened or read.
        InputError: a row cannot be read, with its place.
    """
    for where, item in read_items(path):
        with located(where):
            row = parse_line(item) if type(item) is bytes else item
            if type(row) is not dict:
                raise not_object(row)
        yield where, row
