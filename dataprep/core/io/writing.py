"""Write outputs that appear whole or not at all, and set bad rows aside.

Rows go to a hidden file beside the output, which is renamed to the output when everything is written. A
command that fails, or is killed, leaves the earlier output as it was.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO, Any

import orjson

from dataprep.core import provenance
from dataprep.core.errors import FileError, InputError, Location, RowError, UsageError
from dataprep.core.io.environment import version
from dataprep.core.io.formats import STDIO, Format, compressing, format_of
from dataprep.core.io.outputs import (
    Output,
    PartsOutput,
    convert_lines,
    open_object_output,
    writing,
)
from dataprep.core.io.part_files import chunk_bytes, is_parts
from dataprep.core.io.parts import open_parts
from dataprep.core.io.paths import is_file, is_folder, is_same_file, real_path
from dataprep.core.io.unfinished import PART_NAME, NewFile, new_file, replacing
from dataprep.core.urls import is_url, name_of, without_credentials

__all__ = [
    "Rejects", "check_apart", "check_distinct", "check_one_file", "open_output", "open_rejects", "printable",
    "write_rows", "write_text", "writing",
]  # fmt: skip


def check_distinct(
    rejects: str | Path | None, outputs: Iterable[str | Path], inputs: Iterable[str | Path] = ()
) -> None:
    """Raise ``UsageError`` if the rejects would go to an output's path or replace an input."""
    # An output may be one of the inputs, because it is renamed only after all of them were read.
    if rejects is None or (not is_url(rejects) and Path(rejects).is_char_device()):
        return
    real = real_path(rejects)
    if real in map(real_path, outputs):
        raise UsageError(f"{rejects}: the rows and the rejects cannot go to the same place")
    if real in map(real_path, inputs):
        raise UsageError(f"{rejects}: the rejects would replace an input; give them a file of their own")


def check_apart(
    outputs: Iterable[str | Path],
    inputs: Iterable[str | Path],
    why: str = "the output would replace an input",
) -> None:
    """Raise ``UsageError`` if an output would replace an input, such as source rows or paid answers."""
    given = [path for path in inputs if str(path) != STDIO]
    for output in outputs:
        takes = is_file(output) or is_parts(str(output))
        if takes and any(is_same_file(output, path) for path in given):
            raise UsageError(f"{output}: {why}; give it a place of its own with -o")


def check_one_file(path: str | Path) -> None:
    """Raise ``UsageError`` if the path of an output that is one file, such as a model, names a folder."""
    # pathlib drops the / at the end, so the file would appear where a folder was meant.
    if is_parts(str(path)) or is_folder(path):
        raise UsageError(f"{path}: names a folder, and this output is one file; give a file's path")


@contextmanager
def open_output(path: str, form: Format | None = None) -> Iterator[Output]:
    """Open an output for lines of JSON; it appears when the ``with`` block ends without an error.

    The path's suffix chooses the format: JSON Lines (``.jsonl``, ``-``), a JSON array, CSV, TSV or Parquet,
    each also compressed with ``.gz`` or ``.zst``. ``form`` is a format in place of the suffix's.
    """
    if path == STDIO:
        sys.stdout.flush()
        yield Output(path, sys.stdout.buffer, None)
        sys.stdout.buffer.flush()
        return
    if PART_NAME.fullmatch(name_of(path)):
        raise UsageError(f"{path}: names a part of a folder; write the folder, or choose another name")
    if form is not None:
        check_one_file(path)
    elif is_parts(path):
        with writing(path), open_parts(path) as folder:
            parts = PartsOutput(path, folder)
            with closing(parts):
                yield parts
                parts.flush()
                folder.facts |= {"dataprep": version(), "chunk_bytes": chunk_bytes()}
                if parts.ledger is not None:
                    folder.facts["ledger"] = parts.ledger.to_json()
        return
    if is_url(path):
        with open_object_output(path, form or format_of(path), counted=form is None) as output:
            yield output
        return
    is_document, form, target = form is not None, form or format_of(path), Path(path)
    with ExitStack() as stack:
        with writing(path):
            output = _opened(path, target, form, stack)
        try:
            yield output
            with writing(path):
                try:
                    stack.close()
                except RowError as error:
                    raise FileError(path, f"cannot be written: {error}") from None
        except BaseException:
            output.close_folders(keep=True)
            raise
        output.close_folders(keep=False)
    if target.is_file():
        provenance.wrote(target, rows=None if is_document else output.rows)


