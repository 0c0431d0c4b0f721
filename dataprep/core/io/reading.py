"""Open inputs, and read texts and JSON documents whole."""

from __future__ import annotations

import io
import mmap
import os
import stat
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

import orjson

from dataprep.core import provenance
from dataprep.core.errors import InputError, UsageError
from dataprep.core.io.formats import (
    HEAD_BYTES,
    STDIO,
    check_compressed,
    check_head,
    decompressing,
    format_of,
)
from dataprep.core.io.identity import Identity, translated
from dataprep.core.io.part_files import files_of
from dataprep.core.io.paths import is_file
from dataprep.core.io.raw import concatenated, on_disk, open_object, open_raw, record_input
from dataprep.core.io.stores import changed
from dataprep.core.jsonl import MAX_LINE, check_document
from dataprep.core.urls import is_url

BLOCK_BYTES = 1 << 19  # small enough for the processor's cache, large enough to forget the overhead
BOM = b"\xef\xbb\xbf"
MAX_WHOLE = 512 << 20  # bytes of what is read as a whole; parsed, they take several times as much
_PIECE = 16 << 20
_WINDOW = 1 << 15  # a few lines: lines are also looked up in any order


def check_input(path: str) -> None:
    """Raise ``FileError`` unless ``path`` is ``-``, a file or object that is there, or a folder of parts."""
    if path != STDIO:
        for part in files_of(path)[:1]:
            open_raw(part).close()


@contextmanager
def open_input(path: str) -> Iterator[IO[bytes]]:
    """Open a file (decompressed) or standard input (``-``) as a binary stream.

    Raises:
        InputError: at the end, if the file was changed since it was opened.
    """
    record_input(path)
    with translated(path):
        if path == STDIO:
            yield _standard_input()
            return
        if (parts := files_of(path)) != [path]:
            with concatenated(parts) as stream:
                yield stream
            return
        if is_url(path):
            with _object(path) as stream:
                yield stream
            return
        with open(path, "rb", buffering=0) as file:
            # Python refuses to open a directory on most systems, but some only fail at the first read.
            if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
                raise IsADirectoryError
            before = Identity.of(os.fstat(file.fileno()))
            compression = format_of(path).compression
            if compression and before is not None:
                check_compressed(path, read_full(file, HEAD_BYTES), compression)
                file.seek(0)
            with decompressing(file, compression) as stream:
                yield stream
            # By its path, because tables are opened by it once more for each part that is read.
            if before is not None:
                before.check(path)


@contextmanager
def _object(url: str) -> Iterator[IO[bytes]]:
    # Each range is read only of the object that was there at first, so nothing is left to check at the end.
    with cast(IO[bytes], open_object(url)) as reader:
        compression = format_of(url).compression
        if compression:
            check_compressed(url, read_full(reader, HEAD_BYTES), compression)
            reader.seek(0)
        with decompressing(reader, compression) as stream:
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
    if is_file(path):
        with open_input(path) as stream:
            head = read_full(stream, HEAD_BYTES)
        check_head(path, head, format_of(path), arrays=arrays)


def read_full(stream: IO[bytes], size: int) -> bytes:
    """Read ``size`` bytes, or as many as there are; a pipe may give fewer at a time."""
    pieces, left = [], size
    # In pieces: a decompressor would make room for all that was asked for.
    while left and (piece := stream.read(min(left, _PIECE))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def read_whole(path: str, stream: IO[bytes]) -> bytes:
    """Read all of a document or a compressed file; raise ``InputError`` for more than ``MAX_WHOLE`` bytes."""
    data = read_full(stream, MAX_WHOLE + 1)
    if len(data) > MAX_WHOLE:
        found = f"found more than {MAX_WHOLE >> 20} MiB that must be read as a whole"
        raise InputError(path, f"{found}; write the rows as JSON Lines, which are read piece by piece")
    return data


def read_text(path: str) -> str:
    """Read the whole of a small text file, in UTF-8."""
    data = read_bytes(path)
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
        has_lines, data = _begins_with_lines(buffered)
        if has_lines:
            return None
        data += read_whole(path, buffered)
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


def is_document(path: str) -> bool:
    """Return whether a ``.json`` file seems to hold a document; ``read_document`` knows it."""
    with open_input(path) as stream:
        buffered = io.BufferedReader(cast(io.RawIOBase, stream), BLOCK_BYTES)
        found = _begins_with_lines(buffered)[0]
        buffered.detach()
    return not found


def _begins_with_lines(stream: IO[bytes]) -> tuple[bool, bytes]:
    """Return whether a stream begins with a row and another line, and the first line that is not blank."""
    data = _next_line(stream).removeprefix(BOM)
    if data.isspace():
        data = _next_line(stream)
    return _is_row(data) and bool(_next_line(stream)), data


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


def allow_open(count: int) -> None:
    """Let this process have so many files open, besides some hundred, as far as the system permits."""
    # A map keeps its file open. Systems commonly allow 1,024, and more if a process asks for it.
    try:
        import resource
    except ImportError:  # Windows has another limit
        return
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 400 if most == resource.RLIM_INFINITY else min(count + 400, most)
    if limit != resource.RLIM_INFINITY and limit < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def open_mapped(path: str) -> mmap.mmap | bytes:
    """Map a plain file into memory; only for the system to copy from, or a file that nobody else changes."""
    # Python's own access to a page past the end of a file that was cut ends the process with SIGBUS.
    with translated(path), on_disk(path) as file:
        if not os.fstat(file.fileno()).st_size:
            return b""  # an empty file cannot be mapped
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class FileBytes:
    """The bytes that a file had when it was opened: length, slices and ``find`` as of ``bytes``.

    They are read when they are needed. Others may append to the file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = -1
        with translated(path), on_disk(path) as file:
            self._file = os.dup(file.fileno())
            self._size = os.fstat(self._file).st_size
        # The bytes read last, and where they begin: lines are looked at one after the other.
        self._window = 0, b""

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, span: slice) -> bytes:
        begin, end, _ = span.indices(self._size)
        start, window = self._window
        if start <= begin and end <= start + len(window):
            return window[begin - start : end - start]
        return self._read(begin, max(end - begin, 0))

    def find(self, piece: bytes, begin: int) -> int:
        """Return where the first of these bytes from ``begin`` on stands; -1 if it does not occur."""
        assert len(piece) == 1
        while begin < self._size:
            start, window = self._window
            if not start <= begin < start + len(window):
                start, window = begin, self._read(begin, min(_WINDOW, self._size - begin))
                self._window = start, window
            found = window.find(piece, begin - start)
            if found >= 0:
                return start + found
            begin = start + len(window)
        return -1

    def _read(self, begin: int, count: int) -> bytes:
        data = b""
        with translated(self.path):
            while len(data) < count:
                piece = os.pread(self._file, count - len(data), begin + len(data))
                if not piece:
                    raise changed(self.path)
                data += piece
        return data


def open_whole(path: str) -> FileBytes | bytes:
    """Open a file to be read at any offset: a plain one as it is, others decompressed into memory."""
    if is_file(path) and not format_of(path).compression:
        return FileBytes(path)
    with open_input(path) as stream:
        return read_whole(path, stream)


def read_bytes(path: str) -> bytes:
    """Read the whole of a file as it is."""
    with translated(path):
        if is_url(path):
            with open_object(path) as reader:
                return reader.readall() or b""
        provenance.read(path)
        return Path(path).read_bytes()
