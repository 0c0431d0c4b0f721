"""Writing: an output appears whole or not at all.

The rows go to a hidden file beside the output's place, which takes the output's name when everything
was written. A command that fails, or is killed, leaves the earlier output as it was. Nothing is forced
to the disk before the rename; ``docs/decisions/0002-no-fsync.md`` says why.

Bad rows: the first one ends a command, or all of them go into a file of their own.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import orjson

from dataprep.core.errors import FileError, InputError, Location, RowError, UsageError
from dataprep.core.io.formats import STDIO, Format, compressing, format_of
from dataprep.core.io.tables import write_delimited, write_parquet


class Output:
    """Where a command writes JSON Lines; ``open_output`` makes it and finishes it.

    Attributes:
        path: the output's place, or ``-``.
        direct: the unfinished file, where other processes may write byte ranges of it themselves.
    """

    def __init__(self, path: str, stream: IO[bytes], direct: str | None) -> None:
        self.path = path
        self.direct = direct
        self._stream = stream

    def write(self, lines: bytes) -> None:
        """Write whole lines, each with its newline."""
        view = memoryview(lines)
        with writing(self.path):
            while view:  # an unbuffered file may take less than it is given
                view = view[self._stream.write(view) :]


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Operating system errors as dataprep's own, with the path; a closed pipe stays what it is."""
    try:
        yield
    except (BrokenPipeError, FileError):
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        kept = "; what was there is unchanged" if path != STDIO and Path(path).is_file() else ""
        name = "standard output" if path == STDIO else path
        raise FileError(name, f"cannot be written: {reason}{kept}") from None


def check_distinct(
    rejects: str | Path | None, outputs: Iterable[str | Path], inputs: Iterable[str | Path] = ()
) -> None:
    """Raise ``UsageError`` where bad rows are to go where the others go, or come from.

    An output may be one of the inputs: it takes its place only when all of them were read.
    """
    if rejects is None or Path(rejects).is_char_device():
        return
    place = _place_of(rejects)
    if place in map(_place_of, outputs):
        raise UsageError(f"{rejects}: the rows and the rejects cannot go to the same place")
    if place in map(_place_of, inputs):
        raise UsageError(f"{rejects}: the rejects would replace an input; give them a file of their own")


def check_apart(
    outputs: Iterable[str | Path],
    inputs: Iterable[str | Path],
    why: str = "the output would replace an input",
) -> None:
    """Raise ``UsageError`` where an output would replace an input, such as raw rows or paid answers."""
    existing = [path for path in inputs if str(path) != STDIO and Path(path).exists()]
    for output in outputs:
        if str(output) == STDIO or not Path(output).is_file():
            continue
        if any(Path(output).samefile(path) for path in existing):
            raise UsageError(f"{output}: {why}; give it a place of its own with -o")


def _place_of(path: str | Path) -> str:
    return str(path) if str(path) == STDIO else os.path.realpath(path)


@contextmanager
def open_output(path: str, form: Format | None = None) -> Iterator[Output]:
    """An output for lines of JSON that is finished when the block ends, and removed when it raises.

    The suffix decides what becomes of the lines: they stay as they are (``.jsonl``, ``-``), or are
    turned into a JSON array, CSV, TSV or Parquet, and compressed for ``.gz`` and ``.zst``. ``form`` is a
    format in place of the suffix's.

    Raises:
        FileError: the place cannot be written, the disk is full, or the rows do not fit into the format.
    """
    if path == STDIO:
        sys.stdout.flush()
        yield Output(path, sys.stdout.buffer, None)
        sys.stdout.buffer.flush()
        return
    form, target = form or format_of(path), Path(path)
    with ExitStack() as stack:
        with writing(path):
            output = _opened(path, target, form, stack)
        yield output
        with writing(path):
            try:
                stack.close()
            except RowError as error:
                raise FileError(path, f"cannot be written: {error}") from None