def _opened(path: str, target: Path, form: Format, stack: ExitStack) -> Output:
    if target.is_dir():
        raise FileError(path, "is a directory; give a file's path")
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):  # a pipe or a device
        return Output(path, stack.enter_context(target.open("wb", buffering=0)), None)
    # Renaming onto a link would replace the link; its target is replaced instead.
    target = Path(os.path.realpath(target))
    file = stack.enter_context(replacing(target))
    if form.is_plain_lines:
        return Output(path, file, str(file.path))
    return Output(path, stack.enter_context(_converted(file, target, form)), None)


@contextmanager
def _converted(unfinished: NewFile, target: Path, form: Format) -> Iterator[IO[bytes]]:
    """Yield a stream of lines that ends up in ``unfinished`` in the given format and compression."""
    with ExitStack() as stack:
        file = stack.enter_context(io.BufferedWriter(unfinished))
        out = compressing(file, form.compression)
        if form.kind == "jsonl":
            yield out
        else:
            # The other formats need all rows first: a table its columns' types, an array its last comma.
            spool = stack.enter_context(new_file(target))
            with io.BufferedWriter(spool) as lines:
                yield lines
            convert_lines(spool.path, out, form.kind)
        if out is not file:
            out.close()  # writes the end of the compressed data, while the file is still open


def write_rows(rows: Iterable[Any], path: str | Path) -> int:
    """Write rows (anything JSON can hold) to a file of any format; return their number.

    Raises:
        FileError: the path cannot be written, or the rows do not fit into the format.
    """
    from dataprep.core.io.tables.values import dump_row

    count = 0
    with open_output(str(path)) as out:
        for row in rows:
            count += 1
            try:
                out.write(dump_row(row) + b"\n")
            except RowError as error:
                raise FileError(path, f"cannot be written: row {count}: {error}") from None
    return count


def write_text(text: str, path: str) -> None:
    """Write a document, such as a page, in UTF-8; ``-`` is standard output."""
    # As JSON Lines the bytes are written unchanged, whatever the suffix.
    with open_output(path, Format("jsonl", "")) as out:
        out.write(text.encode("utf-8"))


_SET_ASIDE = "correct the row, or set bad rows aside with --rejects FILE"


class Rejects:
    """A file for bad rows, or none; ``open_rejects`` makes it.

    Args:
        output: the file.
        hint: without a file, what the message about the first bad row says of what to do.
    """

    def __init__(self, output: Output | None, *, hint: str = _SET_ASIDE) -> None:
        self._output, self._hint = output, hint

    @property
    def raises(self) -> bool:
        """True if there is no file, so that the first bad row raises."""
        return self._output is None

    def add(self, where: Location, message: str, row: bytes) -> None:
        """Write a bad row to the rejects file."""
        if self._output is None:
            raise InputError(where, f"{message}; {self._hint}" if self._hint else message)
        rejected = {
            "path": printable(where.path),
            where.unit: where.number,
            "reason": message,
            "text": row.decode("utf-8", "backslashreplace"),
        }
        self._output.write(orjson.dumps(rejected, option=orjson.OPT_APPEND_NEWLINE))


@contextmanager
def open_rejects(path: str | Path | Rejects | None) -> Iterator[Rejects]:
    """Open a file for bad rows, if there is a path: JSON Lines ``{path, line or row, reason, text}``."""
    # Several steps can share one file: one that is open already is used as it is.
    if isinstance(path, Rejects):
        yield path
        return
    with ExitStack() as stack:
        yield Rejects(None if path is None else stack.enter_context(open_output(str(path))))


def printable(path: str) -> str:
    """Return a path as text that JSON can hold, without credentials; file names need not be valid Unicode."""
    return without_credentials(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
