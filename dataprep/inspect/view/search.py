"""Find rows by text, source, status and flags, some blocks at a time.

A file is searched as bytes first: only lines that may match are parsed. Matches are looked for in the texts
of a row, not in the names of its fields, and letters match in upper and lower case.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from dataprep.core.errors import RowError
from dataprep.core.jsonl import MAX_LINE, parse_line
from dataprep.curate.marks import Mark
from dataprep.inspect.view.files import Reader, Span
from dataprep.inspect.view.rows import (
    CUT,
    PREVIEW_BYTES,
    Kind,
    findings_of,
    label,
    preview,
    shown,
    statuses_of,
)

SECONDS = 0.08
"""How long one request searches; the page asks again."""
_BATCH = 1 << 20

# Bytes, in lower case, that can become a letter of ASCII: the escapes of such letters, and of the two other
# signs whose small letters have one, which are also looked for as they are.
_ESCAPE = re.compile(rb"\\u00[0-7]|\\u212a|\\u0130")
_SIGNS = ("\u212a".encode(), "\u0130".encode())


# Invisible characters, as `label` shows them.
_ESCAPED = re.compile(r"\\(n|r|t|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")


@dataclass(frozen=True)
class Query:
    """The rows to find; an empty part does not matter.

    Attributes:
        text: a part of one of the row's texts, in any case.
        source: the row's source, or its label.
        status: the status of the row, or of one teacher's answer in it, or its label.
        flagged: a row that is not valid.
        kind: the kind of the file's rows.
        mark_of: returns a person's mark of a line; a marked row is flagged too.
        mark: ``"good"``, ``"bad"``, ``"note"``: only rows with such a mark.
    """

    text: str = ""
    source: str = ""
    status: str = ""
    flagged: bool = False
    kind: Kind = "record"
    mark_of: Callable[[bytes], Mark | None] = lambda _: None
    mark: str = ""

    def lines_in(self, data: bytes) -> Iterator[tuple[int, int, int]]:
        """Yield index, begin and end of each line in some bytes that may match."""
        # The status of a line of a journal is not written there.
        labels = [_ESCAPED.sub("\n", text) for text in (self.source, self.status)]
        texts = [self.text, labels[0], "" if self.kind == "journal" else labels[1]]
        needle = max((_needle(text.lower()) for text in texts), key=len)
        if not needle:
            begin = 0
            for index, line in enumerate(data.split(b"\n")):
                yield index, begin, min(begin + len(line) + 1, len(data))
                begin += len(line) + 1
            return
        index = counted = 0
        lowered = data.lower()
        for begin in sorted(set(_begins(lowered, needle))):
            index += lowered.count(b"\n", counted, begin)
            counted = begin
            yield index, begin, lowered.find(b"\n", begin) + 1 or len(data)

    def matches(self, line: bytes) -> bool:
        """Return whether a row is one to find."""
        if self.mark and not has_mark(self.mark_of(line), self.mark):
            return False
        if self.flagged and self.mark_of(line) is None:
            row, findings = findings_of(line, chat=self.kind == "chat")
            return bool(findings) and self._fits(row, line)
        return self._fits(_parsed(line), line)

    def _fits(self, row: Any, line: bytes) -> bool:
        if row is None:  # not JSON: its text can still be looked for
            text = line.decode("utf-8", "replace").lower()
            return not self.source and not self.status and self.text.lower() in text
        if self.source and not _is(self.source, row.get("source")):
            return False
        if self.status and not any(_is(self.status, status) for status in statuses_of(row).values()):
            return False
        wanted = self.text.lower()
        return not wanted or any(wanted in text.lower() for text in _texts_in(row))


def _is(wanted: str, value: Any) -> bool:
    """Return whether a source or a status is the wanted one, which the page has shortened for its list."""
    return isinstance(value, str) and wanted in (value, label(value))


def has_mark(mark: Mark | None, wanted: str) -> bool:
    """Return whether a mark is ``"good"``, ``"bad"``, or has a ``"note"``."""
    return mark is not None and (bool(mark.note) if wanted == "note" else mark.mark == wanted)


def mark_json(mark: Mark | None) -> dict[str, Any] | None:
    """Return what the page shows of a mark."""
    return None if mark is None else {"mark": mark.mark or "", "note": shown(mark.note, CUT)}


def _parsed(line: bytes) -> Any:
    try:
        return parse_line(line)
    except RowError:
        return None


def _needle(text: str) -> bytes:
    """Return the longest part of a text that stands in JSON as it is, in any case."""
    # Quotes and backslashes are escaped in JSON, other characters can be.
    runs = "".join(c if " " <= c <= "~" and c not in '"\\/' else "\n" for c in text).split("\n")
    return max(runs, key=len).encode()


def _begins(lowered: bytes, needle: bytes) -> Iterator[int]:
    """Yield where the lines begin in which a needle stands, or something that can hide it."""
    for wanted in (needle, *_SIGNS):
        at = lowered.find(wanted)
        while at >= 0:
            yield lowered.rfind(b"\n", 0, at) + 1
            end = lowered.find(b"\n", at)
            at = lowered.find(wanted, end) if end >= 0 else -1
    for found in _ESCAPE.finditer(lowered):
        yield lowered.rfind(b"\n", 0, found.start()) + 1


def _texts_in(value: Any) -> Iterator[str]:
    stack = [value]
    while stack:
        value = stack.pop()
        if type(value) is str:
            yield value
        elif type(value) is dict:
            stack.extend(value.values())
        elif type(value) is list:
            stack.extend(value)
        elif type(value) is int:
            yield str(value)


@dataclass
class Found:
    """Some rows that match, and where to continue.

    Attributes:
        rows: previews of the rows, in the order of the search.
        next: the number of the next line to look at; ``None`` at the end.
    """

    rows: list[dict[str, Any]]
    next: int | None


def find(
    reader: Reader, query: Query, start: int, *, back: bool = False, count: int = 50, seconds: float = SECONDS
) -> Found:
    """Search from a row on, or back from it, until some rows were found or some time has passed.

    Args:
        reader: the file.
        query: what to find.
        start: the number of the first row to look at.
        back: search towards the beginning.
        count: most rows to find.
        seconds: the time after which it stops.
    """
    end = time.monotonic() + seconds
    found: list[dict[str, Any]] = []
    number: int | None = min(start, reader.total) if back else start
    while number is not None and 1 <= number <= reader.total:
        lines, following = _batch(reader, query, number, back)
        for span, line in lines:
            if not line or not query.matches(line):
                continue
            size = len(line) if len(line) < PREVIEW_BYTES else span.end - span.begin
            made = preview(span.number, line[:PREVIEW_BYTES], size, chat=query.kind == "chat")
            found.append(made | {"mark": mark_json(query.mark_of(line))})
            if len(found) == count:
                after = span.number + (-1 if back else 1)
                return Found(found, after if 1 <= after <= reader.total else None)
        number = following
        if time.monotonic() > end:
            break
    return Found(found, number if number is not None and 1 <= number <= reader.total else None)


def _batch(
    reader: Reader, query: Query, number: int, back: bool
) -> tuple[Iterable[tuple[Span, bytes]], int | None]:
    """Return lines that may match, in the order of the search, and the number to continue with."""
    block = reader.block(number)
    assert block is not None
    first, after, begin, end = block.number, block.number + block.size, block.begin, block.end
    # Small blocks together, because each reading costs.
    while end - begin < _BATCH:
        more = reader.block(first - 1 if back else after)
        if more is None or more.end - more.begin > _BATCH:
            break
        first, begin = (more.number, more.begin) if back else (first, begin)
        after, end = (after, end) if back else (more.number + more.size, more.end)
    following = first - 1 if back else after
    wanted = range(first, number + 1) if back else range(number, after)
    # Of a line that is too long to be a row, only the beginning is looked at.
    if end - begin > MAX_LINE + 2 * _BATCH:
        near = takewhile(lambda span: span.number < after, reader.spans(first))
        spans = [span for span in near if span.number in wanted]
        spans = spans[::-1] if back else spans
        return ((span, _beginning(reader, span)) for span in spans), following or None
    data = reader.read(begin, end)
    spans = [
        Span(first + index, begin + start, begin + stop)
        for index, start, stop in query.lines_in(data)
        if first + index in wanted
    ]
    spans = spans[::-1] if back else spans
    return ((span, data[span.begin - begin : span.end - begin].strip()) for span in spans), following or None


def _beginning(reader: Reader, span: Span) -> bytes:
    return reader.line(span, MAX_LINE if span.end - span.begin <= MAX_LINE else PREVIEW_BYTES).strip()
