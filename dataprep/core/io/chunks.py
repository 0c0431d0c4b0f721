"""Cut files into chunks of a fixed size without a look at them: the units of work of a run on many machines.

A line belongs to the chunk in which its first byte stands. So the places of the cuts depend on the size of
the file only, and whoever reads a chunk finds its lines with two short reads, at its beginning and its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, cast

from dataprep.core.errors import FileError, InputError
from dataprep.core.io.blocks import Block, Form, after_newline, ragged_bytes, stream_blocks
from dataprep.core.io.identity import translated
from dataprep.core.io.part_files import chunk_bytes
from dataprep.core.io.raw import open_raw
from dataprep.core.io.reading import BLOCK_BYTES, BOM, open_input, read_full
from dataprep.core.io.rows import blocks_of_rows
from dataprep.core.io.stores import changed, joined, name_of
from dataprep.core.jsonl import MAX_LINE
from dataprep.core.urls import is_url


@contextmanager
def in_chunks(size: int | None = None) -> Iterator[None]:
    """Make ``read_blocks`` yield ragged blocks of ``size`` bytes, or ``chunk_bytes()``, while inside."""
    token = ragged_bytes.set(size or chunk_bytes())
    try:
        yield
    finally:
        ragged_bytes.reset(token)


def pieces(block: Block, size: int = BLOCK_BYTES) -> Iterator[Block]:
    """Yield the lines of a block as blocks of whole lines, of about ``size`` bytes each if it is ragged.

    Every line of a file is in exactly one of its chunks, whatever their size. A line much longer than
    ``MAX_LINE`` is the last one, and is not whole.
    """
    if not block.ragged:
        yield block
        return
    first = block.first
    cut = _streamed if not block.end else _fetched if is_url(block.file) else _ranges
    with named(block):
        for piece in cut(block, size) if block.form is None else _rows_of(block, block.form):
            yield replace(piece, first=first)
            first = False


def halves(block: Block) -> list[Block]:
    """Return the lines of a block as two blocks; nothing if it has one line, or cannot be divided."""
    if block.data is not None:
        cut = block.data.find(b"\n", len(block.data) // 2) + 1
        if not 0 < cut < len(block.data):
            cut = block.data.rfind(b"\n", 0, len(block.data) - 1) + 1
        if not cut:
            return []
        return [replace(block, data=block.data[:cut]), replace(block, data=block.data[cut:], first=False)]
    if not block.ragged or not block.end:
        return []
    lines = list(pieces(block, 1))  # a look at each line is cheap beside a dead worker
    middle = len(lines) // 2
    if not middle:
        return []
    cut = lines[middle].start
    return [replace(block, end=cut), replace(block, start=cut, first=False)]


@contextmanager
def named(block: Block) -> Iterator[None]:
    """Name the file of a block in errors as the user does; workers know it by its absolute path."""
    name = block.path
    if name_of(block.file) != name_of(name.rstrip("/")):
        name = joined(name, name_of(block.file))  # a part of a folder
    try:
        yield
    except InputError as error:
        if name == block.file or not error.where.startswith(block.file):
            raise
        raise InputError(name + error.where.removeprefix(block.file), error.message) from None
    except FileError as error:
        if name == block.file or error.path != block.file:
            raise
        raise FileError(name, error.message) from None


def _rows_of(block: Block, form: Form) -> Iterator[Block]:
    """Yield the rows of a document or a table, or the lines of a file that is none in spite of its suffix."""
    for given in blocks_of_rows(block.file, form):
        for piece in pieces(given):
            yield replace(piece, path=block.path, source=block.file if piece.data is None else None)
    if block.identity is not None:
        block.identity.check(block.file)


def _streamed(block: Block, size: int) -> Iterator[Block]:
    with open_input(block.file) as stream:
        yield from stream_blocks(block.path, stream, size, arrays=False)
    if block.identity is not None:
        block.identity.check(block.file)


def _fetched(block: Block, size: int) -> Iterator[Block]:
    """Yield the lines of a chunk of an object with their bytes, so that each byte is asked for once."""
    with translated(block.file), open_raw(block.file, block.identity, until=block.end) as raw:
        file = cast(IO[bytes], raw)
        begin = _begin(file, block)
        file.seek(begin)
        position, tail = begin, b""
        while position < block.end:
            piece = read_full(file, min(size, block.end - position))
            if not piece:
                raise changed(block.file)
            position += len(piece)
            tail += piece
            cut = tail.rfind(b"\n") + 1
            if cut or len(tail) > MAX_LINE + size:
                yield replace(block, data=tail[: cut or None], start=begin, end=0, ragged=False)
                begin, tail = begin + (cut or len(tail)), tail[cut:]
                if not cut:
                    return
        if tail:
            # The line that begins last in the chunk ends behind it.
            length = block.identity.size if block.identity else file.seek(0, 2)
            end = after_newline(file, position, length, position + size + MAX_LINE)
            file.seek(position)
            tail += read_full(file, end - position)
            yield replace(block, data=tail, start=begin, end=0, ragged=False)


def _begin(file: IO[bytes], block: Block) -> int:
    """Return where the first line of a chunk begins."""
    if block.start:
        # Only within the chunk: a line that ends behind it begins in an earlier one.
        return after_newline(file, block.start, block.end, block.end)
    return len(BOM) if file.read(len(BOM)) == BOM else 0


def _ranges(block: Block, size: int) -> Iterator[Block]:
    with translated(block.file), open_raw(block.file, block.identity) as raw:
        file = cast(IO[bytes], raw)
        length = block.identity.size if block.identity else file.seek(0, 2)
        start = _begin(file, block)
        if start >= block.end and file.seek(0, 2) < length:
            raise changed(block.file)
        while start < block.end:
            limit = start + size + MAX_LINE
            end = after_newline(file, min(start + size, block.end), length, limit)
            yield replace(block, start=start, end=end, ragged=False)
            if end > limit:
                return
            start = end
