"""Write outputs that appear whole or not at all, and set bad rows aside.

Rows go to a hidden file beside the output, which is renamed to the output when everything is written. A
command that fails, or is killed, leaves the earlier output as it was.
"""

from __future__ import annotations

import hashlib
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
from dataprep.core.io.formats import STDIO, Format, compressing, format_of
from dataprep.core.io.parquet import write_parquet
from dataprep.core.io.part_files import Part, chunk_bytes, is_parts
from dataprep.core.io.parts import PartsFolder, PartTarget, PartWriter, open_parts
from dataprep.core.io.reading import open_raw
from dataprep.core.io.tables import write_delimited
from dataprep.core.io.unfinished import NewFile, new_file, remove_stale_parts, replacing, short_name
from dataprep.core.ledger import Ledger


class Output:
    """An output for JSON Lines; ``open_output`` makes and finishes it.

    Attributes:
        path: the output's path, or ``-``.
        direct: the unfinished file, if other processes may write byte ranges of it themselves.
        rows: number of rows; whoever writes past ``write`` adds them.
    """

    def __init__(self, path: str, stream: IO[bytes], direct: str | None) -> None:
        self.path = path
        self.direct = direct
        self.rows = 0
        self._stream = stream
        self._folders: list[PartsFolder] = []

    def write(self, lines: bytes, rows: int | None = None) -> None:
        """Write whole lines, each with its newline; ``rows`` is their number, if it is known."""
        view = memoryview(lines)
        self.rows += lines.count(b"\n") if rows is None else rows
        with writing(self.path):
            # An unbuffered file or a pipe may take less than it is given.
            while view:
                view = view[self._stream.write(view) :]

    def target(self, key: str) -> PartTarget | None:
        """Return where workers write the parts of a run over chunks; ``None``: all passes through ``write``.

        ``key`` names everything that the parts depend on.
        """
        if self.direct is None:
            return None
        path = Path(os.path.realpath(self.path))
        self._folders.append(PartsFolder(str(path.with_name(f".{short_name(path)}.{key}.parts"))))
        return self._folders[-1].target(key)

    def add(self, part: Part) -> None:
        """Append a part that a worker has written; its rows are counted by ``write``."""
        folder = self._folders[-1]
        with open_raw(folder.folder.path(part.name)) as file, writing(self.path):
            while piece := file.read(_COPIED):
                self.write(piece, 0)
        folder.beat()

    def beat(self) -> None:
        """Show other runs into this output that this one is alive, while no part is finished."""
        for folder in self._folders:
            folder.beat()

    def close_folders(self, *, keep: bool) -> None:
        """Remove the parts, or keep what is finished for a later run of the same command."""
        for folder in self._folders:
            if keep:
                folder.leave()
            else:
                folder.discard()
                remove_stale_parts(Path(os.path.realpath(self.path)))

    def write_pieces(self, pieces: list[memoryview], size: int) -> None:
        """Write pieces of ``size`` bytes together; only for an output with a ``direct`` file."""
        begin = self._stream.tell()
        with writing(self.path):
            write_at(self._stream.fileno(), pieces, size, begin)
        self._stream.seek(begin + size)


class PartsOutput(Output):
    """An output that is a folder of parts.

    Attributes:
        folder: the folder.
        ledger: the rows of the command, for the manifest, if it is known.
    """

    def __init__(self, path: str, folder: PartsFolder) -> None:
        super().__init__(path, io.BytesIO(), None)
        self.folder = folder
        self.ledger: Ledger | None = None
        self._part: PartWriter | None = None
        self._size = chunk_bytes()

    def target(self, key: str) -> PartTarget:
        """Return where workers write the parts of a run over chunks."""
        self.flush()
        return self.folder.target(key)

    def add(self, part: Part) -> None:
        """Take a part that a worker has written; its rows are counted by ``write``."""
        self.folder.add(part)

    def write(self, lines: bytes, rows: int | None = None) -> None:
        """Write whole lines, each with its newline; the parts depend on the lines only."""
        self.rows += lines.count(b"\n") if rows is None else rows
        view = memoryview(lines)
        with writing(self.path):
            while view:
                self._part = self._part or PartWriter(self.path, len(self.folder.parts))
                # A part ends with the first line that reaches its size.
                left = self._size - self._part.size
                cut = lines.find(b"\n", len(lines) - len(view) + left - 1) + 1 if len(view) >= left else 0
                piece = view[: cut - len(lines) + len(view)] if cut else view
                self._part.write(piece, bytes(piece).count(b"\n"))
                view = view[len(piece) :]
                if self._part.size >= self._size:
                    self.flush()

    def beat(self) -> None:
        """Show other runs into this output that this one is alive, while no part is finished."""
        self.folder.beat()

    def flush(self) -> None:
        """End the part that is being written."""
        if self._part is not None:
            part, self._part = self._part, None
            self.folder.add(part.finish(), mine=True)

    def close(self) -> None:
        """Give up the part that is being written."""
        if self._part is not None:
            self._part.close()