def _opened(path: str, target: Path, form: Format, stack: ExitStack) -> Output:
    if target.is_dir():
        raise FileError(path, "is a directory; give a file's path")
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):  # a pipe or a device
        return Output(path, stack.enter_context(target.open("wb", buffering=0)), None)
    target = Path(os.path.realpath(target))  # a link stays a link
    partial = stack.enter_context(_replacing(target))
    if form.is_plain_lines:
        stream = stack.enter_context(partial.open("wb", buffering=0))
        return Output(path, stream, str(partial))
    return Output(path, stack.enter_context(_converted(partial, form)), None)


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A new hidden file beside ``target`` that takes its name at the end."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        yield partial
        if target.exists():
            with suppress(OSError):
                partial.chmod(stat.S_IMODE(target.stat().st_mode))
        partial.replace(target)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def _converted(partial: Path, form: Format) -> Iterator[IO[bytes]]:
    """A stream of lines that ends up in ``partial`` in the given format and compression."""
    with ExitStack() as stack:
        file = stack.enter_context(partial.open("wb"))
        out = stack.enter_context(_closing_first(compressing(file, form.compression), file))
        if form.kind == "jsonl":
            yield out
            return
        spool = partial.with_suffix(".spool.partial")
        stack.callback(lambda: spool.unlink(missing_ok=True))
        with spool.open("wb") as lines:
            yield lines
        if form.kind == "parquet":
            write_parquet(spool, out)
            return
        with spool.open("rb") as rows:
            if form.kind == "json":
                _write_array(rows, out)
            else:
                write_delimited(rows, out, "\t" if form.kind == "tsv" else ",")


@contextmanager
def _closing_first(out: IO[bytes], file: IO[bytes]) -> Iterator[IO[bytes]]:
    """``out``, closed at the end where it is a stream of its own around ``file``."""
    yield out
    if out is not file:
        out.close()


def _write_array(rows: Iterable[bytes], out: IO[bytes]) -> None:
    before = b"[\n"
    for row in rows:
        out.write(before + row.rstrip(b"\n"))
        before = b",\n"
    out.write(b"\n]\n" if before == b",\n" else b"[]\n")


def write_rows(rows: Iterable[Any], path: str) -> int:
    """Write rows (anything JSON can hold) to a file of any format; returns how many.

    Raises:
        FileError: the place cannot be written, the disk is full, or the rows do not fit into the format.
    """
    count = 0
    with open_output(path) as out:
        for row in rows:
            out.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            count += 1
    return count


def write_text(text: str, path: str) -> None:
    """Write a document that is no rows, such as a page, in UTF-8; ``-`` is standard output.

    Raises:
        FileError: the place cannot be written, or the disk is full.
    """
    with open_output(path, Format("jsonl", "")) as out:  # bytes as they are, whatever the suffix
        out.write(text.encode("utf-8"))


class Rejects:
    """Takes bad rows; ``open_rejects`` makes it."""

    def __init__(self, output: Output | None) -> None:
        self._output = output

    def add(self, where: Location, message: str, row: bytes) -> None:
        """Set a bad row aside.

        Raises:
            InputError: there is no rejects file: the bad row ends the command.
        """
        if self._output is None:
            hint = "correct the row, or set bad rows aside with --rejects FILE"
            raise InputError(where, f"{message}; {hint}")
        rejected = {
            "path": printable(where.path),
            where.unit: where.number,
            "reason": message,
            "text": row.decode("utf-8", "backslashreplace"),
        }
        self._output.write(orjson.dumps(rejected, option=orjson.OPT_APPEND_NEWLINE))


@contextmanager
def open_rejects(path: str | Path | Rejects | None) -> Iterator[Rejects]:
    """A place for bad rows: JSON Lines ``{path, line or row, reason, text}``, or none.

    One that is open already is used as it is, so that several steps can share it.

    Raises:
        FileError: the file cannot be written.
    """
    if isinstance(path, Rejects):
        yield path
        return
    if path is None:
        yield Rejects(None)
        return
    with open_output(str(path)) as output:
        yield Rejects(output)


def printable(path: str) -> str:
    """A path as text that JSON can hold; file names need not be valid Unicode."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
