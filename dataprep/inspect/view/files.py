"""Keep the files that are viewed open: index them in the background, notice when they change.

Plain JSON Lines are read where they are. The rows of other formats are written to a temporary file of JSON
Lines first, by the same thread that indexes them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Literal, NamedTuple

from dataprep.core import io as files
from dataprep.core.errors import DataprepError, FileError, InputError, Location, UsageError
from dataprep.core.io.identity import Identity, translated
from dataprep.core.io.reading import BOM
from dataprep.core.io.unfinished import new_file
from dataprep.core.jsonl import MAX_LINE
from dataprep.inspect.view.index import PIECE, Extent, LineIndex, Lines

_TAIL = 4096  # bytes at the end by which a file that has grown is known again
_END = 1.0  # seconds that a thread has to end
_WAIT = 0.05  # seconds that a request waits for rows that were appended


class Span(NamedTuple):
    """Where a line of a file is; its newline may be included."""

    number: int
    begin: int
    end: int


class Reader:
    """The lines of a file, as far as it was indexed when the reader was made.

    Attributes:
        total: number of lines.
    """

    def __init__(self, data: files.FileBytes, index: LineIndex, extent: Extent) -> None:
        self._data, self._index, self._extent = data, index, extent
        self.total = extent.lines

    def block(self, number: int) -> Lines | None:
        """Return the block with a line; ``None`` if there is no such line."""
        return self._index.block(number, self._extent)

    def spans(self, number: int) -> Iterator[Span]:
        """Yield where the lines from a number on are, of whatever length, without reading long ones."""
        while (block := self.block(number)) is not None:
            for span in self._spans_in(block):
                if span.number >= number:
                    yield span
            number = block.number + block.size

    def _spans_in(self, block: Lines) -> Iterator[Span]:
        # All lines of a block begin within one piece.
        head = self._data[block.begin : min(block.end, block.begin + PIECE + 1)] if block.size > 1 else b""
        begin = 0
        for number in range(block.number, block.number + block.size - 1):
            end = head.index(b"\n", begin) + 1
            yield Span(number, block.begin + begin, block.begin + end)
            begin = end
        yield Span(block.number + block.size - 1, block.begin + begin, block.end)

    def read(self, begin: int, end: int) -> bytes:
        """Return bytes of the file."""
        return self._data[begin:end]

    def line(self, span: Span, limit: int = MAX_LINE) -> bytes:
        """Return a line without its newline, or its first ``limit`` bytes."""
        return self._data[span.begin : min(span.end, span.begin + limit)].removesuffix(b"\n")


class ViewedFile:
    """A file that is viewed; ``close`` ends its thread and removes its temporary file.

    Args:
        path: the file, in any format that dataprep reads.

    Attributes:
        path: the file.
        name: its path as text that can be shown.
        generation: changes when the file was changed, and not only appended to.
        problem: why the file, or the rest of it, cannot be read; empty if it can.

    Raises:
        UsageError: the path is standard input, or not a file of rows.
        FileError: the file cannot be opened.
        InputError: the file is of another kind than its name says.
    """

    def __init__(self, path: str) -> None:
        if path == files.STDIO:
            raise UsageError("-: standard input can be read once, and a page reads its rows many times; "
                             "write them to a file first")  # fmt: skip
        files.check_local(path, "a page of rows, which are read many times,")
        self.path, self.name = path, files.printable(path)
        self.plain = files.format_of(path).is_plain_lines
        with translated(path):
            if Identity.of(Path(path).stat()) is None and not Path(path).is_dir():
                raise UsageError(f"{path}: not a regular file; write its rows to a file first")
        files.check_input(path)
        if self.plain:
            # The first block alone: it checks that the file is what its name says.
            next(files.read_blocks(path, growing=True), None)
        self.generation, self.problem, self._gone = 0, "", False
        self._lock, self._stop = Lock(), Event()
        self._start()

    def _start(self) -> None:
        """Index the file from its beginning."""
        self.problem, self.complete, self._fraction = "", False, 0.0
        self._stack, self._stop = ExitStack(), Event()
        self.unit: Literal["line", "row"] = "line"
        with translated(self.path):
            identity = Identity.of(Path(self.path).stat())
            assert identity is not None
        self._seen, self._tail = identity, b""
        begin = 0
        if self.plain:
            self._source = self.path
            begin = len(BOM) if files.FileBytes(self.path)[: len(BOM)] == BOM else 0
        else:
            spool = self._stack.enter_context(new_file(Path(tempfile.gettempdir()) / "dataprep-view", 0o600))
            self._source = str(spool.path)
        self.index = LineIndex(begin)
        work = (self._stop, self.index, None if self.plain else spool)
        self._thread = Thread(target=self._work, args=work, daemon=True)
        self._thread.start()

    def _work(self, stop: Event, index: LineIndex, spool: Any) -> None:
        problem = ""
        try:
            if spool is None:
                self._index_lines(stop, index)
            else:
                self._copy_rows(stop, index, spool)
        except DataprepError as error:
            problem = str(error)
        except (OSError, ValueError, MemoryError, RecursionError) as error:
            problem = f"{self.name}: cannot be read: {getattr(error, 'strerror', '') or type(error).__name__}"
        if not stop.is_set():
            self.problem, self.complete, self._fraction = problem, True, 1.0

    def _index_lines(self, stop: Event, index: LineIndex) -> None:
        data = files.FileBytes(self.path)
        identity, length = Identity.of(Path(self.path).stat()), len(data)
        while index.size < length and not stop.is_set():
            index.feed(data[index.size : min(index.size + PIECE, length)])
            self._fraction = index.size / length
        if identity is not None and not stop.is_set():
            # The size of what was read: a file that has more by now has grown.
            self._tail, self._seen = data[max(length - _TAIL, 0) : length], identity._replace(size=length)

    def _copy_rows(self, stop: Event, index: LineIndex, spool: Any) -> None:
        for block in files.read_row_blocks(self.path):
            if stop.is_set():
                return
            self.unit = block.unit
            data = block.read()
            data += b"" if data.endswith(b"\n") or not data else b"\n"
            for begin in range(0, len(data), PIECE):
                piece = data[begin : begin + PIECE]
                view = memoryview(piece)
                while view:
                    view = view[spool.write(view) :]
                index.feed(piece)

    def refresh(self) -> None:
        """Look whether the file was changed; index what was appended, or all of a changed file."""
        with self._lock:
            try:
                now = Identity.of(Path(self.path).stat())
            except OSError:
                now = None
            self._gone = now is None
            if now is None:
                return
            before = self._seen
            grown = self.plain and now[:2] == before[:2] and now.size >= before.size
            if now == before or (grown and not self.complete):
                return
            if grown and now.size > before.size and self._continues():
                self._seen, self.problem, self.complete = now, "", False
                arguments = (self._stop, self.index, None)
                self._thread = Thread(target=self._work, args=arguments, daemon=True)
                self._thread.start()
                self._thread.join(_WAIT)
                return
            self.generation += 1
            self._end()
            self._start()

    def _continues(self) -> bool:
        try:
            data = files.FileBytes(self.path)
            return data[max(self.index.size - len(self._tail), 0) : self.index.size] == self._tail
        except DataprepError:
            return False

    def reader(self) -> Reader:
        """Return a reader of the lines that are there now."""
        for _ in range(10):
            self.refresh()
            if self._gone and self.plain:  # a pipe in its place would block
                raise FileError(self.path, "no such file")
            generation, index = self.generation, self.index
            # The extent first, so that the file has at least the bytes that it covers.
            extent = index.extent(whole=self.complete)
            data = files.FileBytes(self._source)
            # Looked at after it was opened: what is read is the file that was indexed.
            self.refresh()
            if generation == self.generation:
                return Reader(data, index, extent)
        raise InputError(self.path, "the file is changed all the time; view it when it is written")

    def where(self, number: int) -> str:
        """Return the place of a row, as messages name it."""
        return files.printable(str(Location(self.path, number, self.unit)))

    def state(self) -> dict[str, Any]:
        """Return how far the file is indexed, and whether it was changed."""
        self.refresh()
        return {
            "name": self.name,
            "lines": self.index.extent(whole=self.complete).lines,
            "bytes": self._seen.size,
            "complete": self.complete,
            "fraction": round(self._fraction, 4) if self.plain or self.complete else None,
            "generation": self.generation,
            "problem": f"{self.name}: the file is not there any more" if self._gone else self.problem,
        }

    def wait(self, seconds: float) -> None:
        """Wait until the file is indexed, at most for some seconds."""
        self._thread.join(seconds)

    def close(self) -> None:
        """End the thread, and remove the temporary file."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        self._stop.set()
        # A thread that parses a large document does not hear it: it ends when it writes the first row.
        self._thread.join(_END)
        self._stack.close()