def version() -> str:
    """Return the version of dataprep."""
    from dataprep import __version__  # not at the top: the package's own page of names imports this module

    return __version__


def run_key(*facts: object) -> str:
    """Return a name for a run over chunks: a digest of everything that its parts depend on."""
    known = repr((version(), chunk_bytes(), facts))
    return hashlib.sha256(known.encode("utf-8", "surrogateescape")).hexdigest()[:16]


_COPIED = 8 << 20
# The most pieces that systems take in one call.
_PIECES = 1024


def write_at(file: int, pieces: list[memoryview], size: int, offset: int) -> None:
    """Write pieces of ``size`` bytes together, one after the other, from an offset of a file on."""
    # The system copies them, also from files that are mapped: where a file was cut it raises OSError, and
    # Python's own copy would end the process with SIGBUS.
    end = offset + size
    batches = [pieces[begin : begin + _PIECES] for begin in range(0, len(pieces), _PIECES)]
    at = offset
    for batch in batches:
        at += os.pwritev(file, batch, at)
    if at == end:
        return
    # A disk that is full, or a signal, has cut a batch short: the rest is written again, piece by piece.
    for piece in pieces:
        done = 0
        while done < len(piece):
            done += os.pwrite(file, piece[done:], offset + done)
        offset += done


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Turn operating system errors into dataprep's own, with the path; a closed pipe passes."""
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
    """Raise ``UsageError`` if the rejects would go to an output's path or replace an input."""
    # An output may be one of the inputs, because it is renamed only after all of them were read.
    if rejects is None or Path(rejects).is_char_device():
        return
    real = _real_path(rejects)
    if real in map(_real_path, outputs):
        raise UsageError(f"{rejects}: the rows and the rejects cannot go to the same place")
    if real in map(_real_path, inputs):
        raise UsageError(f"{rejects}: the rejects would replace an input; give them a file of their own")


def check_apart(
    outputs: Iterable[str | Path],
    inputs: Iterable[str | Path],
    why: str = "the output would replace an input",
) -> None:
    """Raise ``UsageError`` if an output would replace an input, such as source rows or paid answers."""
    existing = [path for path in inputs if str(path) != STDIO and Path(path).exists()]
    for output in outputs:
        if str(output) == STDIO or not Path(output).is_file():
            continue
        # samefile sees through links, upper case on some systems, and mounts.
        if any(Path(output).samefile(path) for path in existing):
            raise UsageError(f"{output}: {why}; give it a place of its own with -o")


def _real_path(path: str | Path) -> str:
    return str(path) if str(path) == STDIO else os.path.realpath(path)


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
    if is_parts(path) and form is None:
        with writing(path), open_parts(path) as folder:
            parts = PartsOutput(path, folder)
            with closing(parts):
                yield parts
                parts.flush()
                folder.facts |= {"dataprep": version(), "chunk_bytes": chunk_bytes()}
                if parts.ledger is not None:
                    folder.facts["ledger"] = parts.ledger.to_json()
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
            if form.kind == "parquet":
                write_parquet(spool.path, out)
            else:
                with spool.path.open("rb") as rows:
                    if form.kind == "json":
                        _write_array(rows, out)
                    else:
                        write_delimited(rows, out, "\t" if form.kind == "tsv" else ",")
        if out is not file:
            out.close()  # writes the end of the compressed data, while the file is still open


def _write_array(rows: Iterable[bytes], out: IO[bytes]) -> None:
    before = b"[\n"
    for row in rows:
        out.write(before + row.rstrip(b"\n"))
        before = b",\n"
    out.write(b"\n]\n" if before == b",\n" else b"[]\n")


def write_rows(rows: Iterable[Any], path: str | Path) -> int:
    """Write rows (anything JSON can hold) to a file of any format; return their number.

    Raises:
        FileError: the path cannot be written, or the rows do not fit into the format.
    """
    from dataprep.core.io.values import dump_row

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
    """Return a path as text that JSON can hold; file names need not be valid Unicode."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
