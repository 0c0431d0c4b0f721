"""Open inputs, and read texts and JSON documents whole."""

from __future__ import annotations

import io
import mmap
import os
import stat
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import orjson

from dataprep.core.errors import FileError, InputError, UsageError
from dataprep.core.io.formats import (
    HEAD_BYTES,
    STDIO,
    check_compressed,
    check_head,
    decompressing,
    decompression_errors,
    format_of,
)
from dataprep.core.jsonl import MAX_LINE, check_document

BLOCK_BYTES = 1 << 19  # small enough for the processor's cache, large enough to forget the overhead
BOM = b"\xef\xbb\xbf"


def check_input(path: str) -> None:
    """Raise ``FileError`` unless ``path`` is ``-`` or a file that can be opened for reading."""
    if path != STDIO:
        with translated(path), open(path, "rb"):
            pass


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn errors of the operating system and of decompression into dataprep's own, with the path."""
    try:
        yield
    except FileError:
        raise
    except FileNotFoundError:
        raise FileError(path, "no such file") from None
    except IsADirectoryError:
        raise FileError(path, "is a directory; expected a file") from None
    except OSError as error:
        # Some decompressors' errors are OSErrors too: those are the data's fault, not the system's.
        if isinstance(error, decompression_errors()):
            raise InputError(path, _damaged(error)) from None
        raise FileError(path, f"cannot be read: {error.strerror or error}") from None
    except decompression_errors() as error:
        raise InputError(path, _damaged(error)) from None


def _damaged(error: Exception) -> str:
    return f"the compressed data is cut short or damaged ({error}); fetch or write the file again"


@contextmanager
def open_input(path: str) -> Iterator[IO[bytes]]:
    """Open a file (decompressed) or standard input (``-``) as a binary stream."""
    with translated(path):
        if path == STDIO:
            yield _standard_input()
            return
        with open(path, "rb", buffering=0) as file:
            # Python refuses to open a directory on most systems, but some only fail at the first read.
            if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
                raise IsADirectoryError
            compression = format_of(path).compression
            if compression and stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                check_compressed(path, read_full(file, HEAD_BYTES), compression)
                file.seek(0)
            with decompressing(file, compression) as stream:
                yield stream


_read: weakref.ref[Any] | None = None  # the standard input that was read last


def _standard_input() -> IO[bytes]:
    global _read  # noqa: PLW0603 - there is one standard input
    stream = sys.stdin.buffer
    # A second reader would find it empty, and say that of a file that is not.
    if _read is not None and _read() is stream:
        raise UsageError(
            "-: standard input can be read once, and is read twice; write its rows to a file first"
        )
    _read = weakref.ref(stream)
    return cast(IO[bytes], stream)


def check_kind(path: str, *, arrays: bool = False) -> None:
    """Raise ``InputError`` if a regular file is of another kind than its name says; see ``check_head``."""
    if path != STDIO and Path(path).is_file():
        with open_input(path) as stream:
            head = read_full(stream, HEAD_BYTES)
        check_head(path, head, format_of(path), arrays=arrays)


def read_full(stream: IO[bytes], size: int) -> bytes:
    """Read ``size`` bytes, or as many as there are; a pipe may give fewer at a time."""
    data = b""
    while len(data) < size and (piece := stream.read(size - len(data))):
        data += piece
    return data


def read_text(path: str) -> str:
    """Read the whole of a small text file, in UTF-8."""
    with translated(path):
        data = Path(path).read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(path, f"not UTF-8: byte 0x{data[error.start]:02x} at {error.start}") from None


def read_document(path: str) -> Any | None:
    """Read the JSON document in a ``.json`` file; ``None`` if it holds JSON Lines in spite of its suffix."""
    check_kind(path)
    with open_input(path) as stream:
        # Several published datasets are JSON Lines in files called .json. A whole row on the first line with
        # a second line after it tells them from a document. One row alone is read as a document of one row.
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
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        # A whole row on another line: these are JSON Lines whose first row is bad.
        lines = data.split(b"\n", 8)
        if data.lstrip()[:1] != b"[" and any(map(_is_row, lines[1:8])):
            return None
        raise _broken_document(path, data, error) from None
    check_document(path, data, document)
    return document


def _next_line(stream: IO[bytes]) -> bytes:
    """Read the next line that is not blank, up to ``MAX_LINE`` bytes of it."""
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
    # orjson puts the place into its message too, counted from 0.
    reason = error.msg.partition(": line ")[0]
    found = text[error.pos :][:30]
    return InputError(f"{path}:{error.lineno}", f"not JSON: {reason} at column {error.colno}: …{found!r}")


def _is_row(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict | str)
    except orjson.JSONDecodeError:
        return False


def open_mapped(path: str) -> mmap.mmap | bytes:
    """Map a plain file into memory, to be read at any offset."""
    with translated(path), open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return b""  # an empty file cannot be mapped
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def open_whole(path: str) -> mmap.mmap | bytes:
    """Open a file to be read at any offset: mapped if it is plain, else decompressed into memory."""
    if path != STDIO and not format_of(path).compression and Path(path).is_file():
        return open_mapped(path)
    with open_input(path) as stream:
        return stream.read()
