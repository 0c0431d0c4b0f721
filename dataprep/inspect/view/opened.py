"""A file with everything that the page asks about it: rows, previews, marks, lines of the same request."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from threading import Lock
from time import monotonic
from typing import Any

import orjson

from dataprep.core.errors import RowError, UsageError
from dataprep.core.jsonl import MAX_LINE, parse_line
from dataprep.curate.marks import MARKS, Mark, Marks
from dataprep.inspect.view.files import Reader, ViewedFile
from dataprep.inspect.view.rows import CUT, PREVIEW_BYTES, Kind, describe, journal_column, kind_of, preview
from dataprep.inspect.view.search import Found, Query, find, mark_json

_SAMPLED = 400  # rows that are looked at for sources and statuses
_MOST_VALUES = 200
_MOST_COLUMNS = 24
_FIRST = 20
_SECONDS = 0.05


class Opened(ViewedFile):
    """A file that is viewed, with its kind and its marks.

    Args:
        path: the file.

    Attributes:
        marks: the marks of its rows.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.marks = Marks(path)
        self._marking = Lock()
        self._kind: Kind | None = None
        self._kind_of = -1
        self._values: dict[str, dict[str, None]] = {"sources": {}, "statuses": {}}
        self._ids = _Ids()

    @property
    def kind(self) -> Kind:
        """The kind of the first row that can be read."""
        if self._kind is None or self._kind_of != self.generation:
            reader = self.reader()
            spans = (span for span in islice(reader.spans(1), _FIRST) if span.end - span.begin <= MAX_LINE)
            kinds = (kind_of(_row_of(reader.line(span))) for span in spans)
            found = next((kind for kind in kinds if kind != "bad"), None)
            if found is None:
                return "record"
            self._kind, self._kind_of, self._ids = found, self.generation, _Ids()
        return self._kind

    def page(self, number: int, count: int) -> dict[str, Any]:
        """Return previews of the rows from a number on; blank lines are left out."""
        reader, chat = self.reader(), self.kind == "chat"
        rows = []
        for span in islice(reader.spans(max(number, 1)), count):
            line = reader.line(span, PREVIEW_BYTES)
            if line.strip():
                size = span.end - span.begin if len(line) == PREVIEW_BYTES else len(line)
                made = preview(span.number, line, size, chat=chat)
                whole = reader.line(span) if len(line) < size and len(self.marks) else line
                rows.append(made | {"mark": mark_json(self.mark_of(whole))})
        return {"rows": self._seen_in(rows)}

    def mark_of(self, line: bytes) -> Mark | None:
        """Return the mark of a row, given by its line."""
        return self.marks.of(line)

    def _seen_in(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for row in rows:
            if row.get("source"):
                self._see("sources", row["source"])
            for _, status in row.get("statuses", ()):
                self._see("statuses", status)
        return rows

    def _see(self, name: str, value: str) -> None:
        if len(self._values[name]) < _MOST_VALUES:
            self._values[name].setdefault(value)

    def values(self) -> dict[str, list[str]]:
        """Return sources and statuses of rows that are spread over the file, and of those that were shown."""
        reader, chat = self.reader(), self.kind == "chat"
        end = monotonic() + 4 * _SECONDS
        for place in range(_SAMPLED):
            number = 1 + place * reader.total // _SAMPLED
            span = next(reader.spans(number), None)
            if span is None or monotonic() > end:
                break
            line = reader.line(span, PREVIEW_BYTES)
            if len(line) < PREVIEW_BYTES:
                self._seen_in([preview(number, line, len(line), chat=chat)])
        return {name: sorted(values) for name, values in self._values.items()}

    def row(self, number: int, *, whole: bool = False) -> dict[str, Any] | None:
        """Return all of a row; ``None`` if the file, as far as it is indexed, has no such row."""
        if (found := self.line(number)) is None:
            return None
        size, line = found
        made = describe(number, self.where(number), line, size, chat=self.kind == "chat", whole=whole)
        return made | {"mark": mark_json(self.mark_of(line))}

    def line(self, number: int) -> tuple[int, bytes] | None:
        """Return the size of a line, and the line, or the beginning of one that is too long to be a row."""
        reader = self.reader()
        span = next(reader.spans(number), None) if number >= 1 else None
        if span is None:
            return None
        size = span.end - span.begin
        line = reader.line(span, MAX_LINE + 1 if size <= MAX_LINE + 1 else 4 * CUT)
        return (len(line) if size <= MAX_LINE + 1 else size), line

    def find(self, query: Query, start: int, *, back: bool, count: int) -> dict[str, Any]:
        """Return rows that match a query, some at a time, and the number of the row to continue with."""
        reader = self.reader()
        found = self._find_marked(reader, query, start, back) if query.mark else None
        found = found or find(reader, query, start, back=back, count=count)
        return {"rows": self._seen_in(found.rows), "next": found.next, "total": reader.total}

    def _find_marked(self, reader: Reader, query: Query, start: int, back: bool) -> Found | None:
        """Find marked rows where they were marked; ``None`` if they are not there any more."""
        rows: list[dict[str, Any]] = []
        with self._marking:
            marks = self.marks.by_row()
        for mark in marks:
            span = next(reader.spans(mark.row), None) if mark.row >= 1 else None
            line = reader.line(span).strip() if span else b""
            if span is None or self.mark_of(line) != mark:
                return None
            if query.matches(line) and (mark.row <= start if back else mark.row >= start):
                made = preview(mark.row, line[:PREVIEW_BYTES], len(line), chat=query.kind == "chat")
                rows.append(made | {"mark": mark_json(mark)})
        return Found(rows[::-1] if back else rows, None)

    def set_mark(self, number: int, mark: Any, note: Any) -> dict[str, Any] | None:
        """Mark a row as good or bad, or not, with a note; return its mark."""
        if mark not in (*MARKS, "", None) or not isinstance(note, str | None):
            raise UsageError("expected good, bad or nothing as mark, and a text as note")
        found = self.line(number)
        if found is None or found[0] > MAX_LINE:
            raise UsageError(f"{self.name}: there is no row {number:,} to be marked")
        with self._marking:
            return mark_json(self.marks.set(number, found[1], mark or None, note or ""))

    def same_request(self, number: int, others: Sequence[Opened]) -> dict[str, Any]:
        """Return the lines of all journals for the request of a row, and the request itself.

        The request is looked for in the files of chat rows. Files are looked through some rows at a
        time; ``done`` says whether all were.
        """
        found = self.line(number)
        row = _row_of(found[1]) if found else None
        if not isinstance(row, dict) or kind_of(row) != "journal":
            return {"columns": [], "request": None, "done": True}
        columns: list[dict[str, Any]] = []
        request, done = None, True
        end = monotonic() + _SECONDS
        for index, file in enumerate(others):
            if file.kind not in ("journal", "chat"):
                continue
            reader = file.reader()
            done &= file._ids.extend(reader, end) and file.complete
            for place, line in file._ids.lines(reader, str(row.get("id"))):
                if file.kind == "chat":
                    request = request or describe(place, file.where(place), line, len(line), chat=True)
                elif len(columns) < _MOST_COLUMNS:
                    other = _row_of(line)
                    here = {"file": index, "number": place, "this": file is self and place == number}
                    columns.append(journal_column(other) | here)
        return {"columns": columns, "request": request, "done": done}


@contextmanager
def opened_files(paths: Sequence[str]) -> Iterator[list[Opened]]:
    """Open files, and close them at the end."""
    if not paths:
        raise UsageError("there is nothing to view: give at least one file")
    opened: list[Opened] = []
    try:
        for path in paths:
            opened.append(Opened(path))
        yield opened
    finally:
        for file in opened:
            file.close()


def _row_of(line: bytes) -> Any:
    try:
        return parse_line(line)
    except RowError:
        return None


class _Ids:
    """The ids of the first rows of a file, as hashes: 8 bytes per row."""

    def __init__(self) -> None:
        self._hashes = array("q")
        self._lock = Lock()

    def extend(self, reader: Reader, end: float) -> bool:
        """Take further rows until a time; return whether all were taken."""
        with self._lock:
            for span in reader.spans(len(self._hashes) + 1):
                line = reader.line(span) if span.end - span.begin <= MAX_LINE else b""
                try:
                    row = orjson.loads(line) if b'"id"' in line else None
                except orjson.JSONDecodeError:
                    row = None
                self._hashes.append(hash(str(row.get("id"))) if isinstance(row, dict) else 0)
                if monotonic() > end:
                    break
            return len(self._hashes) >= reader.total

    def lines(self, reader: Reader, identity: str) -> Iterator[tuple[int, bytes]]:
        """Yield number and line of each row with an id, of those that were taken."""
        import numpy as np

        with self._lock:
            places = np.flatnonzero(np.frombuffer(self._hashes, dtype=np.int64) == hash(identity))
            numbers = (places[: 10 * _MOST_COLUMNS] + 1).tolist()
        for number in numbers:
            span = next(reader.spans(number), None)
            line = reader.line(span) if span else b""
            row = _row_of(line)
            if isinstance(row, dict) and str(row.get("id")) == identity:
                yield number, line
