"""Outputs for JSON Lines: a file, a folder of parts, or an object in a store."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

from dataprep.core import provenance
from dataprep.core.errors import FileError, RowError
from dataprep.core.io.formats import STDIO, Format, Kind, compressing
from dataprep.core.io.part_files import Part, chunk_bytes
from dataprep.core.io.parts import PartsFolder, PartTarget, PartWriter
from dataprep.core.io.paths import find, is_file, remove_manifest
from dataprep.core.io.raw import open_raw
from dataprep.core.io.stores import is_shared, store_of
from dataprep.core.io.tables.delimited import write_delimited
from dataprep.core.io.tables.parquet import write_parquet
from dataprep.core.io.unfinished import remove_stale_parts, short_name, temporary_folder
from dataprep.core.ledger import Ledger
from dataprep.core.urls import is_url


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

    def target(self, key: str) -> PartTarget | None:
        """Return where workers write the parts of a run; ``None`` if only this process sees the folder."""
        self.flush()
        if not is_shared(self.path):
            return None
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
        kept = "; what was there is unchanged" if not is_url(path) and is_file(path) else ""
        name = "standard output" if path == STDIO else path
        raise FileError(name, f"cannot be written: {reason}{kept}") from None


@contextmanager
def open_object_output(url: str, form: Format, *, counted: bool) -> Iterator[Output]:
    """Open an object in a store as an output; see ``open_output``."""
    store = store_of(url)
    find(url)  # a bucket that is missing or closed is an error before the work, not after it
    with ExitStack() as stack:
        # Closed in the reverse order: at last the upload, and only then is the object there.
        hashed = Digesting(stack.enter_context(store.writer(url)))
        target = cast(IO[bytes], hashed)
        out = compressing(target, form.compression)
        if form.kind == "jsonl":
            output = Output(url, out, None)
            yield output
        else:
            folder = stack.enter_context(temporary_folder())
            with (folder / "rows").open("wb") as lines:
                output = Output(url, lines, None)
                yield output
            try:
                with writing(url):
                    _convert_into(folder, out, form.kind)
            except RowError as error:
                raise FileError(url, f"cannot be written: {error}") from None
        if out is not target:
            out.close()
    remove_manifest(url)
    provenance.wrote_object(
        url, store.stat(url), rows=output.rows if counted else None, sha256=hashed.digest.hexdigest()
    )


def _convert_into(folder: Path, out: IO[bytes], kind: Kind) -> None:
    if kind != "parquet":
        convert_lines(folder / "rows", out, kind)
        return
    # Polars wants a file of its own.
    with (folder / "table").open("w+b") as table:
        convert_lines(folder / "rows", table, kind)
        table.seek(0)
        shutil.copyfileobj(table, out, _COPIED)


class Digesting(io.RawIOBase):
    """A stream that hashes what passes through."""

    def __init__(self, out: IO[bytes]) -> None:
        self.digest = hashlib.sha256()
        self._out = out

    def writable(self) -> bool:
        """Return true."""
        return True

    def write(self, data: Any) -> int:
        """Write bytes."""
        self.digest.update(data)
        return self._out.write(data)


def convert_lines(lines: Path, out: IO[bytes], kind: Kind) -> None:
    """Write a file of JSON Lines in another format."""
    if kind == "parquet":
        write_parquet(lines, out)
        return
    with lines.open("rb") as rows:
        if kind == "json":
            _write_array(rows, out)
        else:
            write_delimited(rows, out, "\t" if kind == "tsv" else ",")


def _write_array(rows: Iterable[bytes], out: IO[bytes]) -> None:
    before = b"[\n"
    for row in rows:
        out.write(before + row.rstrip(b"\n"))
        before = b",\n"
    out.write(b"\n]\n" if before == b",\n" else b"[]\n")
